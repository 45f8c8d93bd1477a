"""What is read of the chain is one moment of it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from fairgrid.chain import calls
from fairgrid.chain.interface import Block
from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.core.events import ChainReconciled, DealUndone, Event, Tick
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.task_facts import ChainFacts
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.onchain import comparison as comparisons
from fairgrid.pool.onchain.comparison import Comparison
from fairgrid.pool.onchain.translation import terms_of
from fairgrid.pool.onchain.watcher import ChainWatcher, Position
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex, to_hex
from fairgrid.protocol.ids import authorisation_message, result_hash, result_seal, task_id
from fairgrid.protocol.views import Contribution, ContributionStatus, Deal, Task, TaskStatus
from tests.pool.grid import Grid, key

DIGEST = "0x" + "d1" * 32


class Meanwhile:
    """The chain, on which something happens while contributions are read for the first time."""

    def __init__(self, grid: Grid, task: str) -> None:
        self._grid = grid
        self._task = task
        self._happened = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid.chain, name)

    async def view_contributions(self, pairs: Sequence[tuple[str, str]]) -> list[Contribution]:
        if not self._happened:
            self._happened = True
            chain = self._grid.chain
            await chain.transact(calls.reveal(chain.hub, self._task, DIGEST), key("worker"))
        return await self._grid.chain.view_contributions(pairs)


async def test_a_reveal_that_is_mined_while_a_task_is_read_comes_with_its_digest(tmp_path: Path) -> None:
    grid, worker = Grid(tmp_path), key("worker")
    chain = grid.chain
    grid.deposit(worker.address)
    deal_id = await grid.deal(1)
    task = task_id(deal_id, 0)
    await chain.transact(calls.initialize(chain.hub, deal_id, 0), grid.scheduler)
    signature = grid.scheduler.sign_message(authorisation_message(worker.address, task, ZERO_ADDRESS))
    contribution = calls.contribute(
        chain.hub,
        task,
        result_hash(task, DIGEST),
        result_seal(worker.address, task, DIGEST),
        to_hex(from_hex(signature)),
    )
    await chain.transact(contribution, worker)
    deal = await chain.view_deal(deal_id)
    assert deal is not None
    state = TaskState(task_id=task, index=0, deal=terms_of(deal_id, deal, 60), created_at=0.0)
    fed: list[Event | Position] = []
    store = PoolStore.open(tmp_path / "pool.db")

    async def taken() -> None:
        await asyncio.sleep(0)

    try:
        needed: dict[str, Any] = {
            "chain": Meanwhile(grid, task),
            "identity": PoolIdentity(chain.chain_id, chain.hub, grid.workerpool),
            "policy": Policy(),
            "store": store,
            "feed": fed.append,
            "taken": taken,
            "tasks": lambda: {task: state},
        }
        unasked: dict[str, Any] = dict.fromkeys(inspect.signature(ChainWatcher).parameters)
        await ChainWatcher(**(unasked | needed)).reconcile(task)
    finally:
        store.close()
    (event,) = fed
    assert isinstance(event, ChainReconciled)
    (seen,) = event.facts.contributions
    assert (seen.status, event.facts.result_digest) == (ContributionStatus.PROVED, DIGEST)


class SometimesAway:
    """A chain that does not answer from ``away_from`` to ``away_until`` (local seconds)."""

    chain_id = 1

    def __init__(self, clock: Steps, away_from: float, away_until: float) -> None:
        self._clock, self._away_from, self._away_until = clock, away_from, away_until

    async def verify(self) -> None:
        self._answer()

    async def block_hash(self, number: int) -> str:
        self._answer()
        return "0x" + "00" * 32

    async def head(self, *, within_s: float = 0.0) -> Block:
        self._answer()
        return Block(1, "0x" + "01" * 32, int(self._clock.now()))

    def _answer(self) -> None:
        if self._away_from <= self._clock.now() < self._away_until:
            raise ServiceUnavailable("chain", "memory:", "it is away")


class Steps:
    """Time that passes by sleeping, and ends the program when it is over."""

    def __init__(self, over_at: float) -> None:
        self._now, self._over_at = 1_000.0, over_at

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._now += seconds
        if self._now >= self._over_at:
            raise EndOfTimeError


class EndOfTimeError(Exception):
    """Enough time has passed."""


async def test_the_first_tick_after_the_chain_was_away_says_for_how_long(tmp_path: Path) -> None:
    clock = Steps(over_at=1_100.0)
    fed: list[Event | Position] = []
    store = PoolStore.open(tmp_path / "pool.db")
    try:
        needed: dict[str, Any] = {
            "chain": SometimesAway(clock, 1_010.0, 1_070.0),
            "identity": PoolIdentity(1, ZERO_ADDRESS, ZERO_ADDRESS),
            "policy": Policy(),
            "store": store,
            "clock": clock,
            "feed": fed.append,
        }
        unasked: dict[str, Any] = dict.fromkeys(inspect.signature(ChainWatcher).parameters)
        with pytest.raises(EndOfTimeError):
            await ChainWatcher(**(unasked | needed)).keep_time()
    finally:
        store.close()
    silences = [event.silence_s for event in fed if isinstance(event, Tick) and event.silence_s]
    assert silences == [pytest.approx(60.5)]


class Counting:
    """A chain that counts looks at tasks; it mines, or not, before each round, which begins with the newest block."""

    def __init__(self, grid: Grid, *, mines: bool) -> None:
        self._grid = grid
        self._mines = mines
        self.clock = Steps(over_at=1_010.0)
        self._known_at = 0.0
        self.rounds = self.looks = self.deals = self.heads = 0
        self.deals_until = 1_000

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid.chain, name)

    async def head(self, *, within_s: float = 0.0) -> Block:
        if not within_s or self.clock.now() - self._known_at >= within_s:
            self.heads += 1
        if within_s and self.clock.now() > self._known_at:
            self._known_at = self.clock.now()
            self.rounds += 1
            if self._mines:
                self._grid.chain.mine()
        return await self._grid.chain.head()

    async def view_deal(self, deal_id: str) -> Deal | None:
        self.deals += 1
        if self.deals > self.deals_until:
            return None
        return await self._grid.chain.view_deal(deal_id)

    async def view_tasks(self, task_ids: Sequence[str]) -> list[Task]:
        self.looks += 1
        return await self._grid.chain.view_tasks(task_ids)


async def active_task(grid: Grid) -> TaskState:
    """A task that is ACTIVE on chain, and known as such."""
    deal_id = await grid.deal(1)
    await grid.chain.transact(calls.initialize(grid.chain.hub, deal_id, 0), grid.scheduler)
    deal = await grid.chain.view_deal(deal_id)
    assert deal is not None
    state = TaskState(task_id=task_id(deal_id, 0), index=0, deal=terms_of(deal_id, deal, 60), created_at=0.0)
    state.facts = state.facts.with_status(TaskStatus.ACTIVE)
    return state


def comparison(chain: Counting, state: TaskState, fed: list[Event], *, confirmations: int = 0) -> Comparison:
    """Rounds over one task, for ten seconds."""
    return Comparison(
        chain=cast(Any, chain),
        clock=chain.clock,
        order=asyncio.Lock(),
        confirmations=confirmations,
        feed=fed.append,
        tasks=lambda: {state.task_id: state},
    )


async def go_round(compared: Comparison) -> None:
    with pytest.raises(EndOfTimeError):
        await compared.go_round()


@pytest.mark.parametrize(("mines", "confirmations"), [(False, 0), (False, 3), (True, 0), (True, 3)])
async def test_a_task_that_agrees_with_the_chain_is_read_again_only_after_a_new_block(
    tmp_path: Path, mines: bool, confirmations: int
) -> None:
    grid = Grid(tmp_path)
    chain, state, fed = Counting(grid, mines=mines), await active_task(grid), list[Event]()
    compared = comparison(chain, state, fed, confirmations=confirmations)
    await go_round(compared)
    assert chain.looks == (chain.rounds if mines else 1)
    assert chain.rounds > 3
    if not confirmations:
        assert chain.heads == chain.rounds, "a round asks for the newest block once"
    looks = chain.looks
    await compared.reconcile(state.task_id)
    assert chain.looks == looks + 1, "who asks for a task has it read in any case"
    assert not fed


async def test_what_is_believed_otherwise_since_is_compared_though_no_block_came(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    chain, state, fed = Counting(grid, mines=False), await active_task(grid), list[Event]()
    compared = comparison(chain, state, fed)
    await compared.reconcile(state.task_id)
    assert not fed
    state.facts = state.facts.with_status(TaskStatus.COMPLETED)
    await go_round(compared)
    assert isinstance(fed[0], ChainReconciled) and fed[0].facts.status is TaskStatus.ACTIVE


async def unopened_task(grid: Grid) -> TaskState:
    """One that the chain does not know yet; its deal is there."""
    state = await active_task(grid)
    state.task_id, state.index = task_id(state.deal.deal_id, 1), 1
    state.facts = ChainFacts()
    return state


async def test_the_deal_of_an_unopened_task_is_looked_for_once_a_block_until_it_is_deep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "_DEAL_DEPTH", 5)
    grid, fed = Grid(tmp_path), list[Event]()
    chain, state = Counting(grid, mines=True), await unopened_task(grid)
    compared = comparison(chain, state, fed)
    for _ in range(3):
        await compared.reconcile(state.task_id)
    assert chain.deals == 1, "as of one block"
    await go_round(compared)
    assert chain.rounds > 8
    assert chain.deals == 6
    assert not fed


async def test_a_deal_that_is_lost_while_it_is_not_deep_is_undone(tmp_path: Path) -> None:
    grid, fed = Grid(tmp_path), list[Event]()
    chain, state = Counting(grid, mines=True), await unopened_task(grid)
    chain.deals_until = 2
    await go_round(comparison(chain, state, fed))
    assert fed[0] == DealUndone(state.deal.deal_id)
