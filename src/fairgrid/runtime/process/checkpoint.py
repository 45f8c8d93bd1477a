"""The checkpoint folder of a native job: files that it renames into place there are saved while it runs.

Only files directly in the folder count: what is in folders of the job's own making could lead elsewhere by then.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fairgrid.runtime.checkpoints import Checkpoint, CheckpointFolder
from fairgrid.runtime.log_sink import LogSink

__all__ = ["NativeCheckpoint"]

_MOVED_FROM, _MOVED_TO, _DELETE = 0x40, 0x80, 0x200
_EVENT: Final = struct.Struct("iIII")
_READ_BYTES: Final = 1 << 16
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NativeCheckpoint:
    """``inside`` is the folder that the job sees, ``host`` where it is saved. Any thread may call `look`."""

    def __init__(self, inside: Path, host: Path, staging: Path) -> None:
        """Lay the saved files into ``inside``; ``staging`` is a folder that the job does not see, and is made.

        Raises:
            OSError: the disk, or the system has no more watches.
        """
        self._inside = inside
        self._staging = staging
        self._folder = CheckpointFolder(host)
        self._lock = threading.Lock()
        self._sinks: tuple[LogSink, LogSink] | None = None
        staging.mkdir()
        self.loaded: Checkpoint | None = self._folder.load()
        for name, path in (self.loaded.files if self.loaded is not None else {}).items():
            if "/" not in name:
                shutil.copyfile(path, inside / name)
        self._descriptor = _watch(inside)

    def take_logs(self, stdout: LogSink, stderr: LogSink) -> None:
        """Put back what was printed before; what is printed from now on is saved with the files."""
        self._sinks = (stdout, stderr)
        if self.loaded is not None:
            stdout.add(self.loaded.stdout)
            stderr.add(self.loaded.stderr)

    def look(self) -> None:
        """Save what arrived since the last look, and forget what went. Blocking; never raises."""
        with self._lock:
            if self._descriptor < 0 or self._sinks is None:
                return
            for mask, name in _events(self._descriptor):
                # A checkpoint that this machine cannot store must not change the job: the last one stays.
                with contextlib.suppress(OSError):
                    self._follow(mask, name, *self._sinks)

    def close(self) -> None:
        """Look no more."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _follow(self, mask: int, name: str, stdout: LogSink, stderr: LogSink) -> None:
        logs = {"stdout": stdout.saved(), "stderr": stderr.saved()}
        if mask & (_MOVED_FROM | _DELETE):
            self._folder.save({}, name, fuel=0, **logs)
        elif (staged := self._staged(name)) is not None:
            self._folder.save({name: staged}, None, fuel=0, **logs)

    def _staged(self, name: str) -> Path | None:
        """A copy that the job cannot reach; None for what is no file any more."""
        source = os.open(self._inside / name, _OPEN)
        with os.fdopen(source, "rb") as read:
            if not stat.S_ISREG(os.fstat(source).st_mode):
                return None
            target = self._staging / "file"
            with target.open("wb") as write:
                shutil.copyfileobj(read, write)
        return target


def _watch(folder: Path) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "no folder can be watched")
    if libc.inotify_add_watch(descriptor, os.fsencode(folder), _MOVED_FROM | _MOVED_TO | _DELETE) < 0:
        error = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(error, "the checkpoint folder cannot be watched")
    return descriptor


def _events(descriptor: int) -> Iterator[tuple[int, str]]:
    while True:
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        place = 0
        while place < len(data):
            _, mask, _, length = _EVENT.unpack_from(data, place)
            place += _EVENT.size
            name = data[place : place + length].rstrip(b"\0")
            place += length
            with contextlib.suppress(UnicodeDecodeError):
                yield mask, name.decode()
