"""The scheduler's rim at work: real sockets, real signatures, the chain's twin."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fairgrid.errors import ServiceRefused, UsageError
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.service import PoolService
from fairgrid.pool.workers import returning
from fairgrid.protocol import pool_messages, worker_messages
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.results import cid_of_results
from fairgrid.protocol.views import TaskStatus

from .grid import DEPOSIT, Grid, key
from .scripted import Script, Scripted, all_connected


async def test_five_honest_owners_and_a_liar_end_in_a_verified_and_paid_result(tmp_path: Path) -> None:
    liar_address = key("liar").address
    policy = Policy(
        first_round_replicas=6, authorisation_order=(liar_address,), seal_window_min_s=1_000, lease_ttl_s=1_000
    )
    grid = Grid(tmp_path, policy=policy)
    liar = Scripted(grid, "liar", Script(content=b"wrong"))
    good = [Scripted(grid, f"worker {number}") for number in range(5)]
    async with grid.pool(), all_connected([liar, *good]):

        async def all_listed() -> bool:
            listing = await grid.client.trust()
            return (len(listing.owners), listing.reachable) == (6, 64)

        await grid.until(all_listed, what="six owners in the listing")
        task = await grid.task(10)
        await grid.until_status(task, TaskStatus.COMPLETED)
        await grid.until_phase(task, "completed")

        async def all_opened() -> bool:
            return all(replica.digest for replica in (await grid.client.task(task)).replicas)

        await grid.until(all_opened, what="the opening of every seal")
        view = await grid.client.task(task)
        story = await grid.client.story(task)
    on_chain = await grid.chain.view_task(task)
    assert on_chain.contributors[0] == liar.address
    assert on_chain.result_digest == good[0].digest(b"right") == view.result_digest
    assert cid_of_results(on_chain.results) == view.cid
    opened = {replica.worker: replica.digest for replica in view.replicas}
    assert opened[liar.address] == liar.digest(b"wrong")
    assert (await grid.chain.view_account(liar.address)).stake < DEPOSIT
    assert (await grid.chain.view_account(good[0].address)).stake > DEPOSIT
    assert any(line.text.startswith("completed") for line in story)
    assert liar.address in {line.worker for line in story}
    assert all(worker.kinds().count("authorisation") == 1 for worker in good)


async def test_before_consensus_neither_names_nor_digests_are_told(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    sealed = Scripted(grid, "sealed")
    async with grid.pool(), sealed.connected():
        task = await grid.task(4)

        async def has_sealed() -> bool:
            return any(replica.phase == "sealed" for replica in (await grid.client.task(task)).replicas)

        async def is_known() -> bool:
            return await grid.service.inquiries.task(task) is not None

        await grid.until(is_known)
        await grid.until(has_sealed, what="a seal")
        view = await grid.client.task(task)
        story = await grid.client.story(task)
        async with grid.client._http.stream("GET", f"{grid.url}/tasks/{task}") as response:
            text = (await response.aread()).decode()
    assert view.phase == "sealing"
    assert [(replica.worker, replica.phase, replica.digest) for replica in view.replicas] == [
        ("worker 1", "sealed", "")
    ]
    assert not view.result_digest and not view.cid
    assert all(not line.worker for line in story)
    assert sealed.digest(b"right") not in text and sealed.address not in text


async def test_an_owner_without_a_deposit_is_no_promise_of_trust(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    rich, poor = Scripted(grid, "rich"), Scripted(grid, "poor")
    grid.chain.model.withdraw(poor.address, DEPOSIT)
    async with grid.pool(), all_connected([rich, poor]):

        async def listed() -> bool:
            return (await grid.client.info()).owners == 2

        await grid.until(listed)
        listing = await grid.client.trust()
    assert [owner.owner for owner in listing.owners] == [rich.address]
    assert listing.reachable == 2


async def test_pool_that_began_a_moment_ago_says_that_owners_may_return(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        listing = await grid.client.trust()
    assert (listing.reachable, listing.after_return) == (0, None)
    assert 0 < listing.worth_waiting_s(1_000) <= 30


async def test_owners_that_were_lost_a_moment_ago_are_told_as_returning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(returning, "_AFTER_START_S", 0)
    grid = Grid(tmp_path)
    stays, goes = Scripted(grid, "stays"), Scripted(grid, "goes")
    async with grid.pool(), all_connected([stays]):
        async with all_connected([goes]):

            async def both() -> bool:
                return len((await grid.client.trust()).owners) == 2

            await grid.until(both)
            assert (await grid.client.trust()).returning_s == 0

        async def one() -> bool:
            return len((await grid.client.trust()).owners) == 1

        await grid.until(one)
        listing = await grid.client.trust()
    assert (listing.reachable, listing.after_return) == (2, 4)
    assert 0 < listing.returning_s <= 60
    assert listing.worth_waiting_s(4) == listing.returning_s
    assert listing.worth_waiting_s(5) == 0


async def test_while_a_worker_computes_the_task_shows_its_phase(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker", Script(seals=False))
    async with grid.pool(), worker.connected():
        task = await grid.task(1)

        async def leased() -> bool:
            return "lease" in worker.kinds()

        await grid.until(leased)
        lease = next(message for message in worker.received if isinstance(message, pool_messages.Lease))
        await worker.say(worker_messages.PhaseReport(lease_id=lease.lease_id, task_id=task, phase="computing"))

        async def computing() -> bool:
            return [replica.phase for replica in (await grid.client.task(task)).replicas] == ["computing"]

        await grid.until(computing, what="the phase")


async def test_a_dishonest_uploader_is_caught_banned_and_refused_when_it_comes_back(tmp_path: Path) -> None:
    first = key("forger").address
    grid = Grid(tmp_path, policy=Policy(authorisation_order=(first,), seal_window_min_s=1_000, lease_ttl_s=1_000))
    forger = Scripted(grid, "forger", Script(uploads=b"forged"))
    honest = Scripted(grid, "honest", Script(reveals_after_s=1))  # the pool asks whoever revealed first
    async with grid.pool():
        async with all_connected([forger, honest]):
            task = await grid.task(4)
            await grid.until_status(task, TaskStatus.COMPLETED)
            on_chain = await grid.chain.view_task(task)
        cid = cid_of_results(on_chain.results)
        assert cid is not None
        await grid.storage.fetch(cid, tmp_path / "fetched.zip", max_bytes=10**6)
        assert (tmp_path / "fetched.zip").read_bytes() == honest._archive(b"right").read_bytes()
        assert "upload_request" in forger.kinds() and "upload_request" in honest.kinds()
        with pytest.raises(AssertionError):
            async with forger.connected():
                assert forger.kinds()[-1] == "welcome"
        assert "banned" in str(forger.received[-1])


async def test_a_contribution_that_differs_from_its_seal_is_banned_with_evidence_that_survives_a_restart(
    tmp_path: Path,
) -> None:
    grid = Grid(tmp_path)
    cheat = Scripted(grid, "cheat", Script(contributes=b"copied"))
    async with grid.pool(), cheat.connected():
        task = await grid.task(1)

        async def banned() -> bool:
            return grid.service.is_banned(cheat.address, cheat.address)

        await grid.until(banned, what="the ban")
    async with grid.pool():
        assert grid.service.is_banned(cheat.address, cheat.address)
        ban = grid.service.machine.bans[cheat.address]
        assert ban.task_id == task
        assert cheat.digest(b"right") in ban.evidence


async def test_without_workers_the_requester_is_refunded_after_the_final_deadline(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        before = await grid.chain.view_account(grid.requester.address)
        task = await grid.task(4)
        await grid.until_status(task, TaskStatus.ACTIVE)
        grid.chain.skip(10 * 300)
        await grid.until_status(task, TaskStatus.FAILED)
        assert await grid.chain.view_account(grid.requester.address) == before


async def test_a_deal_made_while_the_pool_was_away_for_too_long_is_initialised_and_refunded(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    task = await grid.task(4)
    grid.chain.skip(11 * 300)
    async with grid.pool():
        await grid.until_status(task, TaskStatus.FAILED)
        await grid.until_phase(task, "failed")


async def test_a_deal_that_asks_for_an_enclave_is_refused_and_refunded(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        task = await grid.task(1, tag="0x" + "00" * 31 + "03")
        await grid.until_phase(task, "abandoned")
        assert "trusted execution environment" in " ".join(line.text for line in await grid.client.story(task))


async def test_a_deal_of_another_workerpool_is_none_of_ours(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    ours = grid.workerpool
    async with grid.pool():
        grid.workerpool = grid.chain.model.registries.workerpools.create(grid.scheduler.address, "another pool")
        theirs = await grid.task(1)
        grid.workerpool = ours
        mine = await grid.task(1)
        await grid.until_status(mine, TaskStatus.ACTIVE)
        assert await grid.service.inquiries.task(theirs) is None
        assert (await grid.chain.view_task(theirs)).status is TaskStatus.UNSET


async def test_a_bag_is_listed_by_index_and_page(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        deal = await grid.deal(1, volume=5)

        async def known() -> bool:
            return await grid.service.inquiries.tasks_of_deal(deal, limit=10, offset=0) != (0, [])

        await grid.until(known)
        view = await grid.client.deal(deal, limit=2, offset=3)
    assert view.task_count == 5
    assert [task.index for task in view.tasks] == [3, 4]


async def test_a_bag_larger_than_the_room_is_answered_whole_and_computed_whole(tmp_path: Path) -> None:
    grid = Grid(tmp_path, policy=Policy(max_active_tasks=2, seal_window_min_s=1_000, lease_ttl_s=1_000))
    worker = Scripted(grid, "worker")
    async with grid.pool():
        deal = await grid.deal(1, volume=12)
        last = task_id(deal, 11)

        async def known() -> bool:
            stored, _ = await grid.service.inquiries.tasks_of_deal(deal, limit=1, offset=0)
            return stored == 12 and await grid.service.inquiries.task(last) is not None

        await grid.until(known)
        view = await grid.client.deal(deal)
        assert view.task_count == len(view.tasks) == 12
        assert [task.index for task in view.tasks] == list(range(12))
        assert {task.phase for task in view.tasks[2:]} == {"received"}
        assert view.tasks[11].task_id == last
        unbegun = await grid.client.task(last)
        assert (unbegun.phase, unbegun.index) == ("received", 11)
        assert [line.text for line in await grid.client.story(last)][-1].startswith("It waits")
    async with grid.pool(), worker.connected():
        await grid.until_status(last, TaskStatus.COMPLETED)

        async def all_over() -> bool:
            return {task.phase for task in (await grid.client.deal(deal)).tasks} == {"completed"}

        await grid.until(all_over)


async def test_what_a_pool_does_not_know_is_a_404_that_says_so(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        unknown = "0x" + "12" * 32
        for ask in (grid.client.task, grid.client.deal, grid.client.story):
            with pytest.raises(ServiceRefused) as refused:
                await ask(unknown)
            assert refused.value.status == 404
        with pytest.raises(ServiceRefused) as refused:
            await grid.client.deal("0x12")
        assert refused.value.status == 400


async def test_info_names_the_pool_and_health_follows_the_chain(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        info = await grid.client.info()
        assert (info.chain_id, info.hub, info.workerpool) == (31337, grid.chain.hub, grid.workerpool)
        assert info.scheduler == grid.scheduler.address
        assert (info.workers, info.owners) == (0, 0)

        async def status() -> int:
            async with grid.client._http.stream("GET", f"{grid.url}/health") as response:
                return response.status_code

        async def is_healthy() -> bool:
            return await status() == 200

        async def is_sick() -> bool:
            return await status() == 503

        await grid.until(is_healthy)
        grid.chain.down = True
        await grid.until(is_sick, what="a health of 503")
        grid.chain.down = False
        await grid.until(is_healthy)


async def test_a_chain_that_goes_away_for_a_while_loses_nothing(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    async with grid.pool(), worker.connected():
        task = await grid.task(1)
        grid.chain.down = True
        await asyncio.sleep(0.5)
        grid.chain.down = False
        await grid.until_status(task, TaskStatus.COMPLETED)


async def test_a_key_that_does_not_own_the_workerpool_is_refused_with_both_addresses(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    owner = grid.scheduler.address
    grid.scheduler = key("somebody else")
    with pytest.raises(UsageError, match="belongs to") as refused:
        async with grid.pool():
            pass
    assert owner in str(refused.value) and grid.scheduler.address in str(refused.value)


async def test_an_address_that_is_no_workerpool_is_refused(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    grid.workerpool = key("nothing").address
    with pytest.raises(UsageError, match="There is no workerpool at"):
        async with grid.pool():
            pass


async def test_a_folder_of_another_workerpool_is_refused(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        pass
    grid.workerpool = grid.chain.model.registries.workerpools.create(grid.scheduler.address, "another pool")
    with pytest.raises(UsageError, match="Use another --dir"):
        async with grid.pool():
            pass


async def test_a_failure_inside_ends_the_pool_with_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(tmp_path)

    async def fail(self: PoolService) -> None:
        raise UsageError("The disk is full.")

    monkeypatch.setattr(PoolService, "_refresh", fail)
    with pytest.raises(UsageError, match="The disk is full"):
        async with grid.pool():
            await asyncio.sleep(5)
