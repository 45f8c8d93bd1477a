"""Hostile relatives of good input: bytes flipped, cut, doubled, inserted, numbers made huge."""

from __future__ import annotations

import os
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

__all__ = ["FUZZ", "relatives"]

FUZZ = settings(
    max_examples=int(os.environ.get("FAIRGRID_FUZZ_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""Examples of each parser; ``FAIRGRID_FUZZ_EXAMPLES`` asks for more."""

_PIECES = (
    b"\x00",
    b"\xff" * 4,
    b"\xff" * 8,
    b"../",
    b"/etc/passwd",
    b"\\",
    b"\r\n",
    b"{",
    b"[" * 200,
    b'"' * 3,
    b"1e999",
    b"-1",
    b"9" * 400,
    b"NaN",
    "\u202e".encode(),
    b"\xed\xa0\x80",
    b"PK\x01\x02",
    b"PK\x05\x06",
)
_Change = tuple[str, float, float, bytes]


def relatives(*good: bytes) -> st.SearchStrategy[bytes]:
    """Strategies over bytes that were one of ``good`` before some changes; or are anything at all."""
    change = st.tuples(
        st.sampled_from(sorted(_CHANGES)),
        st.floats(0, 1),
        st.floats(0, 1),
        st.one_of(st.sampled_from(_PIECES), st.binary(max_size=16)),
    )
    changed = st.tuples(st.sampled_from(good), st.lists(change, min_size=1, max_size=6)).map(_apply)
    return st.one_of(changed, changed, changed, st.binary(max_size=400))


def _apply(chosen: tuple[bytes, list[_Change]]) -> bytes:
    data, changes = chosen
    for kind, start, length, piece in changes:
        begin = int(start * len(data))
        end = min(begin + 1 + int(length * 24), len(data))
        data = _CHANGES[kind](data, begin, end, piece)
    return data


_CHANGES: dict[str, Callable[[bytes, int, int, bytes], bytes]] = {
    "cut": lambda data, begin, end, piece: data[:begin] + data[end:],
    "double": lambda data, begin, end, piece: data[:end] + data[begin:],
    "end": lambda data, begin, end, piece: data[:begin],
    "insert": lambda data, begin, end, piece: data[:begin] + piece + data[begin:],
    "replace": lambda data, begin, end, piece: data[:begin] + piece + data[end:],
    "flip": lambda data, begin, end, piece: data[:begin] + bytes(byte ^ 0x55 for byte in data[begin:end]) + data[end:],
}
