"""A private pool: members come in both roles, strangers in none, and the list counts at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fairgrid.chain.twin import ModelChain
from fairgrid.errors import OrderError
from fairgrid.pool.administration.access import AccessGate, AccessStore, Door, Role
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol import pool_messages
from fairgrid.protocol.views import TaskStatus
from tests.pool.grid import PRICE, Grid, key
from tests.pool.scripted import Script, Scripted, at_the_door

ALICE, BOB, GROUP = key("alice").address, key("bob").address, key("group").address


@pytest.fixture
def listed(tmp_path: Path) -> Iterator[AccessStore]:
    """The list of a pool in ``tmp_path``, as the command line opens it: by a database connection of its own."""
    store = PoolStore.open(tmp_path / "pool.db")
    yield AccessStore(store.engine)
    store.close()


async def turned_away(grid: Grid, name: str) -> str:
    """What a worker is told that tries to enrol; empty if it is welcome."""
    stranger = Scripted(grid, name)
    async with at_the_door(grid) as stranger.connection:
        answer = await stranger.enrol()
        return answer.reason if isinstance(answer, pool_messages.Refused) else ""


async def heard(grid: Grid) -> None:
    """Until the pool has read the list as it is now."""
    access = grid.service.access
    assert access is not None
    wanted = AccessStore(grid.service._store.engine).read()

    async def read() -> bool:
        return access.current == wanted

    await grid.until(read, what="the list")


async def test_an_open_pool_takes_everybody_until_somebody_is_listed(tmp_path: Path, listed: AccessStore) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        assert await turned_away(grid, "stranger") == ""
        listed.add([key("member").address], [Role.WORKER])
        await heard(grid)
        told = await turned_away(grid, "stranger")
        assert "private" in told and key("stranger").address in told and "operator" in told
        assert await turned_away(grid, "member") == ""
        listed.remove([key("member").address], list(Role))
        await heard(grid)
        assert "private" in await turned_away(grid, "member")
        listed.set_door([Role.WORKER], Door.OPEN)
        await heard(grid)
        assert await turned_away(grid, "stranger") == ""


async def test_members_of_a_group_come_in_both_roles_and_strangers_in_none(tmp_path: Path, listed: AccessStore) -> None:
    grid = Grid(tmp_path)
    listed.add([GROUP], list(Role), is_group=True)
    grid.chain.model.group_members.add((GROUP, key("member").address))
    async with grid.pool(), Scripted(grid, "member").connected():
        assert "private" in await turned_away(grid, "stranger")
        refused = await grid.task(1)
        await grid.until_phase(refused, "abandoned")
        stored = await grid.service.inquiries.task(refused)
        assert stored is not None and "This pool is private" in stored.state.story[-1].text
        grid.chain.model.group_members.add((GROUP, grid.requester.address))
        access = grid.service.access
        assert access is not None
        access._members.clear()  # what a group said is believed for a while
        served = await grid.task(1)
        await grid.until_status(served, TaskStatus.COMPLETED)
        assert (await grid.chain.view_task(refused)).status is TaskStatus.UNSET
        assert not (await grid.service.inquiries.task(refused)).state.replicas  # type: ignore[union-attr]


async def test_a_strangers_deal_that_was_made_all_the_same_is_served_where_the_door_is_lenient(
    tmp_path: Path, listed: AccessStore
) -> None:
    grid = Grid(tmp_path)
    listed.add([ALICE], [Role.REQUESTER])
    listed.set_door([Role.REQUESTER], Door.LENIENT)
    async with grid.pool(), Scripted(grid, "worker").connected():
        await grid.until_status(await grid.task(1), TaskStatus.COMPLETED)


async def test_a_worker_that_is_taken_off_ends_what_it_began_and_gets_nothing_new(
    tmp_path: Path, listed: AccessStore
) -> None:
    grid = Grid(tmp_path)
    listed.add([key("leaver").address, key("other").address], [Role.WORKER])
    leaver = Scripted(grid, "leaver", Script(seals=False))
    async with grid.pool(), leaver.connected():
        first = await grid.task(1)

        async def leased() -> bool:
            return "lease" in leaver.kinds()

        await grid.until(leased, what="a lease")
        listed.remove([leaver.address], [Role.WORKER])
        await heard(grid)

        async def unwelcome() -> bool:
            return grid.service.machine.workers[leaver.address].slots == 0

        await grid.until(unwelcome, what="no slot left")
        second = await grid.task(1)
        lease = next(message for message in leaver.received if isinstance(message, pool_messages.Lease))
        await leaver.say(leaver.seal(lease))
        await grid.until_status(first, TaskStatus.COMPLETED)

        async def gone() -> bool:
            return any(isinstance(message, pool_messages.Refused) for message in leaver.received)

        await grid.until(gone, what="the farewell")
        assert leaver.kinds().count("lease") == 1
        assert "private" in await turned_away(grid, "leaver")
        async with Scripted(grid, "other").connected():
            await grid.until_status(second, TaskStatus.COMPLETED)


async def test_a_refused_deal_stays_refused_after_a_restart_and_is_refunded(
    tmp_path: Path, listed: AccessStore
) -> None:
    grid = Grid(tmp_path)
    listed.add([ALICE], [Role.REQUESTER])
    async with grid.pool():
        task = await grid.task(1)
        await grid.until_phase(task, "abandoned")
    async with grid.pool(), Scripted(grid, "worker").connected():
        before = await grid.chain.view_account(grid.requester.address)
        grid.chain.skip(10 * 300)
        await grid.until_status(task, TaskStatus.FAILED)
        after = await grid.chain.view_account(grid.requester.address)
        assert before.locked == PRICE and after.locked == 0 and after.stake == before.stake + PRICE


def test_the_list_keeps_roles_notes_and_refuses_what_is_no_address(tmp_path: Path, listed: AccessStore) -> None:
    listed.add([ALICE.lower()], [Role.WORKER], note="Alice's machine")
    listed.add([GROUP], [Role.REQUESTER], is_group=True)
    listed.add([ALICE], [Role.WORKER], note="her other name")
    current = listed.read()
    assert [(entry.address, entry.role, entry.is_group, entry.note) for entry in current.entries] == [
        (GROUP, Role.REQUESTER, True, ""),
        (ALICE, Role.WORKER, False, "her other name"),
    ]
    assert current.door(Role.WORKER) is current.door(Role.REQUESTER) is Door.CLOSED
    assert not current.lists(Role.REQUESTER, [GROUP])  # a group is no account
    with pytest.raises(OrderError):
        listed.add(["0x12"], [Role.WORKER])
    assert listed.remove([BOB], list(Role)) == 0 and listed.remove([ALICE], list(Role)) == 1


async def test_the_old_list_holds_while_the_database_is_away(tmp_path: Path) -> None:
    store = PoolStore.open(tmp_path / "pool.db")
    listed = AccessStore(store.engine)
    listed.add([ALICE], [Role.WORKER])
    gate = AccessGate(listed, ModelChain.fresh(owner=ALICE))
    assert await gate.read() and not await gate.read()
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE pool_access")
    assert not await gate.read()
    assert await gate.refusal(Role.WORKER, ALICE) == "" and await gate.refusal(Role.WORKER, BOB)
    store.close()
