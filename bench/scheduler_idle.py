"""Many idle workers on one scheduler: real websockets, real enrolments, from a second process.

The pool is the shipped `PoolService` behind its shipped HTTP application, on the chain's in-memory twin. The workers
are websockets with keys of their own that enrol and say a heartbeat every ``heartbeat_s``; they never get work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import structlog
from websockets.asyncio.client import ClientConnection, connect

from fairgrid.chain.twin import ModelChain
from fairgrid.pool.app import pool_application
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.service import PoolService
from fairgrid.protocol import pool_messages, wire, worker_messages
from fairgrid.protocol.hexes import keccak
from fairgrid.protocol.seals import challenge_message
from fairgrid.protocol.typed_data import Domain, enrolment_typed_data
from fairgrid.seams.clock import SystemClock
from fairgrid.seams.service import serving
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.keys import KeySigner

__all__ = ["idle"]

_HEARTBEAT_S = 60.0
_AT_ONCE = 50


def idle(workers: int, *, settle_s: float = 5.0) -> dict[str, Any]:
    """Connect ``workers`` and let them be idle; memory of the pool's process for each, and how late its loop is."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        return asyncio.run(_idle(workers, settle_s))
    finally:
        structlog.configure(**before)


async def _idle(workers: int, settle_s: float) -> dict[str, Any]:
    admin, scheduler = KeySigner(keccak(b"bench/admin")), KeySigner(keccak(b"bench/scheduler"))
    chain = ModelChain.fresh(owner=admin.address)
    workerpool = chain.model.registries.workerpools.create(scheduler.address, "bench")
    chain.mine()
    with tempfile.TemporaryDirectory(prefix="fairgrid-bench-") as folder:
        store = PoolStore.open(Path(folder) / "pool.db")
        service = PoolService(
            chain=chain,
            signer=scheduler,
            workerpool=workerpool,
            store=store,
            storage=StorageClient("http://storage", transport=httpx.MockTransport(lambda request: httpx.Response(404))),
            policy=Policy(heartbeat_s=_HEARTBEAT_S, max_workers=workers),
            clock=SystemClock(),
            scratch=Path(folder) / "uploads",
        )
        try:
            async with (
                service.running(),
                serving(pool_application(service), ws_max_size=wire.MAX_FRAME_BYTES) as url,
            ):
                before, began = _resident_bytes(), time.perf_counter()
                crowd = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, url, str(workers))
                try:
                    await _all_ready(service, workers, crowd)
                    joined = time.perf_counter() - began
                    memory = _resident_bytes() - before
                    late = await _lateness(settle_s)
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        crowd.terminate()
                    await crowd.wait()
        finally:
            store.close()
    return {
        "name": f"{workers} idle workers, each on a websocket of its own",
        "joinSeconds": joined,
        "bytesPerWorker": memory / workers,
        "loopLateP99Milliseconds": late[len(late) * 99 // 100] * 1e3,
    }


async def _all_ready(service: PoolService, workers: int, crowd: asyncio.subprocess.Process) -> None:
    while sum(1 for worker in service.machine.workers.values() if worker.ready) < workers:
        if crowd.returncode is not None:
            raise RuntimeError(f"The process of the workers ended with {crowd.returncode}.")
        await asyncio.sleep(0.2)


async def _lateness(seconds: float) -> list[float]:
    """How much later than asked for the loop wakes up, sorted."""
    found = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        asked = time.perf_counter() + 0.01
        await asyncio.sleep(0.01)
        found.append(time.perf_counter() - asked)
    return sorted(found)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- the process of the workers -----------------------------------------------------------------------------------


async def _crowd(url: str, workers: int) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)
    await asyncio.gather(*(_worker(url, number, gate) for number in range(workers)))


async def _worker(url: str, number: int, gate: asyncio.Semaphore) -> None:
    key = KeySigner(keccak(f"bench/worker/{number}".encode()))
    async with contextlib.AsyncExitStack() as stack:
        async with gate:
            socket = await stack.enter_async_context(
                connect(f"{url.replace('http', 'ws')}/worker", proxy=None, open_timeout=60, compression=None)
            )
            await _enrol(socket, key)
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            await socket.send(wire.encode(worker_messages.Heartbeat(held=(), free_slots=1)))


async def _enrol(socket: ClientConnection, key: KeySigner) -> None:
    challenge = wire.decode_pool_message(await socket.recv())
    assert isinstance(challenge, pool_messages.Challenge)
    domain = Domain(challenge.chain_id, challenge.hub)
    document = enrolment_typed_data(key.address, key.address, challenge.workerpool, domain)
    answer = challenge_message(challenge.chain_id, challenge.hub, challenge.workerpool, key.address, challenge.nonce)
    enrol = worker_messages.Enrol(
        owner=key.address,
        worker=key.address,
        owner_signature=key.sign_typed_data(document),
        nonce_signature=key.sign_message(answer),
        runtimes=("bench",),
        slots=1,
        version=wire.PROTOCOL_VERSION,
    )
    await socket.send(wire.encode(enrol))
    welcome = wire.decode_pool_message(await socket.recv())
    assert isinstance(welcome, pool_messages.Welcome), welcome
    await socket.send(wire.encode(worker_messages.Ready(held=(), free_slots=1)))


if __name__ == "__main__":
    asyncio.run(_crowd(sys.argv[1], int(sys.argv[2])))
