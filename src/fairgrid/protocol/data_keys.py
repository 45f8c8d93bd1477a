"""The keys of a private run: one data key, from which every task's key follows.

::

    shared key  = HKDF-SHA256(data key, none, "fairgrid/shared/1")
    node 0, 0   = HKDF-SHA256(data key, none, "fairgrid/tasks/1")
    node l+1, i = HMAC-SHA256(node l, i div 2; "fairgrid/node/1" ‖ u8 (i mod 2))
    key of task i = node 20, i

What all tasks read is under the shared key, what belongs to one task under its own. A worker is given the shared key
and the smallest nodes that lead to its own tasks: a run of the batch lane costs at most 40 of them, and no node leads
to a task beside.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import rfc8785

from fairgrid.errors import VerificationError
from fairgrid.protocol.bounded_json import load_json
from fairgrid.protocol.encrypted_files import derived_key

__all__ = ["MAX_PRIVATE_TASKS", "DataKey", "TaskKeys"]

_DEPTH: Final = 20
MAX_PRIVATE_TASKS: Final = 1 << _DEPTH
"""Tasks that one data key has keys for."""
_KEY_BYTES: Final = 32
_FORMAT: Final = "task-keys/1"


@dataclass(frozen=True, slots=True)
class TaskKeys:
    """The keys of some tasks of a run, next to each other, and of what all tasks share. Never shown, logged or stored
    in plain form."""

    shared: bytes = field(repr=False)
    nodes: tuple[tuple[int, int, bytes], ...] = field(repr=False)
    """Level, place in the level, and 32 bytes."""

    def of(self, index: int) -> bytes:
        """The key of task ``index``.

        Raises:
            VerificationError: these are the keys of other tasks.
        """
        for level, place, node in self.nodes:
            if 0 <= index < MAX_PRIVATE_TASKS and index >> (_DEPTH - level) == place:
                return _below(node, index, level)
        raise VerificationError(f"The pool's key does not open task {index}: it was given for other tasks.")

    def to_bytes(self) -> bytes:
        """The text that is sealed for a worker."""
        nodes: list[Any] = [[level, place, node.hex()] for level, place, node in self.nodes]
        return rfc8785.dumps({"fairgrid": _FORMAT, "shared": self.shared.hex(), "nodes": nodes})

    @classmethod
    def from_bytes(cls, data: bytes) -> TaskKeys:
        """Read what `to_bytes` wrote.

        Raises:
            VerificationError: it is something else.
        """
        try:
            wire: Any = load_json(data)
            nodes = tuple((level, place, _key(node)) for level, place, node in wire["nodes"])
            keys = cls(_key(wire["shared"]), nodes)
            good = all(type(level) is int and 0 <= level <= _DEPTH and type(place) is int for level, place, _ in nodes)
        except (ValueError, TypeError, KeyError):
            good = False
        if not good or len(nodes) > 2 * _DEPTH or keys.to_bytes() != data:
            raise VerificationError("The pool sent something that is no key of a task.")
        return keys


@dataclass(frozen=True, slots=True)
class DataKey:
    """The key of a whole run. Whoever has it reads everything of the run."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no key.

        Raises:
            VerificationError: it has not 32 bytes.
        """
        if len(self.secret) != _KEY_BYTES:
            raise VerificationError(f"A data key has {_KEY_BYTES} bytes, not {len(self.secret)}.")

    @classmethod
    def fresh(cls) -> DataKey:
        """A new one at random."""
        return cls(secrets.token_bytes(_KEY_BYTES))

    @property
    def shared(self) -> bytes:
        """The key of what all tasks read."""
        return derived_key(self.secret, b"fairgrid/shared/1")

    def of(self, index: int) -> bytes:
        """The key of task ``index``.

        Raises:
            VerificationError: there are no keys for tasks beyond `MAX_PRIVATE_TASKS`.
        """
        return self.keys_for(index, 1).of(index)

    def keys_for(self, first: int, count: int) -> TaskKeys:
        """What a worker of the tasks from ``first`` on needs: ``count`` of them, at least one.

        Raises:
            VerificationError: there are no keys for tasks beyond `MAX_PRIVATE_TASKS`.
        """
        if not (0 <= first and 1 <= count <= MAX_PRIVATE_TASKS - first):
            raise VerificationError(
                f"A private run has the tasks 0 to {MAX_PRIVATE_TASKS - 1}, not {first} to {first + count - 1}."
            )
        root = derived_key(self.secret, b"fairgrid/tasks/1")
        nodes = tuple((level, place, _down(root, place, level)) for level, place in _cover(first, first + count))
        return TaskKeys(self.shared, nodes)


def _cover(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The largest nodes of the tree that hold the leaves of ``start`` to ``end``, and no others."""
    while start < end:
        height = _DEPTH if start == 0 else (start & -start).bit_length() - 1
        while start + (1 << height) > end:
            height -= 1
        yield _DEPTH - height, start >> height
        start += 1 << height


def _below(node: bytes, index: int, level: int) -> bytes:
    """The leaf ``index`` under a node of ``level`` that leads to it."""
    return _steps(node, index, _DEPTH - level)


def _down(root: bytes, place: int, level: int) -> bytes:
    """The node at ``place`` of ``level``."""
    return _steps(root, place, level)


def _steps(node: bytes, path: int, steps: int) -> bytes:
    for step in reversed(range(steps)):
        node = hmac.new(node, b"fairgrid/node/1" + bytes([path >> step & 1]), hashlib.sha256).digest()
    return node


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != _KEY_BYTES:
        raise ValueError("no key")
    return key
