"""What was held is held again: every stored step survives a new process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import StatementError

from fairgrid.errors import UsageError
from fairgrid.worker.core.held import HeldTask, Phase
from fairgrid.worker.owner.policy import PoolRecord
from fairgrid.worker.records.store import Finished, WorkerStore
from tests.worker.machine_kit import (
    AUTHORISATION,
    DEAL,
    POOL,
    TASK,
    TO_CONTRIBUTED,
    TO_CONTRIBUTING,
    TO_REVEALED,
    TO_REVEALING,
    TO_SEALED,
    fed,
    record,
    transaction,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WorkerStore]:
    opened = WorkerStore.open(tmp_path / "worker.sqlite")
    yield opened
    opened.close()


def _reopened(tmp_path: Path) -> WorkerStore:
    return WorkerStore.open(tmp_path / "worker.sqlite")


def finished(outcome: str, *, phase: Phase = Phase.UPLOADED, pool: str = POOL, earned: int | None = 0) -> Finished:
    return Finished(TASK, DEAL, pool, phase, outcome, earned, 123.5)


@pytest.mark.parametrize(
    "events",
    [
        TO_SEALED[:1],
        TO_SEALED[:3],
        TO_SEALED[:4],
        TO_SEALED,
        (*TO_SEALED, AUTHORISATION),
        TO_CONTRIBUTING,
        TO_CONTRIBUTED,
        TO_REVEALING,
        TO_REVEALED,
    ],
)
def test_a_record_comes_back_as_it_was_from_another_process(tmp_path: Path, events: tuple[object, ...]) -> None:
    held = record(fed(events))  # type: ignore[arg-type]
    first = _reopened(tmp_path)
    first.apply([held])
    first.close()
    second = _reopened(tmp_path)
    assert second.load() == (held,)
    second.close()


def test_numbers_of_256_bits_and_odd_texts_survive(store: WorkerStore) -> None:
    held = replace(
        record(fed(TO_REVEALED)),
        index=2**256 - 1,
        worker_stake=2**200,
        final_deadline=2**256 - 1,
        story=("a/ü.txt", 'with "quotes"', "new\nline"),
        callback_data="0x" + "00ff" * 2000,
        done_requested=True,
        upload_requested=True,
        opening_requested=True,
    )
    store.apply([held])
    assert store.load() == (held,)


def test_records_keep_the_order_of_arrival_and_are_replaced_in_place(store: WorkerStore) -> None:
    one, two = (replace(record(fed(TO_SEALED)), task_id="0x" + digit * 64) for digit in "91")
    store.apply([one])
    store.apply([two])
    one = replace(one, phase=Phase.CONTRIBUTING, contribution=transaction(4))
    store.apply([one])
    assert store.load() == (one, two)


def test_a_transaction_signed_anew_replaces_the_lost_one(store: WorkerStore) -> None:
    held = record(fed(TO_CONTRIBUTING))
    store.apply([held])
    held = replace(held, contribution=transaction(7))
    store.apply([held])
    assert store.load()[0].contribution == transaction(7)


def test_a_finished_task_goes_with_its_transactions_and_leaves_a_line_of_history(store: WorkerStore) -> None:
    store.apply([record(fed(TO_REVEALED))])
    store.apply([], [finished("completed", earned=2**80)])
    assert store.load() == ()
    assert store.finished() == (finished("completed", earned=2**80),)
    again = replace(record(fed(TO_SEALED)), contribution=None)
    store.apply([again])
    assert store.load() == (again,), "no transaction of the former life is left"


def test_a_retired_task_stays_with_its_transactions_beside_its_line_of_history(store: WorkerStore) -> None:
    over = replace(record(fed(TO_REVEALED)), outcome="completed", ended_block=2**40)
    store.apply([over], retired=[finished("completed", earned=7)])
    assert store.load() == (over,) and store.earned() == 7
    store.apply([], dropped=[over.task_id])
    assert store.load() == () and store.earned() == 7, "how it ended stays"


def test_a_task_that_is_taken_up_again_did_not_end(store: WorkerStore) -> None:
    held = record(fed(TO_REVEALED))
    store.apply([], [finished("handed back: busy", phase=Phase.ACCEPTED)])
    store.apply([replace(held, outcome="completed", ended_block=9)], retired=[finished("completed", earned=7)])
    store.apply([held], taken_up=[held.task_id])
    assert store.load() == (held,) and store.earned() == 0
    assert [line.outcome for line in store.finished()] == ["handed back: busy"]


def test_saves_and_forgets_of_one_event_are_stored_all_or_not_at_all(store: WorkerStore) -> None:
    held = record(fed(TO_SEALED))
    with pytest.raises(StatementError, match="256 bits"):
        store.apply([replace(held, task_id="0x" + "99" * 32), replace(held, worker_stake=-1)])
    assert store.load() == ()


def test_the_record_of_a_pool_counts_own_contributions_only(store: WorkerStore) -> None:
    assert store.pool_record(POOL) == PoolRecord(0, 0)
    assert store.pool_record(POOL).finalize_percent == 100
    store.apply([], [finished("completed")] * 3 + [finished("failed")])
    store.apply([], [finished("failed", phase=Phase.SEALED), finished("handed back: x", phase=Phase.ACCEPTED)])
    store.apply([], [finished("failed", pool="0x" + "00" * 20)])
    assert store.pool_record(POOL) == PoolRecord(completed=3, failed=1)
    assert store.pool_record(POOL).finalize_percent == 75


def test_earnings_are_added_up_beyond_64_bits(store: WorkerStore) -> None:
    store.apply([], [finished("completed", earned=2**70), finished("completed", earned=None), finished("x", earned=1)])
    assert store.earned() == 2**70 + 1


def test_history_is_newest_first_and_limited(store: WorkerStore) -> None:
    for number in range(5):
        store.apply([], [finished(f"aborted: {number}")])
    assert [line.outcome for line in store.finished(limit=2)] == ["aborted: 4", "aborted: 3"]


def test_a_folder_stays_with_its_chain_hub_and_key(tmp_path: Path, store: WorkerStore) -> None:
    store.bind(chain_id=31337, hub="0xHub", worker="0xWorker")
    again = _reopened(tmp_path)
    again.bind(chain_id=31337, hub="0xHub", worker="0xWorker")
    with pytest.raises(UsageError, match="belongs to hub 0xHub, not 0xOther"):
        again.bind(chain_id=31337, hub="0xOther", worker="0xWorker")
    with pytest.raises(UsageError, match="chain id 31337, not 1"):
        again.bind(chain_id=1, hub="0xHub", worker="0xWorker")
    with pytest.raises(UsageError, match="worker"):
        again.bind(chain_id=31337, hub="0xHub", worker="0xElse")
    again.close()


def test_opening_twice_migrates_once_and_a_held_record_has_every_field(store: WorkerStore, tmp_path: Path) -> None:
    held = HeldTask(lease_id="l", deal_id=DEAL, task_id=TASK, index=0, round=0)
    store.apply([held])
    other = _reopened(tmp_path)
    assert other.load() == (held,)
    other.close()
