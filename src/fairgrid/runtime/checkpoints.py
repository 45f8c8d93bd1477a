"""A job's checkpoint on disk: the files that it renamed into place, and what it had printed until then.

One version at a time counts. A version is a folder of its own; the file ``current`` names it and is replaced in one
step, so a crash at any moment leaves the old version or the new one, whole. What rotted is not offered.

::

    checkpoint/current            "7"
    checkpoint/7/meta.json        sizes, digests, fuel, and the log so far
    checkpoint/7/files/…          the files
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.runtime.removal import remove_tree

__all__ = ["Checkpoint", "CheckpointFolder"]

_CURRENT: Final = "current"
_META: Final = "meta.json"
_FILES: Final = "files"
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a job goes on from. ``files`` are on this machine, by the path that the job knows them by."""

    files: Mapping[str, Path]
    stdout: bytes
    stderr: bytes
    fuel: int
    """Fuel spent until it was taken, earlier runs included."""


class CheckpointFolder:
    """The checkpoint of one task. Blocking; used by one process at a time, which calls `load` first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests: dict[str, str] = {}

    def load(self) -> Checkpoint | None:
        """The newest version; None when there is none, or not as it was written."""
        try:
            version = self._folder / str(int((self._folder / _CURRENT).read_text()))
            meta = json.loads((version / _META).read_bytes())
            self._digests = {str(name): str(digest) for name, digest in meta["files"].items()}
            files = {name: version / _FILES / name for name in self._digests}
            if any(_digest_of(path) != self._digests[name] for name, path in files.items()):
                return None
            return Checkpoint(
                files, base64.b64decode(meta["stdout"]), base64.b64decode(meta["stderr"]), int(meta["fuel"])
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, changed: Mapping[str, Path], gone: str | None, *, stdout: bytes, stderr: bytes, fuel: int) -> None:
        """Write a version with ``changed`` files (copied) in place of or beside those of the last.

        A file ``gone``, or what was below a folder of that name, is left out. A version that would hold the same files
        as the last is not written.

        Raises:
            OSError: the disk is full or failed; the last version still counts.
        """
        kept = {
            name: digest
            for name, digest in self._digests.items()
            if name not in changed and name != gone and not (gone is not None and name.startswith(f"{gone}/"))
        }
        if not changed and kept == self._digests:
            return
        last = self._number()
        version = self._folder / str(last + 1)
        remove_tree(version)
        (version / _FILES).mkdir(parents=True)
        digests = dict(kept)
        for name in (*kept, *changed):
            target = version / _FILES / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in changed:
                _copy(changed[name], target)
                digests[name] = _digest_of(target)
            else:
                os.link(self._folder / str(last) / _FILES / name, target)
        meta = {
            "files": digests,
            "stdout": base64.b64encode(stdout).decode(),
            "stderr": base64.b64encode(stderr).decode(),
            "fuel": fuel,
        }
        _write(version / _META, json.dumps(meta).encode())
        _write(self._folder / f"{_CURRENT}.new", str(last + 1).encode())
        (self._folder / f"{_CURRENT}.new").replace(self._folder / _CURRENT)
        self._digests = digests
        remove_tree(self._folder / str(last))

    def clear(self) -> None:
        """Forget it."""
        self._digests = {}
        remove_tree(self._folder)

    def _number(self) -> int:
        try:
            return int((self._folder / _CURRENT).read_text())
        except (OSError, ValueError):
            return 0


def _digest_of(path: Path) -> str:
    state = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            state.update(data)
    return state.hexdigest()


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as write:
        shutil.copyfileobj(read, write, _READ_BYTES)
        write.flush()
        os.fsync(write.fileno())


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
