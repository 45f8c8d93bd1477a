"""Content identifiers of files, identical to those of the IPFS importers.

Profile: CIDv1 in base32, sha2-256, raw leaves, chunks of 262,144 bytes, balanced trees of at most 174 links. A file of
one chunk (also the empty one) is its own raw leaf; a longer one is a UnixFS file node (dag-pb) over its leaves.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from fairgrid.errors import UsageError

__all__ = [
    "CHUNK_BYTES",
    "LINKS_PER_NODE",
    "TAIL_CHARACTERS",
    "CidBuilder",
    "cid_of",
    "cid_of_leaves",
    "is_cid",
    "is_one_chunk",
    "normal_cid",
    "tail_of",
]

_ONE_CHUNK = "bafkrei"

CHUNK_BYTES = 262_144
LINKS_PER_NODE = 174
TAIL_CHARACTERS = 10
"""So much of a CID's end is told of a file that somebody has: 50 bits tell inputs apart, and fetch none of them."""

_RAW = 0x55
_DAG_PB = 0x70
_DIGEST_BYTES = 32
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_CIDV0_LENGTH = 46
_CIDV1_LENGTH = 59
_V1_PREFIXES = tuple(bytes([1, codec, 0x12, _DIGEST_BYTES]) for codec in (_RAW, _DAG_PB))


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of the tree: its binary CID, the bytes of the file under it, the bytes of the blocks under it."""

    cid: bytes
    file_bytes: int
    dag_bytes: int


class CidBuilder:
    """Computes the CID of a stream piece by piece, in constant memory but for 32 bytes a chunk.

    ``size`` is the bytes seen so far. After `finish`: ``dag_size`` is the size of all blocks of the tree (what IPFS
    calls the cumulative size), ``leaf_digests`` the SHA-256 of each chunk in order (one even for an empty file).
    The two options exist for foreign profiles; another value gives another CID for the same bytes.
    """

    def __init__(self, *, chunk_bytes: int = CHUNK_BYTES, links_per_node: int = LINKS_PER_NODE) -> None:
        self._chunk_bytes = chunk_bytes
        self._links_per_node = links_per_node
        self._chunk = hashlib.sha256()
        self._chunk_filled = 0
        self._cid: str | None = None
        self.size = 0
        self.dag_size = 0
        self.leaf_digests: list[bytes] = []

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next bytes of the stream."""
        view = memoryview(data)
        if self._cid is not None:
            raise ValueError("this CID is finished; build another")
        while view:
            part = view[: self._chunk_bytes - self._chunk_filled]
            self._chunk.update(part)
            self._chunk_filled += len(part)
            self.size += len(part)
            view = view[len(part) :]
            if self._chunk_filled == self._chunk_bytes:
                self._close_chunk()

    def finish(self) -> str:
        """The CID of everything given; a second call gives the same."""
        if self._cid is None:
            if self._chunk_filled or not self.leaf_digests:
                self._close_chunk()
            root = _root(self.leaf_digests, self.size, self._chunk_bytes, self._links_per_node)
            self.dag_size = root.dag_bytes
            self._cid = _text(root.cid)
        return self._cid

    def _close_chunk(self) -> None:
        self.leaf_digests.append(self._chunk.digest())
        self._chunk = hashlib.sha256()
        self._chunk_filled = 0


def cid_of(data: bytes) -> str:
    """The CID of a file with this content."""
    builder = CidBuilder()
    builder.update(data)
    return builder.finish()


def cid_of_leaves(leaf_digests: Iterable[bytes], size: int) -> str:
    """The CID of a file of ``size`` bytes from the SHA-256 of each of its chunks.

    Raises:
        UsageError: the number of digests does not fit the size.
    """
    digests = list(leaf_digests)
    if len(digests) != max(1, -(-size // CHUNK_BYTES)):
        raise UsageError(f"{len(digests)} chunk digests cannot describe a file of {size} bytes.")
    return _text(_root(digests, size, CHUNK_BYTES, LINKS_PER_NODE).cid)


def normal_cid(text: str) -> str:
    """The one spelling of a file's CID that is used here: CIDv1, base32, lower case. CIDv0 (``Qm…``) is translated.

    Raises:
        UsageError: this is not the CID of a file (sha2-256, raw or dag-pb).
    """
    if len(text) == _CIDV0_LENGTH and text.startswith("Qm"):
        multihash = _base58_decode(text)
        if multihash is not None and len(multihash) == 34 and multihash[:2] == bytes([0x12, _DIGEST_BYTES]):
            return _text(bytes([1, _DAG_PB]) + multihash)
    elif len(text) == _CIDV1_LENGTH and text.startswith("b") and text.isascii() and text == text.lower():
        try:
            binary = base64.b32decode(text[1:].upper() + "=" * (-(len(text) - 1) % 8))
        except ValueError:
            binary = b""
        if binary.startswith(_V1_PREFIXES) and _text(binary) == text:
            return text
    shown = text if len(text) <= 80 else text[:80] + "…"
    raise UsageError(f"{shown!r} is not the CID of a file. CIDs look like bafkrei… or bafybei….")


def is_cid(text: str) -> bool:
    """Whether `normal_cid` accepts ``text``."""
    try:
        normal_cid(text)
    except UsageError:
        return False
    return True


def is_one_chunk(cid: str) -> bool:
    """Whether the file of a normalised CID has one chunk: at most `CHUNK_BYTES` bytes, whose SHA-256 is in the CID."""
    return cid.startswith(_ONE_CHUNK)


def _root(digests: list[bytes], size: int, chunk_bytes: int, links_per_node: int) -> _Node:
    level = []
    for index, digest in enumerate(digests):
        length = min(chunk_bytes, size - index * chunk_bytes)
        level.append(_Node(bytes([1, _RAW, 0x12, _DIGEST_BYTES]) + digest, length, length))
    while len(level) > 1:
        level = [_parent(level[start : start + links_per_node]) for start in range(0, len(level), links_per_node)]
    return level[0]


def _parent(children: list[_Node]) -> _Node:
    """A UnixFS file node, encoded as dag-pb: the links (field 2) come before the data (field 1)."""
    block = bytearray()
    for child in children:
        link = _field(1, child.cid) + b"\x12\x00" + b"\x18" + _varint(child.dag_bytes)
        block += _field(2, link)
    file_bytes = sum(child.file_bytes for child in children)
    unixfs = b"\x08\x02" + b"\x18" + _varint(file_bytes)
    unixfs += b"".join(b"\x20" + _varint(child.file_bytes) for child in children)
    block += _field(1, unixfs)
    cid = bytes([1, _DAG_PB, 0x12, _DIGEST_BYTES]) + hashlib.sha256(block).digest()
    return _Node(cid, file_bytes, len(block) + sum(child.dag_bytes for child in children))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _text(binary: bytes) -> str:
    return "b" + base64.b32encode(binary).decode("ascii").lower().rstrip("=")


def _base58_decode(text: str) -> bytes | None:
    number = 0
    for character in text:
        digit = _BASE58.find(character)
        if digit < 0:
            return None
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def tail_of(cid: str) -> str:
    """The end of a CID, by which a file is named to those who know the CID anyway."""
    return cid[-TAIL_CHARACTERS:]
