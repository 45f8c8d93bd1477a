"""Results of other tasks as inputs: read from the chain, fetched by CID, believed only with the digest on chain."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from fairgrid.chain.interface import Chain
from fairgrid.errors import HostFailure, VerificationError
from fairgrid.protocol.archive import extract_archive
from fairgrid.protocol.digest import tree_digest
from fairgrid.protocol.encrypted_files import HEADER_BYTES, is_encrypted
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.manifest import TaskRef
from fairgrid.protocol.results import cid_of_results
from fairgrid.protocol.views import TaskStatus
from fairgrid.runtime.removal import remove_tree
from fairgrid.worker.computing import transfers
from fairgrid.worker.computing.inputs import ContentSource

__all__ = ["fetch_dependencies"]

_MAX_FILES = 60_000


async def fetch_dependencies(
    chain: Chain, storage: ContentSource, needed: Sequence[TaskRef], folder: Path, *, max_bytes: int
) -> dict[str, Path]:
    """Fetch the result of every task that a job depends on, each into ``folder/<task id>``; gives these folders.

    A result that is there already (from before a restart) is not fetched again. ``max_bytes`` holds for all together.

    Raises:
        HostFailure: a task is not COMPLETED, or has no result that can be fetched and compared, or they are too large.
        VerificationError: storage has something else than what the task's workers agreed on.
        ServiceUnavailable: chain or storage does not answer.
    """
    folders: dict[str, Path] = {}
    left = max_bytes
    for task_id in dict.fromkeys(reference.task for reference in needed):
        target = folder / task_id
        if not await asyncio.to_thread(target.is_dir):
            await _fetch(chain, storage, task_id, target, max_bytes=left)
        left -= await asyncio.to_thread(_size_of, target)
        folders[task_id] = target
    return folders


async def _fetch(chain: Chain, storage: ContentSource, task_id: str, target: Path, *, max_bytes: int) -> None:
    task = await chain.view_task(task_id)
    if task.status is not TaskStatus.COMPLETED:
        raise HostFailure(f"Task {task_id}, on which the job depends, is {task.status.name} on chain, not COMPLETED.")
    deal = await chain.view_deal(task.deal_id)
    if deal is None or deal.callback != ZERO_ADDRESS:
        raise HostFailure(
            f"Task {task_id}, on which the job depends, answered a contract: its digest covers the answer, not files."
        )
    cid = cid_of_results(task.results)
    if cid is None:
        raise HostFailure(
            f"Task {task_id}, on which the job depends, was finalized without saying where its result is."
        )
    partial = target.with_suffix(".partial")
    await asyncio.to_thread(remove_tree, partial)
    await asyncio.to_thread(lambda: partial.mkdir(parents=True))
    archive = partial / "result.zip"
    # Stored files and their names: an archive is hardly larger than what is in it.
    await storage.fetch(cid, archive, max_bytes=max(max_bytes, 0) + (1 << 20))
    transfers.received((await asyncio.to_thread(archive.stat)).st_size)

    def unpack() -> str:
        with archive.open("rb") as file:
            if is_encrypted(file.read(HEADER_BYTES)):
                raise HostFailure(
                    f"The result of task {task_id}, on which the job depends, is private: nobody else has its key."
                )
        entries = extract_archive(archive, partial / "files", max_bytes=max(max_bytes, 0), max_files=_MAX_FILES)
        return tree_digest(entries)

    found = await asyncio.to_thread(unpack)
    if found != task.result_digest:
        raise VerificationError(
            f"The result of task {task_id} in storage has the digest {found}, the chain says {task.result_digest}."
        )
    await asyncio.to_thread((partial / "files").rename, target)
    await asyncio.to_thread(remove_tree, partial)


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
