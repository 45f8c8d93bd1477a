"""What operators decide is stored with who decided it, once for each signed request; lists find what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fairgrid.errors import UsageError
from fairgrid.pool.administration.operations import WHOLE_POOL, Act, Drain, Operations, Replayed, Setting
from fairgrid.pool.core.deal_terms import Bag
from fairgrid.pool.core.worker_state import Ban
from fairgrid.pool.records.rows import BagRow, Commit, TaskRow
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.records.task_lists import TaskFilter, TaskLists
from tests.pool.fakes import address, honest
from tests.pool.support import World

WHO = address("operator")


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PoolStore]:
    url = tmp_path / "pool.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    store = PoolStore.open(url)
    yield store
    store.close()


@pytest.fixture
def operations(store: PoolStore) -> Operations:
    return Operations(store.engine)


def act(name: str, number: int, subject: str = "", detail: str = "") -> Act:
    return Act(float(number), WHO, name, subject, detail, f"0x{number:064x}")


def ban(name: str) -> Ban:
    return Ban(address(name), address("owner"), "", "too slow", "{}", 1.0)


def test_every_decision_is_read_back_and_told_with_who_and_why(operations: Operations) -> None:
    operations.drain(Drain(WHOLE_POOL, WHO, "disks", 1.0), act("drain", 1, WHOLE_POOL, "disks"))
    operations.drain(Drain(address("w"), WHO, "heat", 2.0), act("drain", 2, address("w"), "heat"))
    operations.set_labels(address("w"), ("b", "a", "b"), act("label", 3, address("w"), "b a"))
    operations.set_policy({"max_fee_gwei": 80.5, "operators": [WHO]}, (), act("policy", 4, "max_fee_gwei"))
    operations.note(act("handover", 5))
    assert operations.drains() == {
        WHOLE_POOL: Drain(WHOLE_POOL, WHO, "disks", 1.0),
        address("w"): Drain(address("w"), WHO, "heat", 2.0),
    }
    assert operations.labels() == {address("w"): ("a", "b")}
    assert operations.settings() == {
        "max_fee_gwei": Setting("max_fee_gwei", 80.5, WHO, 4.0),
        "operators": Setting("operators", [WHO], WHO, 4.0),
    }
    assert [known.act for known in operations.acts()] == ["handover", "policy", "label", "drain", "drain"]
    assert operations.acts(subject=address("w"), limit=1) == [act("label", 3, address("w"), "b a")]
    assert [known.detail for known in operations.acts(limit=2, offset=3)] == ["heat", "disks"]


def test_what_is_taken_back_is_gone_and_the_acts_stay(operations: Operations) -> None:
    operations.drain(Drain(WHOLE_POOL, WHO, "disks", 1.0), act("drain", 1))
    operations.undrain(WHOLE_POOL, act("undrain", 2))
    operations.set_labels(address("w"), ("a",), act("label", 3))
    operations.set_labels(address("w"), (), act("label", 4))
    operations.set_policy({"max_claims": 3}, (), act("policy", 5))
    operations.set_policy({"max_workers": 9}, ("max_claims",), act("policy", 6))
    assert operations.drains() == {} and operations.labels() == {} and list(operations.settings()) == ["max_workers"]
    assert len(operations.acts()) == 6


def test_bans_are_those_that_the_pool_restores_and_an_unban_of_nobody_writes_nothing(
    store: PoolStore, operations: Operations
) -> None:
    operations.ban(ban("one"), act("ban", 1))
    operations.ban(ban("two"), act("ban", 2))
    assert {known.worker for known in store.bans()} == {address("one"), address("two")}
    operations.unban(address("one"), act("unban", 3))
    assert [known.worker for known in store.bans()] == [address("two")]
    operations.unban(address("owner"), act("unban", 4))
    assert store.bans() == []
    with pytest.raises(UsageError, match="is not banned here"):
        operations.unban(address("one"), act("unban", 5))
    assert len(operations.acts()) == 4


DECISIONS: list[tuple[str, Callable[[Operations, Act], None]]] = [
    ("drain", lambda operations, known: operations.drain(Drain(WHOLE_POOL, WHO, "x", 9.0), known)),
    ("ban", lambda operations, known: operations.ban(ban("one"), known)),
    ("label", lambda operations, known: operations.set_labels(address("w"), ("x",), known)),
    ("policy", lambda operations, known: operations.set_policy({"max_claims": 1}, (), known)),
    ("note", lambda operations, known: operations.note(known)),
]


@pytest.mark.parametrize("decide", [decide for _, decide in DECISIONS], ids=[name for name, _ in DECISIONS])
def test_a_request_that_acted_before_changes_nothing(
    store: PoolStore, operations: Operations, decide: Callable[[Operations, Act], None]
) -> None:
    operations.note(act("handover", 1))
    with pytest.raises(Replayed):
        decide(operations, act("again", 1))
    assert not operations.drains() and not operations.labels() and not operations.settings() and not store.bans()
    assert [known.act for known in operations.acts()] == ["handover"]
    decide(operations, act("new", 2))
    assert [known.act for known in operations.acts()] == ["new", "handover"]


def test_tasks_are_found_by_each_filter_and_by_several(store: PoolStore) -> None:
    world = World(honest(3))
    names = [("a", "alice"), ("b", "bob"), ("c", "alice")]
    ids = [world.deal(1, name=name, requester=requester) for name, requester in names]
    world.run_until_final(ids[0])
    tasks = [world.machine.tasks[task] for task in ids]
    for number, task in enumerate(tasks):
        deal = replace(task.deal, app=address("app" if number else "other app"))
        bag = Bag(deal, 0, 1, float(number), begun=1)
        rows, bags = {task.task_id: TaskRow.of(task)}, {deal.deal_id: BagRow.of(bag)}
        store.commit(Commit(at=float(number), tasks=rows, bags=bags, lines=list(task.story)))
    lists = TaskLists(store.engine)

    def found(*, limit: int = 9, offset: int = 0, **wanted: str) -> list[int]:
        lines = lists.page(TaskFilter(**wanted), limit=limit, offset=offset)
        return [ids.index(line.task_id) for line in lines]

    assert found() == [2, 1, 0] and found(limit=1, offset=1) == [1]
    assert found(requester=address("alice")) == [2, 0] and found(requester=address("carol")) == []
    assert found(app=address("app")) == [2, 1] and found(app=address("app"), requester=address("alice")) == [2]
    assert found(phase="completed") == [number for number in (2, 1, 0) if tasks[number].phase == "completed"]
    assert found(phase="sealing") == [number for number in (2, 1, 0) if tasks[number].phase == "sealing"]
    assert found(deal=tasks[1].deal.deal_id) == [1]
    worker = tasks[0].replicas[0].worker
    with_worker = [number for number in (2, 1, 0) if any(part.worker == worker for part in tasks[number].replicas)]
    assert found(worker=worker) == with_worker and found(worker=address("nobody")) == []
    (line,) = lists.page(TaskFilter(deal=tasks[1].deal.deal_id), limit=1, offset=0)
    assert (line.requester, line.trust, line.index) == (address("bob"), 1, 0)
    assert sum(lists.counts().values()) == 3 and lists.sent_since(0.0) == 0 and lists.last_block() is None
