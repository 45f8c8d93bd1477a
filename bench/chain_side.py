"""How many tasks a second a pool brings through the classic lane of a real chain: trust 1, one worker.

    python -m bench.chain_side --tasks 400

Chain (anvil), worker and storage are processes of their own; the pool runs in this one, with its database on disk and
every check that it makes in service. A bag is matched in one deal; the clock runs from the match until every task is
COMPLETED on chain. Each task costs its share of an initialize for several, and one transaction of the worker, which
contributes and finalizes; with --path slow three: contribute, reveal and finalize. With --run N the bag goes through
the batch lane: each run of up to N tasks is one transaction of the worker, `settleRun`; with --path slow four.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import structlog

from fairgrid.chain import calls
from fairgrid.chain.abi import contract_abi
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.decode import created_address, decode_logs
from fairgrid.chain.deploy import deploy
from fairgrid.chain.network import Network, save_network
from fairgrid.localnet.anvil import AnvilOptions, AnvilProcess, start_anvil
from fairgrid.pool.app import pool_application
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.service import PoolService
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.tags import LANE_MASK
from fairgrid.protocol.typed_data import Domain, order_typed_data
from fairgrid.protocol.wire import MAX_FRAME_BYTES
from fairgrid.seams.clock import SystemClock
from fairgrid.seams.service import serving
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.keys import KeySigner, dev_signer

__all__ = ["main", "measure"]

_DEPOSIT = 10**12
_SLOTS = 256
_PHASES = ("received", "initializing", "sealing", "contributing", "revealing", "uploading", "finalizing", "completed")


@contextlib.asynccontextmanager
async def _process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def measure(
    tasks: int, folder: Path, *, block_time: int | None, path: str = "fast", run: int = 0
) -> dict[str, Any]:
    """One bag of so many tasks through a fresh network."""
    anvil = await start_anvil(AnvilOptions(block_time=block_time, log=folder / "anvil.log"))
    try:
        async with _process(
            "-m", "fairgrid", "storage", "start", "--port", "0", "--dir", str(folder / "storage")
        ) as storage:
            assert storage.stdout is not None
            storage_url = (await storage.stdout.readline()).decode().split()[1]
            return await _with_network(tasks, folder, anvil, storage_url, storage.pid, path, run)
    finally:
        await anvil.stop()


async def _with_network(
    tasks: int, folder: Path, anvil: AnvilProcess, storage_url: str, storage_pid: int, path: str, run: int
) -> dict[str, Any]:
    admin, scheduler, worker = dev_signer(0), dev_signer(1), dev_signer(2)
    deployed = await deploy(anvil.rpc_url)
    chain = JsonRpcChain(anvil.rpc_url, chain_id=deployed.chain_id, hub=deployed.hub, rlc=deployed.rlc)
    async with chain, StorageClient(storage_url) as storage:
        await chain.transact(calls.approve(deployed.rlc, deployed.hub, 10 * _DEPOSIT), admin)
        for person in (admin, scheduler, worker):
            await chain.transact(calls.deposit_for(deployed.hub, _DEPOSIT, person.address), admin)
        create = calls.create_app(deployed.app_registry, admin.address, "bench", "WASM", b"", ZERO32)
        app = created_address(await chain.transact(create, admin), deployed.app_registry)
        create = calls.create_workerpool(deployed.workerpool_registry, scheduler.address, "bench")
        pool = created_address(await chain.transact(create, admin), deployed.workerpool_registry)
        save_network(
            Network(
                name="bench",
                chain_id=deployed.chain_id,
                rpc=anvil.rpc_url,
                hub=deployed.hub,
                hub_code_hash=deployed.hub_code_hash,
                rlc=deployed.rlc,
                market="http://127.0.0.1:1",
                storage=storage_url,
                pool="http://127.0.0.1:1",
                pool_address=pool,
            ),
            folder / "network.json",
        )
        store = PoolStore.open(folder / "pool.db")
        service = PoolService(
            chain=chain,
            signer=scheduler,
            workerpool=pool,
            store=store,
            storage=storage,
            policy=Policy(max_active_tasks=1_000, batch_run_tasks=run or Policy().batch_run_tasks),
            clock=SystemClock(),
            scratch=folder / "uploads",
        )
        try:
            async with (
                service.running(),
                serving(pool_application(service), ws_max_size=MAX_FRAME_BYTES) as url,
                _process(
                    *("-m", "bench.chain_worker", url, str(folder / "network.json"), storage_url),
                    *(worker.private_key.hex(), str(_SLOTS), path),
                ) as lean,
            ):
                while not any(state.ready for state in service.machine.workers.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                pids = {"chain": anvil.process.record.pid, "pool": os.getpid(), "worker": lean.pid}
                parts = (admin, app, pool, scheduler)
                return await _run(tasks, chain, service, parts, {**pids, "storage": storage_pid}, lane=bool(run))
        finally:
            store.close()


async def _run(
    tasks: int,
    chain: JsonRpcChain,
    service: PoolService,
    parts: tuple[KeySigner, str, str, KeySigner],
    pids: dict[str, int],
    *,
    lane: bool,
) -> dict[str, Any]:
    end = "RunFinalize" if lane else "TaskFinalize"
    topic = next(key[0] for key, event in contract_abi("hub").events.items() if event.name == end)
    before = {name: _cpu(pid) for name, pid in pids.items()}
    first = (await chain.head()).number
    began = time.monotonic()
    deal = await _match(tasks, chain, *parts, lane=lane)
    ended = 0
    while ended < tasks:
        await asyncio.sleep(0.5)
        query = {"address": chain.hub, "fromBlock": hex(first), "topics": [topic]}
        logs = await chain.rpc.request("eth_getLogs", query)
        ended = sum(event.arguments["count"] for event in decode_logs(logs)) if lane else len(logs)
        assert time.monotonic() < began + 60 + tasks, f"{tasks - ended} tasks are not done"
    seconds = time.monotonic() - began
    cpu = {name: round(_cpu(pid) - before[name], 2) for name, pid in pids.items()}
    gas, count = await _gas(chain, first)
    ids = list(service.machine.tasks) if lane else [task_id(deal, index) for index in range(tasks)]
    while any(name in service.machine.tasks and not service.machine.tasks[name].is_final for name in ids):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return {
        "tasks": tasks,
        "seconds": round(seconds, 2),
        "tasksPerSecond": round(tasks / seconds, 1),
        "cpuSeconds": cpu,
        "runs": len(ids) if lane else 0,
        "transactions": count,
        "transactionsPerTask": round(count / tasks, 3),
        "gasPerTask": gas // tasks,
        "phases": await _phases(service, ids),
        "load": os.getloadavg()[0],
    }


async def _match(
    tasks: int, chain: JsonRpcChain, admin: KeySigner, app: str, pool: str, scheduler: KeySigner, *, lane: bool
) -> str:
    tag = f"0x{LANE_MASK if lane else 0:064x}"
    domain = Domain(chain.chain_id, chain.hub)
    salt = f"0x{time.time_ns():064x}"
    app_order = AppOrder(app, 0, tasks, salt=salt)
    pool_order = WorkerpoolOrder(pool, 1_000, tasks, tag=tag, trust=1, salt=salt)
    request = RequestOrder(
        app,
        0,
        ZERO_ADDRESS,
        0,
        ZERO_ADDRESS,
        1_000,
        admin.address,
        tasks,
        tag=tag,
        trust=1,
        beneficiary=admin.address,
        params="{}",
        salt=salt,
    )
    call = calls.match_orders(
        chain.hub,
        app_order.signed(admin.sign_typed_data(order_typed_data(app_order, domain))),
        NULL_DATASET_ORDER,
        pool_order.signed(scheduler.sign_typed_data(order_typed_data(pool_order, domain))),
        request.signed(admin.sign_typed_data(order_typed_data(request, domain))),
    )
    receipt = await chain.transact(call, admin)
    return str(next(event.arguments["dealid"] for event in receipt.events if event.name == "SchedulerNotice"))


async def _gas(chain: JsonRpcChain, first: int) -> tuple[int, int]:
    """Gas and number of all transactions after a block."""
    gas = count = 0
    for number in range(first + 1, (await chain.head()).number + 1):
        block = await chain.rpc.request("eth_getBlockByNumber", hex(number), False)
        gas += int(block["gasUsed"], 16)
        count += len(block["transactions"])
    return gas, count


async def _phases(service: PoolService, ids: Sequence[str]) -> dict[str, float]:
    """Median seconds that tasks spent in each phase, by their stories."""
    spent: dict[str, list[float]] = {}
    for name in ids[:: max(len(ids) // 100, 1)]:
        marks = [
            (line.text.split(":")[0], line.at)
            for line in await service.inquiries.story(name)
            if line.text.split(":")[0] in _PHASES
        ]
        for (phase, since), (_, until) in itertools.pairwise(marks):
            spent.setdefault(phase, []).append(until - since)
    return {phase: round(statistics.median(spent[phase]), 2) for phase in _PHASES if phase in spent}


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument(
        "--block-time", type=int, default=0, help="seconds between blocks beside mining at once; 0: none"
    )
    parser.add_argument("--path", choices=("fast", "slow"), default="fast", help="one transaction a task, or three")
    parser.add_argument(
        "--run", type=int, default=0, help="through the batch lane, in runs of so many; 0: classic lane"
    )
    given = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder:
        document = asyncio.run(
            measure(given.tasks, Path(folder), block_time=given.block_time or None, path=given.path, run=given.run)
        )
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
