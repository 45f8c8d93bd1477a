"""How often a pool asks its node for one task, and for a bag, on a real chain: what providers of nodes count, and bill.

What a pool asks by the clock, whatever it works on (the newest block, its coins, the node's chain), is left out.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.network import Network
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.onchain import comparison, effects, watcher
from fairgrid.pool.service import PoolService
from fairgrid.protocol.hexes import from_hex, keccak, to_hex
from fairgrid.runtime.interface import SandboxJob
from tests.pool.anvil_world import AnvilWorld, anvil_world, until
from tests.worker.world import bag, running

POLICY = Policy(
    seal_window_min_s=300,
    lease_ttl_s=300,
    restart_grace_s=60,
    fill_wait_s=60,
    authorisation_timeout_s=60,
    batch_probe_tasks=2,
    batch_run_tasks=4,
)
NEVER_S = 1e12


@dataclass
class Place:
    """A world on a real chain, and the pool's own connection to it."""

    world: AnvilWorld
    mine: JsonRpcChain

    @asynccontextmanager
    async def pool(self, policy: Policy, job: Callable[[SandboxJob], bytes]) -> AsyncIterator[PoolService]:
        """A pool with one worker that has enrolled."""
        async with (
            self.world.pool(policy, chain=self.mine) as (service, url),
            running(self.world.world, self.world.agent(url, job)) as agent,
        ):
            await until(lambda: asyncio.sleep(0, agent.is_enrolled))
            yield service


@pytest.fixture
async def place(anvil: AnvilProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    # No comparison by the clock, and no look at the coins: both come as often with one task as with a thousand.
    monkeypatch.setattr(comparison, "_COMPARE_S", NEVER_S)
    monkeypatch.setattr(effects, "_MONEY_EVERY_S", NEVER_S)
    monkeypatch.setattr(watcher, "_IDENTITY_EVERY_S", NEVER_S)
    async with anvil_world(anvil, tmp_path) as world:
        chain, code = world.chain, anvil.request("eth_getCode", world.chain.hub, "latest")
        pinned = to_hex(keccak(from_hex(code)))
        pool = world.world.workerpool
        network = Network("test", chain.chain_id, anvil.rpc_url, chain.hub, pinned, chain.rlc, "", "", "", pool)
        async with await JsonRpcChain.connect(network) as mine:
            yield Place(world, mine)


def job(task: SandboxJob) -> bytes:
    (task.output_folder / "out.txt").write_text(task.arguments[0])
    return b""


@dataclass
class Asked:
    """What a pool asked its node for one deal."""

    blocks: int
    """So many blocks came meanwhile: each costs a call for its events and one for its header."""
    calls: Counter[str]

    @property
    def of_tasks(self) -> int:
        """Calls but those that follow the chain: they come with blocks and with time, whatever happens to tasks."""
        following = self.calls["eth_getLogs"] + self.calls["eth_getBlockByNumber"]
        return self.calls.total() - following - self.calls["eth_sendRawTransaction"]


async def asked_for(place: Place, service: PoolService, tasks: int, *, lane: bool = False) -> Asked:
    """Have so many tasks of one deal computed."""

    def done() -> int:
        states = service.machine.tasks.values()
        return sum(state.count or 1 for state in states if state.phase is Phase.COMPLETED)

    manifest, wanted = bag(await place.world.world.manifest(), tasks), done() + tasks
    before, first = Counter(place.mine.rpc.asked.calls), (await place.world.chain.head()).number
    await place.world.world.deal(trust=1, volume=tasks, lane=lane, manifest=manifest)
    await until(lambda: asyncio.sleep(0, done() == wanted))
    calls = Counter(place.mine.rpc.asked.calls)
    calls.subtract(before)
    return Asked((await place.world.chain.head()).number - first, +calls)


def tell(path: str, asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        methods = ", ".join(f"{count} {method}" for method, count in sorted(asked.calls.items()))
        sys.stdout.write(f"\n{path}, {asked.blocks} blocks: {asked.of_tasks} reads, with the chain's: {methods}\n")


def assert_of_transactions(asked: Asked, sent: int) -> None:
    """Each transaction of the pool's takes a simulation, the fees, the coins and a nonce; of many, what became of them
    is asked once a block."""
    calls = asked.calls
    assert calls["eth_sendRawTransaction"] == sent
    assert calls["eth_estimateGas"] == calls["eth_maxPriorityFeePerGas"] == calls["eth_getBalance"] == sent
    assert calls["eth_getTransactionCount"] <= sent + asked.blocks
    assert calls["eth_getTransactionReceipt"] <= 2 * sent
    assert calls["eth_getLogs"] <= asked.blocks, "a block is read once"


async def test_a_task_that_ends_at_once_takes_two_views_and_the_category_once(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    async with place.pool(POLICY, job) as service:
        for path, views in (("the first task on the fast path", 2), ("the next", 1)):
            asked = await asked_for(place, service, 1)
            tell(path, asked, capsys)
            assert asked.calls["eth_call"] == views, "its deal, and the category if it is a new one"
            assert_of_transactions(asked, 1)
            assert asked.of_tasks <= 10


async def test_a_classic_task_takes_one_view_more_when_the_workers_agree(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    async with place.pool(replace(POLICY, fast_path=0), job) as service:
        for path, views in (("the first task on the classic path", 3), ("the next", 2)):
            asked = await asked_for(place, service, 1)
            tell(path, asked, capsys)
            assert asked.calls["eth_call"] == views
            assert_of_transactions(asked, 2)
            assert asked.of_tasks <= 18


async def test_tasks_that_begin_together_share_what_is_read(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    async with place.pool(POLICY, job) as service:
        asked = await asked_for(place, service, 10)
        tell("ten tasks of a deal", asked, capsys)
        assert asked.calls["eth_call"] == 2
        assert_of_transactions(asked, asked.calls["eth_sendRawTransaction"])
        assert asked.calls["eth_sendRawTransaction"] <= 3


async def test_a_bag_in_the_batch_lane_costs_the_same_whatever_its_size(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    async with place.pool(replace(POLICY, batch_run_tasks=50), job) as service:
        for tasks, views in ((6, 3), (42, 2)):
            asked = await asked_for(place, service, tasks, lane=True)
            tell(f"a bag of {tasks} in two runs", asked, capsys)
            assert asked.calls["eth_call"] == views, "its deal and its lane, and the category if it is a new one"
            assert_of_transactions(asked, 0)
            assert asked.of_tasks <= 7
