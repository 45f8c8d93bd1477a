"""Bringing a result home: nothing is shown or written before its digest equals the one on chain (decision 5)."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairgrid.errors import UsageError, VerificationError
from fairgrid.protocol.archive import archive_digest, extract_archive
from fairgrid.protocol.digest import Entry
from fairgrid.protocol.encrypted_files import HEADER_BYTES, Purpose, decrypt_file, is_encrypted
from fairgrid.protocol.results import cid_of_results, error_in_folder
from fairgrid.protocol.terminal import sanitise_terminal
from fairgrid.protocol.views import Task, TaskStatus
from fairgrid.storage.client import StorageClient

__all__ = [
    "MAX_RESULT_BYTES",
    "MAX_RESULT_FILES",
    "CollectedResult",
    "ResultKeys",
    "collect_result",
    "move_into",
    "opened",
    "prepare_out",
]

ResultKeys = Callable[[str, int], Awaitable[bytes]]
"""Gives the key of an encrypted result, by its deal and its index on chain; asked for encrypted results alone."""

MAX_RESULT_BYTES = 1 << 30
"""The largest result archive that is downloaded."""

MAX_RESULT_FILES = 20_000
"""How many files a result may have that is unpacked here."""
_SHOWN_LOG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class CollectedResult:
    """A verified result, written to ``folder``. ``error`` is the agreed error document when the job failed."""

    folder: Path
    cid: str
    digest: str
    entries: tuple[Entry, ...]
    error: dict[str, Any] | None

    def log(self, name: str) -> str:
        """The text of ``stdout.txt`` or ``stderr.txt``, safe for a terminal; empty when there is none."""
        file = self.folder / name
        if not any(entry.path == name for entry in self.entries):
            return ""
        with open(file, "rb") as source:
            return sanitise_terminal(source.read(_SHOWN_LOG_BYTES).decode(errors="replace"))


def prepare_out(out: Path) -> None:
    """Make sure that results can be written to ``out`` before anything is paid.

    Raises:
        UsageError: it is a file, or not writable.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UsageError(
            f"Results cannot be written to {out} ({error.strerror}). Name another folder with --out."
        ) from error


async def opened(archive: Path, deal_id: str, index: int, key: ResultKeys | None) -> Path:
    """A downloaded result's archive; decrypted beside it, if it is encrypted.

    Raises:
        UsageError: it is encrypted, and not for this account.
        VerificationError: it was changed, or is not for the key.
        ServiceError: chain or storage does not answer.
    """
    with archive.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if not is_encrypted(start):
        return archive
    if key is None:
        raise UsageError("This result is encrypted: only its requester's account opens it.")
    own = await key(deal_id, index)
    plain = archive.with_suffix(".opened")
    await asyncio.to_thread(decrypt_file, own, archive, plain, Purpose.RESULT)
    archive.unlink()
    return plain


async def collect_result(
    storage: StorageClient, task: Task, task_id: str, out: Path, *, key: ResultKeys | None = None
) -> CollectedResult:
    """Download, verify, then write into ``out``; files of the same names there are replaced, others stay.

    ``key`` is asked if the result is encrypted.

    Raises:
        UsageError: the task is not COMPLETED.
        VerificationError: what the pool named on chain is not the agreed result; nothing was written.
        ServiceUnavailable: storage is down.
    """
    if task.status is not TaskStatus.COMPLETED:
        raise UsageError(f"Task {task_id} is {task.status.name}: it has no result yet.")
    cid = cid_of_results(task.results)
    if cid is None:
        raise VerificationError(
            f"The pool finalized task {task_id} without saying where the result lies. Its agreed digest is "
            f"{task.result_digest}; ask the pool's workers for the archive with that digest."
        )
    prepare_out(out)
    with tempfile.TemporaryDirectory(dir=out, prefix=".fairgrid-") as scratch:
        archive = Path(scratch) / "result.zip"
        await storage.fetch(cid, archive, max_bytes=MAX_RESULT_BYTES)
        archive = await opened(archive, task.deal_id, task.index, key)
        found = archive_digest(archive)
        if found != task.result_digest:
            raise VerificationError(
                f"The result in storage is not the one that the workers agreed on: its digest is {found}, the chain "
                f"says {task.result_digest}. Nothing was written. Keep deal and CID {cid} as evidence against the pool."
            )
        unpacked = Path(scratch) / "unpacked"
        entries = extract_archive(archive, unpacked, max_bytes=MAX_RESULT_BYTES, max_files=MAX_RESULT_FILES)
        error = error_in_folder(unpacked)
        for entry in entries:
            move_into(unpacked, entry.path, out)
    return CollectedResult(out, cid, found, entries, error)


def move_into(source: Path, path: str, out: Path) -> None:
    """Move one verified file; no link that lies in ``out`` is followed out of it."""
    target = out
    for part in Path(path).parts[:-1]:
        target /= part
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise UsageError(f"{target} is in the way of the result. Move it, and fetch again with `fairgrid result`.")
        target.mkdir(exist_ok=True)
    target /= Path(path).name
    if target.is_dir() and not target.is_symlink():
        raise UsageError(f"The folder {target} is in the way of the result. Move it, and fetch again.")
    try:
        os.replace(source / path, target)
    except OSError:
        shutil.move(source / path, target)
