"""The tree digest (decision 39): one 32-byte value for the files of a result, and short proofs for single files.

leaf  = keccak(0x00 ‖ keccak(path) ‖ u32 mode ‖ u64 length ‖ sha256(content)), mode always 0o100644, big-endian numbers
node  = keccak(0x01 ‖ left ‖ right); leaves in byte order of their UTF-8 paths; an odd node goes up as it is
empty = keccak(0x02)
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fairgrid.errors import VerificationError
from fairgrid.protocol.hexes import from_hex, keccak, to_hex32
from fairgrid.protocol.paths import path_fault

__all__ = [
    "FILE_MODE",
    "Entry",
    "Sibling",
    "entries_of_folder",
    "entry_leaf",
    "file_sha256",
    "merkle_proof",
    "proof_holds",
    "tree_digest",
    "tree_digest_of_folder",
]

FILE_MODE = 0o100644
_LEAF, _NODE, _EMPTY = b"\x00", b"\x01", b"\x02"
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a tree; ``sha256`` is the 32-byte hash of its content."""

    path: str
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Sibling:
    """One step of a proof: the other node's 0x-hex hash, and whether it stands on the left."""

    is_left: bool
    node: str


def entry_leaf(entry: Entry) -> bytes:
    """The leaf of one file.

    Raises:
        VerificationError: its path may not be in a tree.
    """
    fault = path_fault(entry.path)
    if fault is not None:
        raise VerificationError(f"The path {entry.path!r} cannot be part of a result: {fault}.")
    head = keccak(entry.path.encode()) + FILE_MODE.to_bytes(4, "big") + entry.size.to_bytes(8, "big")
    return keccak(_LEAF + head + entry.sha256)


def tree_digest(entries: Iterable[Entry]) -> str:
    """The digest of a set of files, in whatever order they come, as 0x-hex.

    Raises:
        VerificationError: a path may not be in a tree, or comes twice.
    """
    level = [entry_leaf(entry) for entry in _in_order(entries)]
    if not level:
        return to_hex32(keccak(_EMPTY))
    while len(level) > 1:
        level = _parents(level)
    return to_hex32(level[0])


def merkle_proof(entries: Iterable[Entry], path: str) -> tuple[Sibling, ...]:
    """The siblings from the leaf of ``path`` up to the root.

    Raises:
        VerificationError: there is no such file.
    """
    ordered = _in_order(entries)
    position = next((number for number, entry in enumerate(ordered) if entry.path == path), None)
    if position is None:
        raise VerificationError(f"There is no file {path!r} in this result.")
    level = [entry_leaf(entry) for entry in ordered]
    proof = []
    while len(level) > 1:
        other = position ^ 1
        if other < len(level):
            proof.append(Sibling(is_left=other < position, node=to_hex32(level[other])))
        level, position = _parents(level), position // 2
    return tuple(proof)


def proof_holds(entry: Entry, proof: Iterable[Sibling], digest: str) -> bool:
    """Whether ``proof`` leads from the leaf of ``entry`` to the root ``digest``."""
    node = entry_leaf(entry)
    for sibling in proof:
        other = from_hex(sibling.node)
        node = keccak(_NODE + other + node) if sibling.is_left else keccak(_NODE + node + other)
    return to_hex32(node) == digest


def tree_digest_of_folder(folder: Path, *, only: Collection[str] | None = None) -> str:
    """The digest of the files below ``folder``, or of those named in ``only``.

    Raises:
        VerificationError: as `entries_of_folder`.
    """
    return tree_digest(entries_of_folder(folder, only=only))


def entries_of_folder(folder: Path, *, only: Collection[str] | None = None) -> tuple[Entry, ...]:
    """The entries of the files below ``folder`` in tree order, or of those whose paths are in ``only``.

    Raises:
        VerificationError: a symbolic link, a special file or a name that may not be in a tree, or a file of ``only``
            that is missing.
    """
    found = sorted(_walk(folder, ""), key=lambda item: item[0].encode())
    if only is not None:
        wanted = set(only)
        found = [item for item in found if item[0] in wanted]
        missing = wanted - {path for path, _ in found}
        if missing:
            raise VerificationError(f"The result has no file {min(missing)!r}.")
    return tuple(Entry(path, *file_sha256(place)) for path, place in found)


def file_sha256(path: Path) -> tuple[int, bytes]:
    """Size and SHA-256 of a file, read in pieces."""
    size, state = 0, hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_READ_BYTES):
            size += len(piece)
            state.update(piece)
    return size, state.digest()


def _in_order(entries: Iterable[Entry]) -> list[Entry]:
    ordered = sorted(entries, key=lambda entry: entry.path.encode(errors="surrogatepass"))
    for before, after in itertools.pairwise(ordered):
        if before.path == after.path:
            raise VerificationError(f"The path {after.path!r} comes twice.")
    return ordered


def _parents(level: list[bytes]) -> list[bytes]:
    pairs = [keccak(_NODE + level[left] + level[left + 1]) for left in range(0, len(level) - 1, 2)]
    return pairs + ([level[-1]] if len(level) % 2 else [])


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for item in entries:
            path = prefix + item.name
            fault = path_fault(path)
            if fault is not None:
                raise VerificationError(f"The path {path!r} cannot be part of a result: {fault}.")
            mode = item.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                yield from _walk(Path(item.path), path + "/")
            elif stat.S_ISREG(mode):
                yield path, Path(item.path)
            else:
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "a special file"
                raise VerificationError(f"{path!r} is {kind}: a result holds plain files only.")
