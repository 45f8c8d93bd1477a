"""A worker behind a role account is who its owner says, and its operator's signatures count for it alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.protocol import pool_messages, wire, worker_messages
from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.seals import challenge_message
from fairgrid.protocol.typed_data import enrolment_typed_data
from fairgrid.protocol.views import RoleAccount
from tests.pool.grid import Grid, key
from tests.pool.scripted import Scripted, at_the_door

ACCOUNT = checksum("0x" + "ac" * 20)


async def answered(
    grid: Grid, worker: Scripted, *, owner: str = "cold", account: str = ACCOUNT
) -> pool_messages.PoolMessage:
    """The pool's answer to an enrolment of ``account`` by the worker's key in the owner's name."""
    challenge = await worker.hear()
    assert isinstance(challenge, pool_messages.Challenge)
    cold = key(owner)
    document = enrolment_typed_data(cold.address, account, grid.workerpool, grid.domain)
    message = challenge_message(challenge.chain_id, challenge.hub, challenge.workerpool, account, challenge.nonce)
    await worker.say(
        worker_messages.Enrol(
            owner=cold.address,
            worker=account,
            owner_signature=cold.sign_typed_data(document),
            nonce_signature=worker.key.sign_message(message),
            runtimes=(),
            slots=1,
            version=wire.PROTOCOL_VERSION,
        )
    )
    return await worker.hear()


async def test_the_operator_of_an_owners_account_is_welcome_as_the_account(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "hot")
    grid.chain.role_accounts[ACCOUNT] = RoleAccount(key("cold").address, worker.address, 1)
    grid.deposit(ACCOUNT)
    async with grid.pool(), at_the_door(grid) as worker.connection:
        assert isinstance(await answered(grid, worker), pool_messages.Welcome)

        async def known() -> bool:
            state = grid.service.machine.workers.get(ACCOUNT)
            return state is not None and state.owner == key("cold").address and state.stake > 0

        await grid.until(known)


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        (None, "not signed by the worker's key"),
        (RoleAccount(key("stranger").address, key("hot").address, 1), "belongs to another owner"),
        (RoleAccount(key("cold").address, key("stranger").address, 1), "working operator"),
        (RoleAccount(key("cold").address, key("hot").address, 2), "working operator"),
        (RoleAccount(key("cold").address, key("hot").address, 0), "working operator"),
    ],
    ids=["no account", "another owner", "another operator", "another role", "no role"],
)
async def test_whoever_is_not_the_working_operator_is_turned_away(
    tmp_path: Path, account: RoleAccount | None, reason: str
) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "hot")
    if account is not None:
        grid.chain.role_accounts[ACCOUNT] = account
    async with grid.pool(), at_the_door(grid) as worker.connection:
        answer = await answered(grid, worker)
    assert isinstance(answer, pool_messages.Refused) and reason in answer.reason


async def test_a_cold_owners_name_cannot_be_used_without_its_signature(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "hot")
    grid.chain.role_accounts[ACCOUNT] = RoleAccount(key("cold").address, worker.address, 1)
    async with grid.pool(), at_the_door(grid) as worker.connection:
        answer = await answered(grid, worker, owner="thief")
    assert isinstance(answer, pool_messages.Refused) and "belongs to another owner" in answer.reason


async def test_two_machines_of_one_owner_never_get_the_same_task(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    second = checksum("0x" + "ad" * 20)
    workers = {ACCOUNT: Scripted(grid, "hot"), second: Scripted(grid, "hotter")}
    for account, worker in workers.items():
        grid.chain.role_accounts[account] = RoleAccount(key("cold").address, worker.address, 1)
        grid.deposit(account)
    first, other = workers.values()
    async with grid.pool(), at_the_door(grid) as first.connection, at_the_door(grid) as other.connection:
        for account, worker in workers.items():
            assert isinstance(await answered(grid, worker, account=account), pool_messages.Welcome)
            await worker.say(worker_messages.Ready(held=(), free_slots=1))
        task = await grid.task(100)

        async def leased() -> bool:
            state = grid.service.machine.tasks.get(task)
            return state is not None and bool(state.replicas)

        await grid.until(leased)
        assert len(grid.service.machine.tasks[task].replicas) == 1
        assert not grid.service.why(second).reasons == ()
        owner_rules = [
            reason.allowed
            for account in workers
            for reason in grid.service.why(account).reasons
            if reason.rule == "owner"
        ]
        assert owner_rules == [False, False]
