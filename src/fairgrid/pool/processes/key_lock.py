"""One sender per key: a lock on the pool's folder, or on its PostgreSQL database, for as long as the process lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Engine

from fairgrid.errors import ServiceError
from fairgrid.protocol.hexes import keccak

__all__ = ["KeyInUse", "key_lock"]


class KeyInUse(ServiceError):
    """Another process sends with this key; ``holder`` says which, as far as it is known."""

    def __init__(self, sender: str, holder: str) -> None:
        self.sender = sender
        self.holder = holder
        super().__init__(
            f"Another pool process ({holder}) sends with the key {sender}. Two of them would take each other's nonces: "
            f"stop the other one, or let this one stand by."
        )


@contextlib.contextmanager
def key_lock(engine: Engine, folder: Path, sender: str, *, patience_s: float = 3.0) -> Iterator[None]:
    """Hold the key ``sender`` for the time of the block; the lock ends with the process, however it ends. Blocks.

    Somebody who has it now is waited for ``patience_s``, because it may be on its way out.

    On PostgreSQL the lock is the database's (an advisory lock), so that it counts on every machine; else a file in
    ``folder``, which counts on this machine.

    Raises:
        KeyInUse: another process holds it.
    """
    with contextlib.ExitStack() as stack:
        deadline = time.monotonic() + patience_s
        while True:
            on_server = engine.dialect.name == "postgresql"
            held = _postgres_lock(engine, sender) if on_server else _file_lock(folder, sender)
            try:
                stack.enter_context(held)
                break
            except KeyInUse:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)
        yield


@contextlib.contextmanager
def _file_lock(folder: Path, sender: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"sender-{sender}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
            raise KeyInUse(sender, f"pid {holder}" if holder.isdecimal() else "of this machine") from None
        with contextlib.suppress(OSError):  # a full disk: it is held without saying by whom
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _postgres_lock(engine: Engine, sender: str) -> Iterator[None]:
    number = int.from_bytes(keccak(f"fairgrid/sender/{sender}".encode())[:8], "big", signed=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT", read_only=True) as connection:
        if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(number))).scalar_one():
            raise KeyInUse(sender, "on this database")
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(number)))
