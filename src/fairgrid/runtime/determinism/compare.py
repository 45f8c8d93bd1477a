"""Where two result folders differ first, in the order of paths: a file that only one has, or a byte."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Difference", "first_difference"]

_AROUND: Final = 40
_READ: Final = 1 << 20
_MOST: Final = 64 << 20
"""So much of a file is looked at for causes."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference of two results, the first run's and another's."""

    path: str
    offset: int | None
    """Byte of the file; None if only one of the results has the file."""
    line: int | None
    """Line of that byte, from 1; None for what is not text."""
    first: bytes
    """What stands around that byte in the first run's file; empty if it has none."""
    other: bytes
    more: tuple[str, ...] = ()
    """Other files that differ, too."""


def first_difference(first: Path, other: Path) -> Difference | None:
    """Compare two folders; None if they are the same."""
    ours, theirs = _files(first), _files(other)
    both = ours & theirs
    differing = [name for name in sorted(ours | theirs) if name not in both or _offset(first, other, name) >= 0]
    if not differing:
        return None
    name, more = differing[0], tuple(differing[1:])
    if name not in ours or name not in theirs:
        start = _start_of(first / name) if name in ours else b""
        return Difference(name, None, None, start, _start_of(other / name) if name in theirs else b"", more)
    offset = _offset(first, other, name)
    begin = max(offset - _AROUND, 0)
    return Difference(
        name, offset, _line(first / name, offset), _piece(first / name, begin), _piece(other / name, begin), more
    )


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _offset(first: Path, other: Path, name: str) -> int:
    """The first byte that differs, or the length of the shorter file; -1 if they are the same."""
    at = 0
    with (first / name).open("rb") as ours, (other / name).open("rb") as theirs:
        while True:
            left, right = ours.read(_READ), theirs.read(_READ)
            if left != right:
                pairs = zip(left, right, strict=False)
                same = next((n for n, (one, two) in enumerate(pairs) if one != two), min(len(left), len(right)))
                return at + same
            if not left:
                return -1
            at += len(left)


def _line(path: Path, offset: int) -> int | None:
    with path.open("rb") as file:
        before = file.read(min(offset, _MOST))
    return None if b"\0" in before else before.count(b"\n") + 1


def _piece(path: Path, begin: int) -> bytes:
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(2 * _AROUND)


def _start_of(path: Path) -> bytes:
    return _piece(path, 0)
