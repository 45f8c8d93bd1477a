"""Are the uploaded results of a run what its workers agreed on? The pool reads the manifest and checks archives."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from fairgrid.errors import FairgridError, VerificationError
from fairgrid.pool.core.events import UploadRejected, UploadVerified
from fairgrid.pool.core.instructions import VerifyUpload
from fairgrid.pool.jobs.uploads import key_for, plain_archive, start_of_file
from fairgrid.protocol.archive import archive_digest
from fairgrid.protocol.cid import normal_cid
from fairgrid.protocol.run_results import RunResults, max_manifest_bytes, parse_run_results
from fairgrid.storage.client import StorageClient

__all__ = ["verify_run_upload"]

_FETCHES_AT_ONCE = 8


async def verify_run_upload(
    instruction: VerifyUpload,
    storage: StorageClient,
    *,
    scratch: Path,
    max_bytes: int,
    sample: int,
    key: Callable[[int], Awaitable[bytes]] | None = None,
    is_private: bool = False,
) -> UploadVerified | UploadRejected:
    """Check the manifest of a run's results, and ``sample`` of its archives, drawn at random (all, if there are fewer).

    ``key`` is asked for the key of a task, by its index, if its result is encrypted. Of a job that ``is_private`` a
    plain one is not taken.

    Never raises for what a worker did. Only bytes that are not what was agreed are dishonest; what cannot be had is no
    proof against anybody.
    """

    def rejected(reason: str, *, dishonest: bool = False) -> UploadRejected:
        return UploadRejected(instruction.task_id, instruction.lease_id, instruction.cid, reason[:500], dishonest)

    try:
        if normal_cid(instruction.cid) != instruction.cid:
            return rejected(f"the CID must be written {normal_cid(instruction.cid)}")
        size = max_manifest_bytes(instruction.count, callback=instruction.has_callback)
        data = await storage.fetch_bytes(instruction.cid, max_bytes=size)
        try:
            results = await asyncio.to_thread(
                parse_run_results,
                data,
                first=instruction.first,
                count=instruction.count,
                callback=instruction.has_callback,
            )
        except VerificationError as error:
            return rejected(f"it is no manifest of the run's results: {error}", dishonest=True)
        if results.digest != instruction.digest:
            return rejected(f"it has the digest {results.digest}", dishonest=True)
        if not instruction.has_callback:
            fault = await _check_archives(results, storage, scratch, max_bytes, sample, key, is_private)
            if fault:
                return rejected(fault, dishonest=True)
    except (FairgridError, OSError) as error:
        return rejected(str(error))
    return UploadVerified(instruction.task_id, instruction.lease_id, instruction.cid, results.root)


async def _check_archives(
    results: RunResults,
    storage: StorageClient,
    scratch: Path,
    max_bytes: int,
    sample: int,
    ask: Callable[[int], Awaitable[bytes]] | None,
    is_private: bool,
) -> str:
    """What is wrong with one of the archives; empty if nothing is.

    Raises:
        FairgridError: one cannot be had.
    """
    chosen = random.sample(range(results.count), min(sample, results.count))
    queue = iter(chosen)
    faults: list[str] = []
    errors: list[FairgridError | OSError] = []
    with tempfile.TemporaryDirectory(dir=scratch, prefix="run-", ignore_cleanup_errors=True) as folder:

        async def some() -> None:
            for position in queue:
                if faults or errors:
                    return
                task = results.tasks[position]
                archive = Path(folder) / f"{position}.zip"
                try:
                    await storage.fetch(task.cid, archive, max_bytes=min(task.size, max_bytes))
                    start = await asyncio.to_thread(start_of_file, archive)
                    index = results.first + position
                    own = partial(ask, index) if ask is not None else None
                    key = await key_for(start, own, is_private=is_private)
                    archive = await asyncio.to_thread(plain_archive, archive, key)
                    found = await asyncio.to_thread(archive_digest, archive)
                    archive.unlink()
                except VerificationError as error:
                    faults.append(f"the result of task {results.first + position} is no archive: {error}")
                except (FairgridError, OSError) as error:
                    errors.append(error)
                else:
                    if found != task.digest:
                        faults.append(f"the result of task {results.first + position} has the digest {found}")

        await asyncio.gather(*(some() for _ in range(_FETCHES_AT_ONCE)))
    if errors and not faults:
        raise errors[0]
    return faults[0] if faults else ""
