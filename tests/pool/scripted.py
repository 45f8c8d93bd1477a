"""Workers that follow a script, over a real websocket to a pool."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from fairgrid.chain import calls
from fairgrid.errors import ContractReverted
from fairgrid.protocol import pool_messages, wire, worker_messages
from fairgrid.protocol.archive import archive_digest, write_archive
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import from_hex, keccak
from fairgrid.protocol.ids import result_hash, result_seal
from fairgrid.protocol.machine import Machine, machine_message
from fairgrid.protocol.results import results_text
from fairgrid.protocol.run_results import RunResults, TaskResult
from fairgrid.protocol.seals import challenge_message, seal_hash
from fairgrid.protocol.typed_data import enrolment_typed_data
from fairgrid.protocol.usage import Usage
from tests.pool.grid import Grid, key


@contextlib.asynccontextmanager
async def at_the_door(grid: Grid) -> AsyncIterator[ClientConnection]:
    """A connection on which nothing was said yet."""
    async with connect(f"{grid.url.replace('http', 'ws')}/worker", proxy=None) as connection:
        yield connection


@dataclass
class Script:
    """What a scripted worker does otherwise than an honest one."""

    content: bytes = b"right"
    contributes: bytes | None = None
    uploads: bytes | None = None
    opens: bool = True
    seals: bool = True
    contributes_at_all: bool = True
    fast: bool = False
    """Contributes and finalizes in one transaction where it may."""
    settles: bool = False
    """Opens and ends runs in one transaction where it may."""
    reveals_after_s: float = 0.0
    usage: Usage | None = None
    """What it says that a task took."""


@dataclass
class Scripted:
    """A worker over a real websocket, with a real key, on the chain's twin."""

    grid: Grid
    name: str
    script: Script = field(default_factory=Script)
    received: list[pool_messages.PoolMessage] = field(default_factory=list)
    connection: ClientConnection | None = None

    def __post_init__(self) -> None:
        self.key = key(self.name)
        self.grid.deposit(self.key.address)

    @property
    def address(self) -> str:
        return self.key.address

    @property
    def salt(self) -> str:
        return "0x" + keccak(self.name.encode()).hex()

    def kinds(self) -> list[str]:
        return [message.kind for message in self.received]

    @contextlib.asynccontextmanager
    async def connected(self, **enrolment: object) -> AsyncIterator[Scripted]:
        """Enrolled, ready and at work."""
        async with connect(f"{self.grid.url.replace('http', 'ws')}/worker", proxy=None) as self.connection:
            able = {name: True for name in ("fast", "settles") if getattr(self.script, name)}
            await self.enrol(**able | enrolment)
            with contextlib.suppress(ConnectionClosed):  # One that is turned away may know it already.
                await self.say(worker_messages.Ready(held=(), free_slots=1))
            loops = [asyncio.create_task(self._listen()), asyncio.create_task(self._beat())]
            try:
                yield self
            finally:
                for loop in loops:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)

    async def enrol(self, **changes: object) -> pool_messages.PoolMessage:
        """Answer the challenge; gives the pool's answer."""
        challenge = await self.hear()
        assert isinstance(challenge, pool_messages.Challenge)
        document = enrolment_typed_data(self.address, self.address, challenge.workerpool, self.grid.domain)
        values = {
            "owner": self.address,
            "worker": self.address,
            "owner_signature": self.key.sign_typed_data(document),
            "nonce_signature": self.key.sign_message(
                challenge_message(
                    challenge.chain_id, challenge.hub, challenge.workerpool, self.address, challenge.nonce
                )
            ),
            "runtimes": ("wasm/py",),
            "slots": 1,
            "version": wire.PROTOCOL_VERSION,
        } | changes
        if isinstance(machine := values.get("machine"), Machine) and "machine_signature" not in values:
            values["machine_signature"] = self.key.sign_message(
                machine_message(
                    challenge.chain_id, challenge.hub, challenge.workerpool, self.address, challenge.nonce, machine
                )
            )
        await self.say(worker_messages.Enrol(**values))  # type: ignore[arg-type]
        return await self.hear()

    async def say(self, message: worker_messages.WorkerMessage) -> None:
        assert self.connection is not None
        await self.connection.send(wire.encode(message))

    async def hear(self) -> pool_messages.PoolMessage:
        assert self.connection is not None
        async with asyncio.timeout(10):
            message = wire.decode_pool_message(await self.connection.recv())
        self.received.append(message)
        return message

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(1)
            with contextlib.suppress(ConnectionClosed):
                await self.say(worker_messages.Heartbeat(held=(), free_slots=1))

    async def _listen(self) -> None:
        assert self.connection is not None
        try:
            async for frame in self.connection:
                message = wire.decode_pool_message(frame)
                self.received.append(message)
                await self._act(message)
        except ConnectionClosed:
            return

    async def _act(self, message: pool_messages.PoolMessage) -> None:
        match message:
            case pool_messages.Lease():
                if message.count:
                    self.grid.runs[message.task_id] = message
                if self.script.seals:
                    await self.say(self.seal(message))
            case pool_messages.Authorisation() if self.script.contributes_at_all:
                await self._contribute(message)
            case pool_messages.RevealNotice():
                digest = self.digest(self.script.contributes or self.script.content, message.task_id)
                with contextlib.suppress(ContractReverted):
                    await asyncio.sleep(self.script.reveals_after_s)
                    await self.grid.chain.transact(calls.reveal(self.grid.chain.hub, message.task_id, digest), self.key)
            case pool_messages.OpeningRequest() if self.script.opens:
                await self.say(
                    worker_messages.Opening(
                        lease_id=message.lease_id,
                        task_id=message.task_id,
                        digest=self.digest(self.script.content, message.task_id),
                        salt=self.salt,
                        usage=self.script.usage,
                    )
                )
            case pool_messages.UploadRequest():
                archive = self._archive(self.script.uploads or self.script.content)
                cid = await self.grid.storage.add_file(archive)
                if message.task_id in self.grid.runs:
                    results = self.results(self.script.uploads or self.script.content, message.task_id)
                    cid = await self.grid.storage.add_bytes(results.to_bytes())
                digest = self.digest(self.script.content, message.task_id)
                opening = (digest, self.salt) if message.early else (None, None)
                await self.say(worker_messages.Uploaded(message.lease_id, message.task_id, cid, "0x", *opening))
            case _:
                return

    def seal(self, lease: pool_messages.Lease) -> worker_messages.Seal:
        chain = self.grid.chain
        digest = self.digest(self.script.content, lease.task_id)
        seal = seal_hash(chain.chain_id, chain.hub, lease.task_id, lease.round, self.address, digest, self.salt)
        return worker_messages.Seal(
            lease_id=lease.lease_id,
            task_id=lease.task_id,
            round=lease.round,
            seal=seal,
            signature=self.key.sign_message(from_hex(seal)),
            compute_s=0.1,
        )

    async def _contribute(self, message: pool_messages.Authorisation) -> None:
        digest = self.digest(self.script.contributes or self.script.content, message.task_id)
        if message.fast and message.task_id in self.grid.runs:
            run = self.results(self.script.contributes or self.script.content, message.task_id)
            lease = self.grid.runs[message.task_id]
            settle = calls.settle_run(
                self.grid.chain.hub, lease.deal_id, lease.count, run.root, run.results, message.signature
            )
            await self.grid.chain.transact(settle, self.key)
            return
        if message.fast:
            results = results_text(cid_of(self._archive(self.script.content).read_bytes()))
            at_once = calls.contribute_and_finalize(
                self.grid.chain.hub, message.task_id, digest, results, b"", message.signature
            )
            await self.grid.chain.transact(at_once, self.key)
            return
        call = calls.contribute(
            self.grid.chain.hub,
            message.task_id,
            result_hash(message.task_id, digest),
            result_seal(self.address, message.task_id, digest),
            message.signature,
        )
        await self.grid.chain.transact(call, self.key)

    def digest(self, content: bytes, task: str = "") -> str:
        if task in self.grid.runs:
            return self.results(content, task).digest
        return archive_digest(self._archive(content))

    def results(self, content: bytes, run: str) -> RunResults:
        """The results of a run whose every task gave ``content``."""
        lease, archive = self.grid.runs[run], self._archive(content)
        data = archive.read_bytes()
        return RunResults(lease.index, (TaskResult(archive_digest(archive), cid_of(data), len(data)),) * lease.count)

    def _archive(self, content: bytes) -> Path:
        folder = self.grid.folder / "results" / content.hex()
        archive = folder.with_suffix(".zip")
        if not archive.exists():
            folder.mkdir(parents=True)
            (folder / "answer.txt").write_bytes(content)
            write_archive(folder, archive)
        return archive


@contextlib.asynccontextmanager
async def all_connected(workers: list[Scripted]) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker.connected())
        yield
