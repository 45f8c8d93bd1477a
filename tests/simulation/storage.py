"""Storage in memory, and the results of the simulated job: real archives with real digests."""

from __future__ import annotations

import asyncio
import functools
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fairgrid.errors import HostFailure, ServiceUnavailable
from fairgrid.protocol.archive import archive_digest, write_archive
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.run_results import RunResults, TaskResult
from tests.simulation.nodes import Node

__all__ = ["Blobs", "NodeStorage", "Result", "result_of", "run_result_of"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of the job gives."""

    archive: bytes
    digest: str
    cid: str
    parts: tuple[bytes, ...] = ()
    """Of a run: the archives of its tasks; ``archive`` is the manifest that names them."""
    root: str = ""
    """Of a run: the root over the digests of its tasks."""


@functools.lru_cache(maxsize=4096)
def result_of(content: str) -> Result:
    """The result whose only file holds ``content``."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        output.mkdir()
        (output / "answer.txt").write_text(content)
        archive = Path(folder) / "result.zip"
        write_archive(output, archive)
        data = archive.read_bytes()
        return Result(data, archive_digest(archive), cid_of(data))


@functools.lru_cache(maxsize=1024)
def run_result_of(first: int, contents: tuple[str, ...]) -> Result:
    """The result of a run whose tasks, from index ``first`` on, hold ``contents``."""
    tasks = [result_of(content) for content in contents]
    results = RunResults(first, tuple(TaskResult(task.digest, task.cid, len(task.archive)) for task in tasks))
    archives = tuple(task.archive for task in tasks)
    return Result(results.to_bytes(), results.digest, results.cid, archives, results.root)


class Blobs:
    """What storage holds, by CID."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.down = False


class NodeStorage:
    """`StorageClient` as far as pool and workers use it here."""

    def __init__(self, blobs: Blobs, node: Node, rng: random.Random, latency_s: float) -> None:
        self._blobs = blobs
        self._node = node
        self._rng = rng
        self._latency_s = latency_s

    async def add(self, data: bytes) -> str:
        await self._node.checkpoint("before an upload")
        await self._travel()
        cid = cid_of(data)
        self._blobs.blobs[cid] = data
        await self._node.checkpoint("after an upload")
        return cid

    async def fetch_bytes(self, cid: str, *, max_bytes: int) -> bytes:
        await self._travel()
        if cid not in self._blobs.blobs:
            raise HostFailure(f"Storage does not have {cid}.")
        return self._blobs.blobs[cid]

    async def fetch(self, cid: str, dest: Path, *, max_bytes: int) -> None:
        await self._travel()
        if cid not in self._blobs.blobs:
            raise HostFailure(f"Storage does not have {cid}.")
        dest.write_bytes(self._blobs.blobs[cid])

    async def _travel(self) -> None:
        if not self._node.alive:
            await asyncio.get_running_loop().create_future()
        if self._latency_s:
            await asyncio.sleep(self._rng.uniform(0.0, self._latency_s))
        if self._blobs.down:
            await asyncio.sleep(0.1)
            raise ServiceUnavailable("storage", "memory:", "it was told to be down")
