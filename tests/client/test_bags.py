"""Bags of the batch lane, settled on the chain's twin: followed, verified before a byte is written, taken back."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from fairgrid.chain import calls
from fairgrid.client import claims
from fairgrid.client.bags import BagFollower, collect_bag
from fairgrid.client.claims import claim_bag, materialise
from fairgrid.client.client import Client
from fairgrid.client.follow import Ending
from fairgrid.client.journal import DealRecord, Journal
from fairgrid.client.progress import Progress, ignore_progress
from fairgrid.errors import ContractReverted, ServiceRefused, UsageError, VerificationError
from fairgrid.protocol import ids, runs
from fairgrid.protocol.archive import write_archive
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.hexes import keccak, to_hex32
from fairgrid.protocol.results import error_to_bytes, exit_error, results_text
from fairgrid.protocol.run_results import RunResults, TaskResult
from fairgrid.protocol.views import TaskStatus
from tests.worker.world import OTHER, REQUESTER, SCHEDULER, WORKER, World, bag, new_world

SIZE = 6
PRICE = 100


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin gives its events at once."""
    monkeypatch.setattr(claims, "_CATCH_UP_S", 0.05)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with new_world(keep_states=40) as made:
        yield made


async def deal(world: World, *, trust: int = 1, size: int = SIZE, **change: Any) -> DealRecord:
    manifest = bag(await world.manifest(), size)
    deal_id = await world.deal(lane=True, volume=size, trust=trust, manifest=manifest, **change)
    return DealRecord(
        deal_id=deal_id,
        task_ids=(ids.task_id(deal_id, 0),),
        manifest_cid="bafy",
        job_name="job.py",
        trust=trust,
        price=PRICE * size,
        match_tx="0x" + "11" * 32,
        match_raw="0x",
        block_number=(await world.chain.head()).number,
        tasks=size,
        batch=True,
    )


async def results_of(world: World, scratch: Path, first: int, count: int, *, upload: bool = True) -> RunResults:
    """Results as an honest worker makes them; task 4 is an error."""
    tasks = []
    for index in range(first, first + count):
        folder = scratch / f"made-{index}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if index == 4:
            (folder / "error.json").write_bytes(error_to_bytes(exit_error(1, b"", b"no")))
        else:
            (folder / "out.txt").write_text(f"task {index}")
        archive = scratch / f"{index}.zip"
        write_archive(folder, archive)
        data = archive.read_bytes()
        if upload:
            await world.storage.add_bytes(data)
        tasks.append(TaskResult(tree_digest_of_folder(folder), cid_of(data), len(data)))
    results = RunResults(first, tuple(tasks))
    if upload:
        await world.storage.add_bytes(results.to_bytes())
    return results


async def settle(world: World, record: DealRecord, results: RunResults, *, finalized: bytes | None = None) -> str:
    """A worker settles the next tasks in one transaction; the run's id."""
    run_id = runs.run_id(record.deal_id, results.first, results.count)
    authorisation = SCHEDULER.sign_message(ids.authorisation_message(WORKER.address, run_id))
    text = results.results if finalized is None else finalized
    call = calls.settle_run(world.chain.hub, record.deal_id, results.count, results.root, text, authorisation)
    await world.chain.transact(call, WORKER)
    return run_id


async def collected(world: World, record: DealRecord, out: Path) -> Any:
    follower = await BagFollower.open(world.chain, record)
    try:
        found = await follower.read(quiet_s=0.05)
        return await collect_bag(world.chain, world.storage, record.deal_id, follower.deal, found, out, ignore_progress)
    finally:
        await follower.close()


async def test_every_task_of_a_bag_is_verified_and_written_under_its_index(world: World, tmp_path: Path) -> None:
    record = await deal(world)
    for first, count in ((0, 4), (4, 2)):
        await settle(world, record, await results_of(world, tmp_path / "made", first, count))
    told: list[Progress] = []
    follower = await BagFollower.open(world.chain, record)
    assert await follower.wait(told.append) is Ending.COMPLETED
    outcomes = await collect_bag(
        world.chain, world.storage, record.deal_id, follower.deal, follower.ledger.bag(), tmp_path / "out", told.append
    )
    assert [outcome.index for outcome in outcomes] == list(range(SIZE))
    assert [outcome.error is not None for outcome in outcomes] == [False] * 4 + [True, False]
    assert (tmp_path / "out" / "3" / "out.txt").read_text() == "task 3"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [str(index) for index in range(SIZE)]
    assert told[-1].note == f"{SIZE} of {SIZE} results verified"
    payments = {line.account: line.net for line in follower.ledger.payments()}
    assert payments[REQUESTER.address] == -PRICE * SIZE
    assert sum(payments.values()) == 0
    assert sorted(follower.ledger.transactions().values()) == ["settleRun", "settleRun"]
    await follower.close()


@pytest.mark.parametrize("lie", ["archive", "digest", "manifest", "other run", "nowhere"])
async def test_what_is_not_what_was_agreed_is_never_written(world: World, tmp_path: Path, lie: str) -> None:
    record = await deal(world)
    good = await results_of(world, tmp_path / "made", 0, SIZE)
    tasks, finalized = list(good.tasks), None
    match lie:
        case "archive":
            other = (tmp_path / "made" / "1.zip").read_bytes()
            tasks[2] = TaskResult(tasks[2].digest, cid_of(other), len(other))
        case "digest":
            tasks[2] = TaskResult(to_hex32(keccak(b"x")), tasks[2].cid, tasks[2].size)
        case "other run":
            good = await results_of(world, tmp_path / "made", 0, SIZE)
            finalized = results_text(await world.storage.add_bytes(RunResults(1, good.tasks).to_bytes()))
        case "manifest":
            wrong = RunResults(0, tuple(reversed(good.tasks)))
            finalized = results_text(await world.storage.add_bytes(wrong.to_bytes()))
        case "nowhere":
            finalized = b"ask me"
    lying = RunResults(0, tuple(tasks))
    await world.storage.add_bytes(lying.to_bytes())
    await settle(world, record, lying, finalized=finalized)
    with pytest.raises(VerificationError):
        await collected(world, record, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


async def test_a_result_that_storage_lost_is_told_and_nothing_is_written(world: World, tmp_path: Path) -> None:
    record = await deal(world)
    results = await results_of(world, tmp_path / "made", 0, SIZE, upload=False)
    await world.storage.add_bytes(results.to_bytes())
    await settle(world, record, results)
    with pytest.raises(ServiceRefused):
        await collected(world, record, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


async def test_a_reorganisation_takes_a_settled_run_out_of_the_ledger(world: World, tmp_path: Path) -> None:
    record = await deal(world)
    follower = await BagFollower.open(world.chain, record)
    await settle(world, record, await results_of(world, tmp_path / "made", 0, SIZE))
    assert (await follower.read(quiet_s=0.05)).completed == SIZE
    world.chain.reorganise(1, drop=True)
    assert (await follower.read(quiet_s=0.05)).completed == 0
    await settle(world, record, await results_of(world, tmp_path / "made", 0, 2))
    assert (await follower.read(quiet_s=0.05)).completed == 2
    await follower.close()


async def test_an_overdue_bag_is_taken_back_whatever_its_tasks_were(world: World, tmp_path: Path) -> None:
    before = (await world.chain.view_account(REQUESTER.address)).stake
    record = await deal(world, trust=1, size=8)
    await settle(world, record, await results_of(world, tmp_path / "made", 0, 1))
    await world.run(record.deal_id, 3)
    await world.lease(record.deal_id, 4)
    follower = await BagFollower.open(world.chain, record)
    with pytest.raises(UsageError, match="still has"):
        await claim_bag(world.chain, REQUESTER, record, follower)
    world.chain.skip(3001)
    assert await follower.wait(ignore_progress) is Ending.OVERDUE
    found = await claim_bag(world.chain, REQUESTER, record, follower)
    assert (found.completed, found.refunded, found.open_runs) == (1, tuple(range(1, 8)), ())
    assert found.is_over
    account = await world.chain.view_account(REQUESTER.address)
    assert (account.stake, account.locked) == (before - PRICE, 0)
    with pytest.raises(UsageError, match="nothing is left"):
        await claim_bag(world.chain, REQUESTER, record, follower)
    steps = ["claim", "claim", "initialize", "openRun", "refundRest", "settleRun"]
    assert sorted(follower.ledger.transactions().values()) == steps
    await follower.close()


async def test_the_halves_of_a_split_run_count_and_the_run_itself_does_not(world: World, tmp_path: Path) -> None:
    record = await deal(world)
    lease = await world.run(record.deal_id, SIZE)
    left, right = await world.split(lease, 2)
    follower = await BagFollower.open(world.chain, record)
    found = await follower.read(quiet_s=0.05)
    assert found.open_runs == ((left.task_id, 0, 2), (right.task_id, 2, 4))
    assert not found.is_over
    await follower.close()


async def test_one_task_of_a_run_is_given_its_place_on_chain_once(world: World, tmp_path: Path) -> None:
    record = await deal(world)
    results = await results_of(world, tmp_path / "made", 0, 5)
    await settle(world, record, results)
    follower = await BagFollower.open(world.chain, record)
    made = await materialise(world.chain, world.storage, REQUESTER, record, follower, 3)
    view = await world.chain.view_task(made.task_id)
    assert (view.status, view.result_digest) == (TaskStatus.COMPLETED, results.task(3).digest)
    with pytest.raises(ContractReverted):
        await materialise(world.chain, world.storage, REQUESTER, record, follower, 3)
    with pytest.raises(UsageError, match="in no settled run"):
        await materialise(world.chain, world.storage, REQUESTER, record, follower, 5)
    await follower.close()


async def test_a_task_with_a_callback_is_materialised_with_its_bytes(world: World, tmp_path: Path) -> None:
    record = await deal(world, callback=OTHER.address)
    tasks = tuple(TaskResult(to_hex32(keccak(data)), callback=data) for data in (b"a", b"b", b"c", b"", b"e", b"f"))
    results = RunResults(0, tasks)
    await world.storage.add_bytes(results.to_bytes())
    await settle(world, record, results)
    outcomes = await collected(world, record, tmp_path / "out")
    assert {outcome.folder for outcome in outcomes} == {None}
    follower = await BagFollower.open(world.chain, record)
    made = await materialise(world.chain, world.storage, REQUESTER, record, follower, 1)
    assert (await world.chain.view_task(made.task_id)).results_callback == b"b"
    await follower.close()


async def test_the_client_settles_accounts_of_a_bag_to_the_nrlc(world: World, tmp_path: Path) -> None:
    record = await deal(world)
    await settle(world, record, await results_of(world, tmp_path / "made", 0, SIZE))
    nobody = cast(Any, None)
    client = Client(
        nobody,
        REQUESTER,
        chain=world.chain,
        market=nobody,
        storage=world.storage,
        pool=nobody,
        journal=Journal(tmp_path),
    )
    async with client.bag(record) as follower:
        await follower.wait(ignore_progress)
        settlement = await client.bag_settlement(record, follower)
    assert sum(line.net for line in settlement.payments) == 0
    assert [line.step for line in settlement.gas] == ["settleRun"]


async def test_something_in_the_way_of_a_result_is_told(world: World, tmp_path: Path) -> None:
    record = await deal(world)
    await settle(world, record, await results_of(world, tmp_path / "made", 0, SIZE))
    out = tmp_path / "out"
    out.mkdir()
    (out / "2").write_text("mine")
    with pytest.raises(UsageError, match="in the way"):
        await collected(world, record, out)
    assert (out / "2").read_text() == "mine"
