"""How many tasks a second the chain's side of the batch lane settles: one lean worker, trust 1, runs one after another.

    python -m bench.batch_lane --tasks 100000 --run 1000 --run 100 --run 10

An anvil of its own mines a block for each transaction. For each size of run a bag is matched and settled by
`settleRun`, run by run at the cursor, as a worker must: the digests (of made-up results) are hashed to the root,
the scheduler authorises, the worker signs, sends and waits for the receipt. Nothing is computed and nothing is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from tests.chain.places import APP_OWNER, DEPLOYER, POOL_OWNER, REQUESTER, WORKERS, match, open_market, sign

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.deploy import deploy
from fairgrid.localnet.anvil import LOCAL_CHAIN_ID, AnvilOptions, ensure_anvil, start_anvil
from fairgrid.localnet.processes import Guardian
from fairgrid.protocol import ids, runs
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.orders import WorkerpoolOrder
from fairgrid.protocol.results import results_text
from fairgrid.protocol.tags import LANE_MASK
from fairgrid.protocol.views import Lane

__all__ = ["Figure", "main", "settle_bag"]

_TAG = f"0x{LANE_MASK:064x}"
_DEPOSIT = 10**9
_RESULTS = results_text(cid_of(b"the manifest of a run's results"))


@dataclass(frozen=True, slots=True)
class Figure:
    """One bag: how it was cut, how long it took from the first run to the last receipt, and its gas with the match."""

    tasks: int
    run: int
    seconds: float
    gas: int

    @property
    def tasks_per_s(self) -> float:
        """Tasks settled a second."""
        return self.tasks / self.seconds

    @property
    def gas_per_task(self) -> float:
        """Gas of the whole bag, divided."""
        return self.gas / self.tasks


async def settle_bag(chain: JsonRpcChain, deal_id: str, *, tasks: int, run: int) -> tuple[float, int]:
    """Settle a bag run by run; gives seconds and gas."""
    worker, gas, first = WORKERS[0], 0, 0
    began = time.perf_counter()
    while first < tasks:
        count = min(run, tasks - first)
        root = runs.tasks_root([to_hex32(keccak(b"%d" % index)) for index in range(first, first + count)])
        run_id = runs.run_id(deal_id, first, count)
        authorisation = POOL_OWNER.sign_message(ids.authorisation_message(worker.address, run_id, ZERO_ADDRESS))
        receipt = await chain.transact(
            calls.settle_run(chain.hub, deal_id, count, root, _RESULTS, authorisation), worker
        )
        gas += receipt.gas_used
        first += count
    return time.perf_counter() - began, gas


async def _measure(rpc_url: str, tasks: int, sizes: Sequence[int]) -> list[Figure]:
    deployment = await deploy(rpc_url, DEPLOYER)
    chain = JsonRpcChain(rpc_url, chain_id=LOCAL_CHAIN_ID, hub=deployment.hub, rlc=deployment.rlc)
    try:
        market = await open_market(chain, trust=1)
        for account in (REQUESTER, POOL_OWNER):
            await chain.transact(calls.transfer(chain.rlc, account.address, _DEPOSIT), DEPLOYER)
            await chain.transact(calls.approve(chain.rlc, chain.hub, _DEPOSIT), account)
            await chain.transact(calls.deposit(chain.hub, _DEPOSIT), account)
        figures = []
        for size in sizes:
            salt = to_hex32(keccak(b"%d" % size))
            volume = min(tasks, size * 100)
            offer = replace(market.workerpool_order, tag=_TAG, volume=volume, workerpoolprice=10, salt=salt)
            app = replace(market.app_order, appprice=1, volume=volume, salt=salt)
            market.workerpool_order = cast(WorkerpoolOrder, sign(chain, offer, POOL_OWNER))
            market.app_order = cast(Any, sign(chain, app, APP_OWNER))
            market.request = replace(market.request, tag=_TAG, volume=volume, salt=salt)
            before = (await chain.head()).number
            deal_id = await match(chain, market)
            match_gas = await _gas_of(chain, before + 1)
            seconds, gas = await settle_bag(chain, deal_id, tasks=volume, run=size)
            lane = await chain.view_lane(deal_id)
            assert lane == Lane(in_batch_lane=True, cursor=volume, refunded=False), lane
            figures.append(Figure(volume, size, seconds, gas + match_gas))
        return figures
    finally:
        await chain.close()


async def _gas_of(chain: JsonRpcChain, number: int) -> int:
    block = await chain.rpc.request("eth_getBlockByNumber", hex(number), False)
    return int(block["gasUsed"], 16)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table or JSON; 1 if the best figure misses ``--at-least`` tasks a second."""
    parser = argparse.ArgumentParser(description="Tasks a second through the batch lane on anvil.")
    parser.add_argument("--tasks", type=int, default=100_000, help="tasks of a bag, at most 100 runs of it")
    parser.add_argument("--run", type=int, action="append", help="tasks of a run; may be given again")
    parser.add_argument("--at-least", type=float, default=5_000.0, help="tasks a second that are wanted")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        guardian = Guardian()
        options = AnvilOptions(block_time=None, log=Path(folder) / "anvil.log")
        anvil = asyncio.run(start_anvil(options, binary=ensure_anvil(), guardian=guardian))
        try:
            figures = asyncio.run(_measure(anvil.rpc_url, given.tasks, given.run or [10, 100, 1_000]))
        finally:
            anvil.stop_now()
            guardian.close()
    if given.json:
        rows = [asdict(row) | {"tasksPerS": row.tasks_per_s, "gasPerTask": row.gas_per_task} for row in figures]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        for row in figures:
            sys.stdout.write(
                f"runs of {row.run:>6,}: {row.tasks:>7,} tasks in {row.seconds:6.2f} s = "
                f"{row.tasks_per_s:>9,.0f} tasks/s, {row.gas_per_task:,.0f} gas a task\n"
            )
    return 0 if max(row.tasks_per_s for row in figures) >= given.at_least else 1


if __name__ == "__main__":
    sys.exit(main())
