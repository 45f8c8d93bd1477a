"""Tags: 256 bits that orders demand (request, app, dataset) and that a workerpool offers.

Bit 0 asks for a trusted execution environment, bits 1 to 3 name its framework, bit 16 is the batch lane (decision 56);
all other bits are opaque to the chain.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Final

from fairgrid.protocol.hexes import hex32

__all__ = [
    "FRAMEWORK_MASK",
    "GRAMINE_BIT",
    "LANE_BIT",
    "LANE_MASK",
    "SCONE_BIT",
    "TDX_BIT",
    "TEE_BIT",
    "TEE_MASK",
    "covers",
    "has_lane",
    "join_tags",
    "requires_tee",
    "union_tag",
]

TEE_BIT: Final = 0
SCONE_BIT: Final = 1
GRAMINE_BIT: Final = 2
TDX_BIT: Final = 3
LANE_BIT: Final = 16

TEE_MASK: Final = 1 << TEE_BIT
FRAMEWORK_MASK: Final = (1 << SCONE_BIT) | (1 << GRAMINE_BIT) | (1 << TDX_BIT)
LANE_MASK: Final = 1 << LANE_BIT


def _number(tag: str) -> int:
    return int(hex32(tag), 16)


def union_tag(app: str, dataset: str, request: str) -> str:
    """The tag of a deal: all bits of the three orders, but the framework bits of the dataset, which are ignored."""
    return f"0x{_number(app) | (_number(dataset) & ~FRAMEWORK_MASK) | _number(request):064x}"


def join_tags(*tags: str) -> str:
    """Every bit of any of these tags: the tag of a deal of boost, where no bit of the dataset is ignored."""
    return f"0x{reduce(or_, map(_number, tags), 0):064x}"


def covers(outer: str, inner: str) -> bool:
    """True if every bit of ``inner`` is in ``outer``."""
    return _number(inner) & ~_number(outer) == 0


def requires_tee(tag: str) -> bool:
    """True if the tag asks for a trusted execution environment."""
    return _number(tag) & TEE_MASK != 0


def has_lane(tag: str) -> bool:
    """True if the tag carries the lane bit; a deal is batched only if request *and* workerpool do (decision 16)."""
    return _number(tag) & LANE_MASK != 0
