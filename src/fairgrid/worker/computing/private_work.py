"""Private jobs on this computer: decrypted into the task's own folder, results are encrypted before they leave.

The shared cache keeps the encrypted form only. What lies in a task's folder in plain form is readable by this user
only, and goes with the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure, ManifestError, VerificationError
from fairgrid.protocol.cid import CidBuilder
from fairgrid.protocol.data_keys import TaskKeys
from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.encrypted_files import Purpose, decrypt_file, encrypt_file
from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.manifest import Manifest
from fairgrid.protocol.private_job import (
    MAX_DOCUMENT_BYTES,
    blind_of,
    is_private,
    open_private_job,
    open_secrets,
)
from fairgrid.protocol.results import BLIND_FILE
from fairgrid.protocol.views import Deal
from fairgrid.runtime.job_result import JobResult
from fairgrid.runtime.removal import remove_tree
from fairgrid.worker.core.held import HeldTask

__all__ = ["AskForKeys", "PrivateNote", "PrivateWork", "blinded", "encrypt_archive", "open_files"]

AskForKeys = Callable[[HeldTask], Awaitable[TaskKeys]]
_READ_BYTES: Final = 1 << 20
_NOTE: Final = "private.json"


@dataclass(frozen=True, slots=True)
class PrivateNote:
    """What a task's folder says of its encryption: whether results are encrypted, and the requester's secrets.

    ``keep_s`` is the manifest's of a private job, whose manifest is removed when it is computed.
    """

    results: bool = False
    secrets: tuple[str, ...] = ()
    keep_s: int | None = None

    @classmethod
    def read(cls, folder: Path) -> PrivateNote:
        """The note in a task's folder; that of a plain job if there is none."""
        try:
            found = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        return cls(found["results"], tuple(found["secrets"]), found.get("keepS"))

    def write(self, folder: Path) -> None:
        """Put it into a task's folder, for this user only."""
        descriptor = os.open(folder / _NOTE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"results": self.results, "secrets": list(self.secrets), "keepS": self.keep_s}, file)


class PrivateWork:
    """Private jobs of one worker. ``ask`` asks its pool for keys; None: it takes none, and cannot compute them."""

    def __init__(self) -> None:
        self.ask: AskForKeys | None = None
        self.forget: Callable[[str], None] = lambda _task_id: None
        """What is called with the id of a task whose keys are needed no more."""

    async def keys_of(self, held: HeldTask) -> TaskKeys:
        """The keys of a task.

        Raises:
            HostFailure: the pool does not give them.
            ServiceUnavailable: it does not answer now.
        """
        if self.ask is None:
            raise HostFailure("The job is private, and this worker cannot ask for its key.")
        return await self.ask(held)

    async def keys_for(self, held: HeldTask, deal: Deal, manifest: Manifest) -> TaskKeys | None:
        """The keys of a task whose manifest has a sealed key; None if it has none.

        Raises:
            ManifestError: the requester sealed it for another pool or app than those of the deal (decision 33).
            as `keys_of`.
        """
        part = manifest.sealed
        if part is None:
            return None
        named, used = (part.pool, part.app), (checksum(deal.workerpool.pointer), checksum(deal.app.pointer))
        if named != used:
            raise ManifestError(
                f"The requester sealed this job for pool {part.pool} and app {part.app}; the deal is with pool "
                f"{used[0]} and app {used[1]}. It is not computed."
            )
        return await self.keys_of(held)


def open_files(
    public: Manifest, keys: TaskKeys, indexes: Collection[int], paths: Mapping[str, Path], folder: Path
) -> tuple[Manifest, PrivateNote]:
    """Decrypt what the tasks ``indexes`` of a private job read into ``folder / "inputs"``, each file under its CID.

    ``paths`` are the encrypted files, by CID. A job with secrets alone is left as it is. Blocking.

    Raises:
        ManifestError: the job cannot be used. No name or argument of it is in the message.
        VerificationError: a file does not open, or is another one than the job says.
        OSError: there is no room.
    """
    assert public.sealed is not None
    if not is_private(public):
        return public, PrivateNote(results=False, secrets=open_secrets(public.sealed, keys))
    document = paths[public.script.cid]
    if document.stat().st_size > MAX_DOCUMENT_BYTES:
        raise ManifestError("The private document of the job is too large.")
    job = open_private_job(public, document.read_bytes(), keys, indexes)
    inputs = folder / "inputs"
    inputs.mkdir(parents=True)
    folder.chmod(0o700)
    for file in {file.cid: file for index in indexes for file in job.manifest.files_of(index)}.values():
        place, key = job.files[file.cid]
        if place not in paths:
            raise ManifestError("The private document of the job names a file that its public manifest does not.")
        decrypt_file(key, paths[place], inputs / file.cid, Purpose.INPUT)
        if _cid_and_size(inputs / file.cid) != (file.cid, file.size):
            raise VerificationError("A file of the private job is not the one that its private document says.")
        # The folder keeps other users out; a sandbox may read the files as another one.
        (inputs / file.cid).chmod(0o444)
    return job.manifest, PrivateNote(results=True, secrets=job.secrets, keep_s=public.keep_s)


def blinded(result: JobResult, task_key: bytes) -> JobResult:
    """The result with `BLIND_FILE` in it, so that nobody can guess it from the digest on chain. Blocking."""
    if result.callback_data is not None:
        return result
    place = result.result_folder / BLIND_FILE
    if place.is_dir() and not place.is_symlink():
        remove_tree(place)
    place.unlink(missing_ok=True)
    place.write_bytes(blind_of(task_key))
    return replace(result, digest=tree_digest_of_folder(result.result_folder), covered=(*result.covered, BLIND_FILE))


def encrypt_archive(archive: Path, key: bytes) -> None:
    """Put the encrypted form in the archive's place. Blocking."""
    encrypted = archive.with_suffix(".encrypted")
    encrypt_file(key, archive, encrypted, Purpose.RESULT)
    os.replace(encrypted, archive)


def _cid_and_size(path: Path) -> tuple[str, int]:
    builder = CidBuilder()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            builder.update(piece)
    return builder.finish(), builder.size
