"""Counts the bytes that one task's transfers move, whoever moves them and however deep below."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["Moved", "counting", "received", "sent"]


@dataclass(slots=True)
class Moved:
    """Bytes that came from storage and went to it."""

    bytes_in: int = 0
    bytes_out: int = 0


_moved: ContextVar[Moved | None] = ContextVar("moved", default=None)


@contextmanager
def counting() -> Iterator[Moved]:
    """What is moved in the block, also by the asyncio tasks that it starts, is counted."""
    moved = Moved()
    token = _moved.set(moved)
    try:
        yield moved
    finally:
        _moved.reset(token)


def received(size: int) -> None:
    """So many bytes came; nobody may be counting."""
    moved = _moved.get()
    if moved is not None:
        moved.bytes_in += size


def sent(size: int) -> None:
    """So many bytes went; nobody may be counting."""
    moved = _moved.get()
    if moved is not None:
        moved.bytes_out += size
