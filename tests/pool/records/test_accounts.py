"""The accounts: what they add up to is what the chain paid, once, whatever workers say of themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fairgrid.pool.commits import commit_of
from fairgrid.pool.core.accounts import Account, AccountKind, Correction, accounts_of, added_up, day_of
from fairgrid.pool.core.events import ChainReconciled, Event
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.task_facts import ChainFacts
from fairgrid.pool.records.account_store import AccountKeeper, AccountStore, usage, write_corrections
from fairgrid.pool.records.bulk import written_at_once
from fairgrid.pool.records.rows import Commit
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol.usage import Usage
from fairgrid.protocol.views import TaskStatus
from tests.pool.fakes import address, honest
from tests.pool.grid import DEPOSIT, PRICE, Grid, key
from tests.pool.scripted import Script, Scripted, all_connected
from tests.pool.support import IDENTITY, World

MEASURED = Usage(cpu_ms=50, wall_ms=60, peak_memory_bytes=7_000, bytes_in=100, bytes_out=20)


def sums(store: PoolStore, kind: AccountKind) -> dict[str, Account]:
    return {account.subject: account for account in AccountStore(store.engine).sums(kind)}


def add(connection: sa.Connection, accounts: list[Account]) -> None:
    """Add to a day's accounts, and commit."""
    keeper = AccountKeeper()
    keeper.prepare(connection, "2026-01-01", accounts)
    with written_at_once(connection) as batch:
        keeper.write(batch)


async def balance(grid: Grid, who: str) -> int:
    """What somebody has in the hub, locked or not."""
    account = await grid.chain.view_account(who)
    return account.stake + account.locked


async def test_sums_are_what_the_chain_paid_with_a_liar_among_the_workers(tmp_path: Path) -> None:
    liar_address = key("liar").address
    policy = Policy(
        first_round_replicas=5, authorisation_order=(liar_address,), seal_window_min_s=1_000, lease_ttl_s=1_000
    )
    grid = Grid(tmp_path, policy=policy)
    liar = Scripted(grid, "liar", Script(content=b"wrong", usage=MEASURED))
    good = [Scripted(grid, f"worker {number}", Script(usage=MEASURED)) for number in range(4)]
    everybody = [liar, *good]
    before = {name: await balance(grid, name) for name in (grid.scheduler.address, grid.requester.address)}
    async with grid.pool(), all_connected(everybody):
        task = await grid.task(4)
        await grid.until_status(task, TaskStatus.COMPLETED)

        async def accounted() -> bool:
            state = await grid.service.inquiries.task(task)
            return state is not None and state.state.accounted

        await grid.until(accounted, what="the task's accounts")
    store = PoolStore.open(tmp_path / "pool.db")
    try:
        workers, (requester,) = sums(store, "worker"), sums(store, "requester").values()
        (app,), (pool,) = sums(store, "app").values(), sums(store, "pool").values()
    finally:
        store.close()
    changed = {worker.address: await balance(grid, worker.address) - DEPOSIT for worker in everybody}
    slashed = -changed.pop(liar.address)
    assert slashed > 0 and workers[liar.address].nrlc == 0
    assert {name: workers[name].nrlc for name in changed} == changed
    assert requester.nrlc == app.nrlc == PRICE
    assert before[grid.requester.address] - await balance(grid, grid.requester.address) == requester.nrlc
    assert await balance(grid, grid.scheduler.address) - before[grid.scheduler.address] == pool.nrlc
    assert sum(account.nrlc for account in workers.values()) + pool.nrlc == requester.nrlc + slashed
    assert (requester.subject, app.subject) == (grid.requester.address, grid.app)
    assert (requester.tasks, requester.completed, requester.leases, requester.metered) == (1, 1, 5, 5)
    assert requester.cpu_ms == 5 * 50 and requester.bytes_in == 500 and requester.peak_memory_bytes == 7_000
    assert workers[liar.address].cpu_ms == 50 and workers[liar.address].completed == 0


async def test_a_restart_counts_nothing_twice_and_loses_nothing(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker", Script(usage=MEASURED))
    deal_tasks = []
    async with grid.pool(), worker.connected():
        deal_tasks.append(await grid.task(1))
        await grid.until_phase(deal_tasks[0], "completed")
    for _ in range(2):
        async with grid.pool():
            await asyncio.sleep(0.2)
    async with grid.pool(), worker.connected():
        deal_tasks.append(await grid.task(1))
        await grid.until_phase(deal_tasks[1], "completed")

        async def both() -> bool:
            states = [await grid.service.inquiries.task(task) for task in deal_tasks]
            return all(state is not None and state.state.accounted for state in states)

        await grid.until(both, what="both accounts")
    store = PoolStore.open(tmp_path / "pool.db")
    try:
        (requester,) = sums(store, "requester").values()
        (earned,) = sums(store, "worker").values()
    finally:
        store.close()
    assert (requester.tasks, requester.nrlc) == (2, 2 * PRICE)
    assert earned.nrlc == await balance(grid, worker.address) - DEPOSIT


async def test_a_report_that_cannot_be_true_is_cut_to_the_lease(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    huge = Usage(cpu_ms=10**15, wall_ms=10**15, peak_memory_bytes=1, bytes_in=1, bytes_out=1)
    boaster = Scripted(grid, "boaster", Script(usage=huge))
    async with grid.pool(), boaster.connected():
        task = await grid.task(1)
        await grid.until_phase(task, "completed")

        async def told() -> bool:
            state = await grid.service.inquiries.task(task)
            return state is not None and state.state.accounted

        await grid.until(told, what="its accounts")
        assert grid.service.figures.tally["usage/cut"] >= 1
        stored = await grid.service.inquiries.task(task)
    assert stored is not None
    (replica,) = stored.state.replicas
    longest = (replica.sealed_at - replica.leased_at) * 1000 + 1_001
    assert replica.usage is not None
    assert replica.usage.cpu_ms <= longest and replica.usage.wall_ms <= longest


def test_a_refunded_task_paid_nobody_and_still_ended() -> None:
    world = World(honest(1))
    task = world.deal(4, price=100)
    state = world.run_until_final(task, seconds=60)
    assert state.phase == "failed"
    accounts = accounts_of(state, IDENTITY.workerpool)
    assert [
        (account.kind, account.tasks, account.completed, account.nrlc) for account in accounts if account.tasks
    ] == [
        ("requester", 1, 0, 0),
        ("app", 1, 0, 0),
    ]
    assert not any(account.kind == "pool" for account in accounts)


@pytest.mark.parametrize("weight", [0, 1])
def test_who_ended_its_task_at_once_has_no_weight_and_got_everything(weight: int) -> None:
    world = World(honest(3))
    state = world.run_until_final(world.deal(1, price=100), seconds=600)
    assert state.phase == "completed"
    usual = {account.subject: account.nrlc for account in accounts_of(state, IDENTITY.workerpool) if account.nrlc}
    (seen,) = state.facts.contributions
    state.facts = replace(state.facts, contributions=(replace(seen, weight=weight),))
    at_once = {account.subject: account.nrlc for account in accounts_of(state, IDENTITY.workerpool) if account.nrlc}
    assert at_once == usual and usual


def test_usage_of_a_day_is_added_to_what_the_day_had(database: str) -> None:
    store = PoolStore.open(database)
    try:
        for number in range(3):
            added = [
                Account("worker", address(f"worker {name}"), tasks=1, cpu_ms=5, peak_memory_bytes=number, nrlc=1 << 70)
                for name in range(number + 1)
            ]
            with store.engine.begin() as connection:
                add(connection, [*added, *added])
        first = sums(store, "worker")[address("worker 0")]
        accounts = AccountStore(store.engine)
        assert (first.tasks, first.cpu_ms, first.peak_memory_bytes, first.nrlc) == (6, 30, 2, 6 << 70)
        assert sums(store, "worker")[address("worker 2")].tasks == 2
        assert accounts.sums("requester") == []
        assert accounts.sums("worker", since="2026-01-02") == accounts.sums("worker", until="2025-12-31") == []
        assert [accounts.purge("2026-01-02", limit=2) for _ in range(3)] == [2, 1, 0]
        assert accounts.days("worker") == []
    finally:
        store.close()


def test_a_task_of_one_transaction_is_paid_though_the_hub_weighs_its_contribution_as_nothing() -> None:
    world = World(honest(1))
    task = world.run_until_final(world.deal(1))
    task.deal = replace(task.deal, price=1_000, pool_percent=5)
    (seen,) = task.facts.contributions
    task.facts = task.facts.with_contribution(replace(seen, weight=1))
    accounts = {(account.kind, account.subject): account.nrlc for account in accounts_of(task, IDENTITY.workerpool)}
    assert accounts["worker", seen.worker] == 950
    assert accounts["pool", IDENTITY.workerpool] == 50


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 9), st.integers(0, 9)), max_size=20))
def test_adding_up_keeps_every_sum(parts: list[tuple[str, int, int]]) -> None:
    accounts = [Account("app", name, tasks=tasks, nrlc=nrlc) for name, tasks, nrlc in parts]
    added = added_up(accounts)
    assert len({account.subject for account in added}) == len(added)
    assert sum(account.tasks for account in added) == sum(tasks for _, tasks, _ in parts)
    assert sum(account.nrlc for account in added) == sum(nrlc for _, _, nrlc in parts)


def test_days_are_those_of_utc() -> None:
    assert day_of(0.0) == "1970-01-01"
    assert day_of(86_399.9) == "1970-01-01"
    assert day_of(86_400.0) == "1970-01-02"


def test_a_task_settled_at_once_and_known_by_the_hubs_view_only_is_paid_to_its_worker() -> None:
    """The view of a contribution that was finalized in the same transaction has no weight; the event's is not seen."""
    world = World(honest(1))
    task = world.deal(1, price=100)
    world.run_until_final(task)
    state = world.machine.tasks[task]
    (proved,) = state.facts.contributions
    accounts = {}
    for weight in (proved.weight, 1):
        state.facts = replace(state.facts, contributions=(replace(proved, weight=weight),))
        accounts[weight] = accounts_of(state, IDENTITY.workerpool)
    assert accounts[1] == accounts[proved.weight]
    paid = {account.subject: account.nrlc for account in accounts[1] if account.kind in ("worker", "pool")}
    assert sum(paid.values()) == 100 and paid[proved.worker] > 0


def taken_back(world: World, task: str, facts: ChainFacts) -> Commit:
    """What is committed when the chain's word of a task changes."""
    world.chain[task] = facts
    world.machine.take(ChainReconciled(task, facts), now=world.now)
    world.machine.settle(now=world.now)
    return committed(world)


def committed(world: World) -> Commit:
    outcome = world.machine.outcome()
    world.pending.extend(outcome.instructions)
    return commit_of(outcome, [], at=world.now, account=lambda task: accounts_of(task, IDENTITY.workerpool))


def _handled(world: World, event: Event) -> Commit:
    world.machine.take(event, now=world.now)
    world.machine.settle(now=world.now)
    return committed(world)


def test_what_a_reorganisation_takes_back_is_taken_off_and_what_it_becomes_instead_is_counted(database: str) -> None:
    store = PoolStore.open(database)
    try:
        world = World(honest(1))
        world.feed = lambda event: store.commit(_handled(world, event)) or ()  # type: ignore[method-assign,func-returns-value]
        task = world.deal(1, price=PRICE)
        world.run()
        before = {kind: sums(store, kind) for kind in ("requester", "app", "worker", "pool")}
        (requester,) = before["requester"].values()
        assert (requester.tasks, requester.completed, requester.nrlc) == (1, 1, PRICE)
        # The chain took the finalization back, and everything before it but the opening; nobody comes any more.
        for fake in world.fakes.values():
            world.lose(fake)
        world.pending.clear()
        commit = taken_back(world, task, ChainFacts(TaskStatus.ACTIVE))
        (correction,) = commit.corrections
        assert correction.task_id == task and "COMPLETED became ACTIVE" in correction.reason
        assert not commit.accounts
        store.commit(commit)
        for kind in before:
            for subject, account in sums(store, kind).items():  # type: ignore[arg-type]
                assert (account.tasks, account.completed, account.leases, account.nrlc) == (0, 0, 0, 0), subject
        # What was counted before still stands in its row.
        with store.engine.connect() as connection:
            kept = connection.execute(sa.select(usage.c.nrlc).where(usage.c.kind == "requester")).scalars().all()
        assert kept == [PRICE]
        (line,) = AccountStore(store.engine).corrections("requester")
        assert (line.task_id, line.account.nrlc, line.account.tasks) == (task, -PRICE, -1)
        world.tick(11 * 60)
        world.run()
        assert world.machine.tasks[task].phase is Phase.FAILED
        (requester,) = sums(store, "requester").values()
        assert (requester.tasks, requester.completed, requester.nrlc) == (1, 0, 0)
        assert all(account.nrlc == 0 for account in sums(store, "worker").values())
        assert sum(account.nrlc for account in sums(store, "pool").values()) == 0
    finally:
        store.close()


def test_a_task_that_is_over_as_before_in_other_blocks_leaves_no_correction(tmp_path: Path) -> None:
    store = PoolStore.open(tmp_path / "pool.db")
    try:
        world = World(honest(1))
        world.feed = lambda event: store.commit(_handled(world, event)) or ()  # type: ignore[method-assign,func-returns-value]
        task = world.deal(1, price=PRICE)
        world.run()
        before = sums(store, "worker")
        facts = world.chain[task]
        commit = taken_back(world, task, replace(facts, reveal_deadline=facts.reveal_deadline + 7))
        assert not commit.corrections and not commit.accounts
        store.commit(commit)
        assert sums(store, "worker") == before
        assert world.machine.tasks[task].accounted
    finally:
        store.close()


def test_a_correction_may_make_a_day_negative_and_is_forgotten_with_its_day(database: str) -> None:
    store = PoolStore.open(database)
    try:
        account = Account(
            "worker", address("w"), tasks=1, completed=1, leases=1, cpu_ms=5, peak_memory_bytes=9, nrlc=70
        )
        with store.engine.begin() as connection:
            write_corrections(connection, 1_767_312_000.0, [Correction("0x" + "ab" * 32, "why", (account,))])
            add(connection, [account])
        accounts = AccountStore(store.engine)
        first, second = accounts.days("worker")
        assert (first.day, first.account.nrlc) == ("2026-01-01", 70)
        assert (second.day, second.account.nrlc, second.account.cpu_ms) == ("2026-01-02", -70, -5)
        (both,) = accounts.sums("worker")
        assert (both.nrlc, both.tasks, both.peak_memory_bytes) == (0, 0, 9)
        assert accounts.corrections("worker", until="2026-01-01") == []
        assert accounts.purge("2026-01-02", limit=10) == 1 and len(accounts.corrections("worker")) == 1
        assert accounts.purge("2026-01-03", limit=10) == 1 and accounts.corrections("worker") == []
    finally:
        store.close()


async def test_a_reorganisation_under_a_running_pool_is_corrected_and_the_task_counts_when_it_is_over_again(
    tmp_path: Path,
) -> None:
    grid = Grid(tmp_path, keep_states=60)
    worker = Scripted(grid, "worker", Script(usage=MEASURED))
    async with grid.pool():
        async with worker.connected():
            task = await grid.task(1)
            before = (await grid.chain.head()).number
            await grid.until_phase(task, "completed")
            store = PoolStore.open(tmp_path / "pool.db")

            async def counted() -> bool:
                return [account.nrlc for account in sums(store, "requester").values()] == [PRICE]

            await grid.until(counted, what="the task's accounts")
        grid.chain.reorganise((await grid.chain.head()).number - before, drop=True)
        grid.chain.mine()

        async def corrected() -> bool:
            return any(line.task_id == task for line in AccountStore(store.engine).corrections("requester"))

        await grid.until(corrected, what="the correction")
        assert [account.nrlc for account in sums(store, "requester").values()] == [0]
        grid.chain.skip(100_000)
        await grid.until_status(task, TaskStatus.FAILED)
        await grid.until_phase(task, "failed")

        async def counted_again() -> bool:
            (requester,) = sums(store, "requester").values()
            return (requester.tasks, requester.completed, requester.nrlc) == (1, 0, 0)

        await grid.until(counted_again, what="the refund in the accounts")
        store.close()
