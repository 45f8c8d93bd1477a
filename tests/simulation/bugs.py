"""Bugs that are planted on purpose: the simulation must find each of them, or it proves nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

__all__ = ["BUGS", "planted"]

BUGS: dict[str, Callable[[], AbstractContextManager[None]]] = {}


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """Run the block with a bug in the shipped code; an empty name plants none."""
    with BUGS[name]() if name else contextlib.nullcontext():
        yield
