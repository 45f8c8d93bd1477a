"""Deals on the chain's twin, as an executor follows them: settled, lied about, overdue, and with services away."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fairgrid.client import claims
from fairgrid.client.client import Client, TrustWish
from fairgrid.client.job import Job
from fairgrid.client.journal import DealRecord, Journal
from fairgrid.errors import DealLost, ServiceUnavailable, TransactionFailed, UsageError, VerificationError
from fairgrid.executors import executor, grid, run_opening
from fairgrid.executors.backend import DealJob, DealVoid, SignedDeal, TaskEnding, TaskJob
from fairgrid.executors.grid import GridBackend
from fairgrid.executors.places import Place, find_place
from tests.client.test_bags import PRICE, SIZE, deal, results_of, settle
from tests.worker.world import REQUESTER, World, new_world

NAME = "run-1.1.py"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin gives its events at once, and services come back soon."""
    monkeypatch.setattr(claims, "_CATCH_UP_S", 0.05)
    monkeypatch.setattr(grid, "_POLL_S", 0.05)
    monkeypatch.setattr(grid, "_RETRY_S", 0.05)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with new_world(keep_states=40) as made:
        yield made


class Stage:
    """A backend on the world, and the journal that it reads."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        nobody = cast(Any, None)
        self.journal = Journal(folder / "journal")
        self.client = Client(
            nobody,
            REQUESTER,
            chain=world.chain,
            market=nobody,
            storage=world.storage,
            pool=nobody,
            journal=self.journal,
        )
        self.backend = GridBackend(
            nobody, REQUESTER, journal_folder=folder / "journal", wish=TrustWish(), client=self.client
        )

    async def deal(self, **options: Any) -> tuple[DealRecord, SignedDeal]:
        """A mined deal that the journal knows."""
        record = replace(await deal(self.world, **options), job_name=NAME)
        self.journal.write(record)
        found = await self.backend.find(DealJob(NAME, Path(), (), ()))
        assert found is not None
        return record, found

    async def all(self, signed: SignedDeal) -> dict[int, TaskEnding]:
        """Every ending, each once."""
        found = [ending async for ending in self.backend.endings(signed, self.folder / "out")]
        assert len({ending.index for ending in found}) == len(found)
        return {ending.index: ending for ending in found}


@pytest.fixture
def stage(world: World, tmp_path: Path) -> Stage:
    return Stage(world, tmp_path)


async def test_what_is_settled_comes_before_the_rest_is(stage: Stage, tmp_path: Path) -> None:
    record, signed = await stage.deal()
    assert (signed.tasks, signed.price) == (SIZE, PRICE * SIZE)
    await settle(stage.world, record, await results_of(stage.world, tmp_path / "made", 0, 2))
    endings = stage.backend.endings(signed, tmp_path / "out")
    first = [await anext(endings), await anext(endings)]
    assert [ending.index for ending in first] == [0, 1]
    await settle(stage.world, record, await results_of(stage.world, tmp_path / "made", 2, 4))
    rest = {ending.index: ending async for ending in endings}
    assert sorted(rest) == [2, 3, 4, 5]
    assert rest[4].error is not None
    assert rest[3].folder is not None
    assert (rest[3].folder / "out.txt").read_text() == "task 3"


async def test_a_run_that_lies_spoils_no_other(stage: Stage, tmp_path: Path) -> None:
    record, signed = await stage.deal()
    await settle(stage.world, record, await results_of(stage.world, tmp_path / "made", 0, 3), finalized=b"ask me")
    await settle(stage.world, record, await results_of(stage.world, tmp_path / "made", 3, 3))
    endings = await stage.all(signed)
    assert [type(endings[index].failure) for index in range(3)] == [VerificationError] * 3
    assert [endings[index].failure for index in range(3, 6)] == [None] * 3
    assert not (tmp_path / "out" / "0").exists()


async def test_an_overdue_deal_is_taken_back_and_its_tasks_are_told_as_refunded(stage: Stage, tmp_path: Path) -> None:
    before = (await stage.world.chain.view_account(REQUESTER.address)).stake
    record, signed = await stage.deal()
    await settle(stage.world, record, await results_of(stage.world, tmp_path / "made", 0, 1))
    stage.world.chain.skip(3001)
    endings = await stage.all(signed)
    assert [endings[index].refunded for index in range(SIZE)] == [False] + [True] * (SIZE - 1)
    account = await stage.world.chain.view_account(REQUESTER.address)
    assert (account.stake, account.locked) == (before - PRICE, 0)


async def test_chain_and_storage_that_are_away_for_a_while_are_waited_for(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, signed = await stage.deal()
    await settle(stage.world, record, await results_of(stage.world, tmp_path / "made", 0, 3))
    await settle(stage.world, record, await results_of(stage.world, tmp_path / "made", 3, 3))
    left = {"view_deal": 2, "fetch": 3}

    def failing(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        async def now_and_then(*args: Any, **options: Any) -> Any:
            if left[name]:
                left[name] -= 1
                raise ServiceUnavailable(name, "http://127.0.0.1:1", "away")
            return await real(*args, **options)

        monkeypatch.setattr(owner, name, now_and_then)

    failing(stage.world.chain, "view_deal")
    failing(stage.world.storage, "fetch")
    endings = await stage.all(signed)
    assert sorted(endings) == list(range(SIZE))
    assert left == {"view_deal": 0, "fetch": 0}


async def test_services_that_stay_away_end_the_waiting(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    _, signed = await stage.deal()
    stage.backend.patience_s = 0.1

    async def away(*args: Any) -> Any:
        raise ServiceUnavailable("chain", "http://127.0.0.1:1", "away")

    monkeypatch.setattr(stage.world.chain, "view_deal", away)
    with pytest.raises(ServiceUnavailable):
        await stage.all(signed)


async def test_a_deal_of_one_task_ends_like_any_other(stage: Stage, tmp_path: Path) -> None:
    record, signed = await stage.deal(size=1)
    await settle(stage.world, record, await results_of(stage.world, tmp_path / "made", 0, 1))
    (ending,) = (await stage.all(signed)).values()
    assert ending.folder is not None
    shutil.rmtree(ending.folder)


@pytest.mark.parametrize(
    ("failure", "is_mined", "kind"),
    [
        (DealLost("matchOrders", "it reverted"), False, DealVoid),
        (DealLost("matchOrders", "displaced, says a node that lags"), True, ServiceUnavailable),
        (TransactionFailed("matchOrders", "not mined in time"), False, ServiceUnavailable),
    ],
    ids=["lost", "lagging", "late"],
)
async def test_only_a_deal_that_can_never_be_mined_is_void(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, failure: Exception, is_mined: bool, kind: type[Exception]
) -> None:
    _, signed = await stage.deal()

    async def fail(*args: Any) -> Any:
        raise failure

    monkeypatch.setattr(stage.client, "match", fail)
    if not is_mined:
        signed = replace(signed, deal_id="0x" + "33" * 32)
    with pytest.raises(kind):
        await stage.backend.match(signed)


async def test_the_newest_of_several_deals_of_a_job_counts(stage: Stage) -> None:
    record, _ = await stage.deal()
    newer = replace(record, deal_id="0x" + "22" * 32, started_at=record.started_at + 1)
    stage.journal.write(newer)
    fresh = Stage(stage.world, stage.folder)
    found = await fresh.backend.find(DealJob(NAME, Path(), (), ()))
    assert found is not None
    assert found.deal_id == newer.deal_id
    assert await fresh.backend.find(DealJob("other.py", Path(), (), ())) is None


async def test_the_deadline_of_a_deal_is_the_chains_and_one_that_is_not_mined_has_none(stage: Stage) -> None:
    _, signed = await stage.deal()
    deal = await stage.world.chain.view_deal(signed.deal_id)
    assert deal is not None
    timeref = (await stage.world.chain.view_category(deal.category)).timeref
    assert await stage.backend.deadline(signed.deal_id) == deal.start_time + 10 * timeref
    assert await stage.backend.deadline("0x" + "00" * 32) is None


async def test_every_deal_asks_for_the_time_after_which_storage_removes_it(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = GridBackend(
        cast(Any, None), REQUESTER, journal_folder=tmp_path, wish=TrustWish(), client=stage.client, keep_days=5
    )
    signed: list[Job] = []

    async def sign(job: Job, *args: Any, **options: Any) -> Any:
        signed.append(job)
        raise TransactionFailed("0x" + "11" * 32, "nothing is mined here")

    monkeypatch.setattr(stage.client, "sign", sign)
    script = tmp_path / "job.py"
    script.write_text("print(1)")
    for asked in (backend, stage.backend):
        with pytest.raises(DealVoid):
            await asked.sign(DealJob(NAME, script, (), (TaskJob((), ()),)), most=1)
    assert [job.keep_days for job in signed] == [5, None]


def test_an_executors_time_to_keep_is_written_down_for_who_resumes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def place(*args: Any, keep_days: int | None = None, **options: Any) -> Place:
        asked.append(keep_days)
        return find_place("here")

    monkeypatch.setenv("FAIRGRID_DIR", str(tmp_path))
    monkeypatch.setattr(run_opening, "find_place", place)
    with executor.Executor("here", budget=1, keep="2w", progress=False) as ex:
        run = ex.run_id
    with executor.Executor.resume(run, "here", progress=False):
        pass
    assert asked[0] == asked[-1] == 14
    with pytest.raises(UsageError, match=r"keep '9h' is no number of days"):
        executor.Executor("here", keep="9h")
