"""A lean worker for `bench/chain_side.py`: the wire protocol and real transactions, no sandbox and no database.

    python -m bench.chain_worker POOL_URL NETWORK_FILE STORAGE_URL KEY SLOTS fast|slow

It answers a lease with a seal at once, sends its contributions and reveals in bulk with nonces of its own, and uploads
a small result of its own for each task.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.fees import FeeCaps, first_fees
from fairgrid.chain.interface import Call
from fairgrid.chain.network import load_network
from fairgrid.protocol import pool_messages, wire, worker_messages
from fairgrid.protocol.archive import archive_digest, write_archive
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import from_hex, keccak
from fairgrid.protocol.ids import result_hash, result_seal, task_id
from fairgrid.protocol.results import results_text
from fairgrid.protocol.run_results import RunResults, TaskResult
from fairgrid.protocol.seals import challenge_message, seal_hash
from fairgrid.protocol.typed_data import Domain, enrolment_typed_data
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.keys import KeySigner

__all__ = ["LeanWorker"]

_CONTRIBUTE_GAS, _REVEAL_GAS, _AT_ONCE_GAS = 300_000, 150_000, 600_000
_HEARTBEAT_S = 2.0
_NAMED_AT_ONCE = 200
_UPLOADS_AT_ONCE = 8


class LeanWorker:
    """One owner's machine with many slots."""

    def __init__(
        self, chain: JsonRpcChain, storage: StorageClient, key: KeySigner, slots: int, folder: Path, *, fast: bool
    ) -> None:
        self._chain = chain
        self._storage = storage
        self._key = key
        self._slots = slots
        self._folder = folder
        self._fast = fast
        self._held: dict[str, worker_messages.HeldLease] = {}
        self._digests: dict[str, str] = {}
        self._cids: dict[str, str] = {}
        self._runs: dict[str, tuple[pool_messages.Lease, RunResults]] = {}
        self._calls: asyncio.Queue[tuple[Call, int]] = asyncio.Queue()
        self._work: set[asyncio.Task[None]] = set()
        self._connection: ClientConnection

    async def run(self, url: str) -> None:
        """Work until the pool closes the connection."""
        async with connect(f"{url.replace('http', 'ws')}/worker", proxy=None) as self._connection:
            await self._enrol()
            loops = [asyncio.create_task(self._beat()), asyncio.create_task(self._send())]
            try:
                async for frame in self._connection:
                    task = asyncio.create_task(self._act(wire.decode_pool_message(frame)))
                    self._work.add(task)
                    task.add_done_callback(self._work.discard)
            finally:
                for loop in loops:
                    loop.cancel()

    async def _enrol(self) -> None:
        challenge = wire.decode_pool_message(await self._connection.recv())
        assert isinstance(challenge, pool_messages.Challenge)
        address = self._key.address
        domain = Domain(self._chain.chain_id, self._chain.hub)
        document = enrolment_typed_data(address, address, challenge.workerpool, domain)
        message = challenge_message(challenge.chain_id, challenge.hub, challenge.workerpool, address, challenge.nonce)
        await self._say(
            worker_messages.Enrol(
                owner=address,
                worker=address,
                owner_signature=self._key.sign_typed_data(document),
                nonce_signature=self._key.sign_message(message),
                runtimes=("bench",),
                slots=self._slots,
                version=wire.PROTOCOL_VERSION,
                fast=self._fast or None,
                settles=self._fast or None,
            )
        )
        welcome = wire.decode_pool_message(await self._connection.recv())
        assert isinstance(welcome, pool_messages.Welcome), welcome
        await self._say(worker_messages.Ready(held=(), free_slots=self._slots))

    async def _say(self, message: worker_messages.WorkerMessage) -> None:
        await self._connection.send(wire.encode(message))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            held = tuple(self._held.values())
            free = max(self._slots - sum(1 for lease in held if lease.phase == "computing"), 0)
            for start in range(0, max(len(held), 1), _NAMED_AT_ONCE):  # a frame has its limit
                await self._say(worker_messages.Heartbeat(held=held[start : start + _NAMED_AT_ONCE], free_slots=free))

    async def _act(self, message: pool_messages.PoolMessage) -> None:
        address, hub = self._key.address, self._chain.hub
        match message:
            case pool_messages.Lease():
                digest = await asyncio.to_thread(self._compute_run if message.count else self._compute_task, message)
                self._digests[message.task_id] = digest
                seal = seal_hash(self._chain.chain_id, hub, message.task_id, message.round, address, digest, self._salt)
                self._held[message.task_id] = worker_messages.HeldLease(message.lease_id, message.task_id, "sealed")
                await self._say(
                    worker_messages.Seal(
                        lease_id=message.lease_id,
                        task_id=message.task_id,
                        round=message.round,
                        seal=seal,
                        signature=self._key.sign_message(from_hex(seal)),
                        compute_s=0.01,
                    )
                )
            case pool_messages.Authorisation():
                digest = self._digests[message.task_id]
                if message.fast and message.task_id in self._runs:
                    lease, run = self._runs[message.task_id]
                    settle = calls.settle_run(hub, lease.deal_id, lease.count, run.root, run.results, message.signature)
                    self._calls.put_nowait((settle, _AT_ONCE_GAS))
                    return
                if message.fast:
                    results = results_text(self._cids.pop(message.task_id))
                    at_once = calls.contribute_and_finalize(
                        hub, message.task_id, digest, results, b"", message.signature
                    )
                    self._calls.put_nowait((at_once, _AT_ONCE_GAS))
                    return
                call = calls.contribute(
                    hub,
                    message.task_id,
                    result_hash(message.task_id, digest),
                    result_seal(address, message.task_id, digest),
                    message.signature,
                )
                self._calls.put_nowait((call, _CONTRIBUTE_GAS))
            case pool_messages.RevealNotice():
                self._calls.put_nowait(
                    (calls.reveal(hub, message.task_id, self._digests[message.task_id]), _REVEAL_GAS)
                )
            case pool_messages.OpeningRequest():
                digest = self._digests[message.task_id]
                await self._say(
                    worker_messages.Opening(
                        lease_id=message.lease_id, task_id=message.task_id, digest=digest, salt=self._salt
                    )
                )
            case pool_messages.UploadRequest():
                if message.task_id in self._runs:
                    cid = await self._upload_run(*self._runs[message.task_id])
                else:
                    cid = await self._storage.add_file(self._archive(message.task_id))
                self._cids[message.task_id] = cid
                opening = (self._digests[message.task_id], self._salt) if message.early else (None, None)
                await self._say(worker_messages.Uploaded(message.lease_id, message.task_id, cid, "0x", *opening))
            case pool_messages.TaskDone() | pool_messages.Abort():
                self._held.pop(message.task_id, None)
            case _:
                return

    @property
    def _salt(self) -> str:
        return "0x" + keccak(b"bench").hex()

    def _archive(self, name: str) -> Path:
        return self._folder / f"{name}.zip"

    def _compute_task(self, lease: pool_messages.Lease) -> str:
        return self._compute(lease.task_id)

    def _compute_run(self, lease: pool_messages.Lease) -> str:
        found = []
        for index in range(lease.index, lease.index + lease.count):
            name = task_id(lease.deal_id, index)
            digest = self._compute(name)
            data = self._archive(name).read_bytes()
            found.append(TaskResult(digest, cid_of(data), len(data)))
        run = RunResults(lease.index, tuple(found))
        self._runs[lease.task_id] = (lease, run)
        return run.digest

    async def _upload_run(self, lease: pool_messages.Lease, run: RunResults) -> str:
        names = iter([task_id(lease.deal_id, index) for index in range(lease.index, lease.index + lease.count)])

        async def some() -> None:
            for name in names:
                await self._storage.add_file(self._archive(name))

        await asyncio.gather(*(some() for _ in range(_UPLOADS_AT_ONCE)))
        return await self._storage.add_bytes(run.to_bytes())

    def _compute(self, name: str) -> str:
        folder = self._folder / name
        folder.mkdir()
        (folder / "answer.txt").write_text(name)
        write_archive(folder, self._archive(name))
        return archive_digest(self._archive(name))

    async def _send(self) -> None:
        """Everything that waits, in one request, with the next nonces."""
        nonce = await self._chain.count_transactions(self._key.address, pending=True)
        fees = first_fees(await self._chain.fee_market(), FeeCaps())
        assert fees is not None
        while True:
            waiting = [await self._calls.get()]
            while not self._calls.empty():
                waiting.append(self._calls.get_nowait())
            signed = [
                self._chain.sign(call, self._key, nonce=nonce + place, gas=gas, fees=fees)
                for place, (call, gas) in enumerate(waiting)
            ]
            nonce += len(signed)
            for transaction, refusal in zip(signed, await self._chain.broadcast_all(signed), strict=True):
                assert refusal is None, (transaction.function, refusal)


async def _main(arguments: Sequence[str]) -> None:
    url, network, storage_url, secret, slots, path = arguments
    where = load_network(Path(network))
    with tempfile.TemporaryDirectory() as folder:
        async with await JsonRpcChain.connect(where) as chain, StorageClient(storage_url) as storage:
            key = KeySigner(bytes.fromhex(secret))
            worker = LeanWorker(chain, storage, key, int(slots), Path(folder), fast=path == "fast")
            with contextlib.suppress(OSError):
                await worker.run(url)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
