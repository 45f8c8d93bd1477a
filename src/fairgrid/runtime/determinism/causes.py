"""The likely cause of a difference, and the remedy: from what differs, and from which changes of the host bring it out.

A guess, and told as one. Each rule looks at the two files as text where they are text.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

__all__ = ["CAUSES", "Cause", "likely_cause"]

_TOKEN: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|\w+|\S")
_FLOAT: Final = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?")
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{6,16}")
_ISO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d")
_EPOCH: Final = re.compile(r"1[6-9]\d{8}(?:\d{3}|\d{6}|\d{9})?(?:\.\d+)?|1[6-9]\d{8}\.\d+")
_CLOSE: Final = 1e-6
"""Floats that differ relatively by less are told as rounding."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What probably makes the results differ."""

    name: str
    text: str
    remedy: str


CAUSES: Final = {
    cause.name: cause
    for cause in (
        Cause(
            "order",
            "The same lines or words come in another order: a set, the files of a folder, or threads.",
            "Sort before you write (`sorted(...)`), or declare it: --canonical rows:FILE.",
        ),
        Cause(
            "clock",
            "Times of day are written.",
            "Take the time from an argument or leave it out. In a runtime whose id says `deterministic` the clock is "
            "the same for everybody.",
        ),
        Cause(
            "addresses",
            "Addresses of memory are written, as the default `repr` of an object has them.",
            "Write what the object holds, not the object.",
        ),
        Cause(
            "rounding",
            "Numbers agree but for their last digits: another order of additions (threads), or another library.",
            "Use one thread (OMP_NUM_THREADS=1) or a runtime whose id says `deterministic`, or declare how to round: "
            "--canonical round:FILE:decimals=6:edge=3.",
        ),
        Cause(
            "threads",
            "It depends on how many processor cores there are.",
            "Fix the number of threads or parts of the work, and the order in which their results are joined; in a "
            "runtime whose id says `deterministic` every machine has one core.",
        ),
        Cause(
            "folder order",
            "It depends on the order in which a folder lists its files.",
            "Sort what `os.listdir`, `glob` or `ls -U` give.",
        ),
        Cause(
            "host",
            "It depends on the machine: its name, locale, time zone or environment.",
            "Read nothing of the machine; set what you need in the program.",
        ),
        Cause(
            "random",
            "Values differ from run to run on the same machine: random numbers without a fixed seed, or the clock.",
            "Seed every generator (`random.seed(0)`, `numpy.random.default_rng(0)`); in a runtime whose id says "
            "`deterministic` they are seeded by the job.",
        ),
    )
}
"""By name."""


def likely_cause(first: bytes, other: bytes, *, differs_under: Collection[str]) -> Cause:
    """The cause that fits best. ``differs_under`` names the conditions whose results differ from the first run's."""
    by_content = _by_content(first, other)
    if by_content is not None:
        return CAUSES[by_content]
    if "again" in differs_under:
        return CAUSES["random"]
    for condition, cause in (("folders", "folder order"), ("cores", "threads")):
        if condition in differs_under:
            return CAUSES[cause]
    return CAUSES["host"]


def _by_content(first: bytes, other: bytes) -> str | None:
    try:
        ours, theirs = first.decode(), other.decode()
    except UnicodeDecodeError:
        return None
    for name, fits in _RULES:
        if fits(ours, theirs):
            return name
    return None


def _is_order(ours: str, theirs: str) -> bool:
    return any(Counter(split(ours)) == Counter(split(theirs)) for split in (str.splitlines, _TOKEN.findall))


def _without(pattern: re.Pattern[str]) -> Callable[[str, str], bool]:
    """True if the texts are the same once what fits the pattern is left out."""

    def fits(ours: str, theirs: str) -> bool:
        return bool(pattern.search(ours)) and pattern.sub("", ours) == pattern.sub("", theirs)

    return fits


def _is_rounding(ours: str, theirs: str) -> bool:
    if _FLOAT.sub("#", ours) != _FLOAT.sub("#", theirs):
        return False
    pairs = list(zip(map(float, _FLOAT.findall(ours)), map(float, _FLOAT.findall(theirs)), strict=True))
    return all(math.isclose(one, two, rel_tol=_CLOSE, abs_tol=1e-12) for one, two in pairs)


def _is_clock(ours: str, theirs: str) -> bool:
    if _without(_ISO_TIME)(ours, theirs):
        return True
    if not _without(_EPOCH)(ours, theirs):
        return False
    # Times grow within a run and from run to run; random numbers do not.
    times = [float(text) for text in (*_EPOCH.findall(ours), *_EPOCH.findall(theirs))]
    return all(later >= earlier for earlier, later in pairwise(times))


_RULES: Final[tuple[tuple[str, Callable[[str, str], bool]], ...]] = (
    ("order", _is_order),
    ("addresses", _without(_ADDRESS)),
    ("clock", _is_clock),
    ("rounding", _is_rounding),
)
