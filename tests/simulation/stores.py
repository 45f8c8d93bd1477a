"""The shipped stores of pool and worker, quick to make: in memory, from a picture of an empty database; or as files."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine

from fairgrid.pool.records.store import PoolStore
from fairgrid.seams.database import open_engine
from fairgrid.worker.records.store import WorkerStore

__all__ = ["Disk"]

_Store = type[PoolStore] | type[WorkerStore]
_Kind = Literal["pool", "worker"]
_KINDS: dict[_Kind, _Store] = {"pool": PoolStore, "worker": WorkerStore}

_idle: dict[_Kind, list[Engine]] = {"pool": [], "worker": []}
"""Engines of databases in memory that nobody uses any more. They have compiled all statements of their store, which
costs more than to execute them."""


class Disk:
    """Where a node's store lies. It outlives the process: what was committed is there for the next one."""

    def __init__(self, kind: _Kind, file: Path | None) -> None:
        """``file`` None keeps the database in memory."""
        self._kind = kind
        self._file = file
        self._engine: Engine | None = None
        self._open: Any = None

    def open(self) -> Any:
        """The store, for a process that just started."""
        if self._file is not None:
            if self._open is not None:
                self._open.close()
            else:
                self._file.write_bytes(_file_picture(self._kind))
            self._open = _KINDS[self._kind].open(self._file)
            return self._open
        if self._engine is None:
            self._engine = _idle[self._kind].pop() if _idle[self._kind] else open_engine("sqlite://")
            connection = self._engine.raw_connection()
            try:
                assert connection.driver_connection is not None
                connection.driver_connection.deserialize(_picture(self._kind))
            finally:
                connection.close()
            self._open = _KINDS[self._kind](self._engine)
        return self._open

    def close(self) -> None:
        if self._engine is not None:
            _idle[self._kind].append(self._engine)
            self._engine = self._open = None
        elif self._open is not None:
            self._open.close()


@functools.cache
def _file_picture(name: _Kind) -> bytes:
    """An empty database with all tables."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"
        _KINDS[name].open(file).close()
        return file.read_bytes()


@functools.cache
def _picture(name: _Kind) -> bytes:
    """The same for one in memory, which has no write-ahead log."""
    picture = bytearray(_file_picture(name))
    picture[18:20] = b"\x01\x01"
    return bytes(picture)
