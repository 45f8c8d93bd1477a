"""How long blobs stay: the end that their uploaders asked for, and for a while that it has passed.

A blob without an end stays. Each upload of the same content may lengthen its time and none can shorten it, so that
nobody removes what somebody else relies on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from fairgrid.errors import UsageError

__all__ = ["GONE_IS_SAID_S", "MAX_KEEP_S", "Terms", "keep_of_query"]

GONE_IS_SAID_S: Final = 30 * 86_400
"""So long after its end a removed blob is known as gone; later it was never here."""
MAX_KEEP_S: Final = 36_600 * 86_400


def keep_of_query(text: str | None) -> int | None:
    """The seconds of ``?expire-in=604800s`` (the parameter of IPFS Cluster, in seconds alone); None: without end.

    Raises:
        UsageError: it is something else, or more than 36,600 days.
    """
    if text is None:
        return None
    digits = text.removesuffix("s")
    if not (digits != text and digits.isascii() and digits.isdecimal() and len(digits) <= 12):
        raise UsageError(f"{text[:40]!r} is no time to keep a file. Send seconds, as in expire-in=604800s.")
    if not 1 <= int(digits) <= MAX_KEEP_S:
        raise UsageError(f"A file is kept for 1 to {MAX_KEEP_S} seconds. Leave expire-in out to keep it without end.")
    return int(digits)


class Terms:
    """The ends of blobs, in seconds since 1970; ``now`` is the clock. Not thread-safe."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ends: dict[str, int] = {}

    def load(self, cid: str, end: int) -> None:
        """Take over what was written down."""
        self._ends[cid] = end

    def end_after(self, cid: str, keep_s: int | None, *, held: bool) -> int | None:
        """The end that a blob would have, kept for ``keep_s`` from now on; ``held``: it is here already."""
        if keep_s is None or (held and cid not in self._ends):
            return None
        asked = int(self._now()) + keep_s
        return max(asked, self._ends[cid]) if held else asked

    def agree(self, cid: str, keep_s: int | None, *, held: bool) -> int | None:
        """Give the blob that end."""
        end = self.end_after(cid, keep_s, held=held)
        self.set(cid, end)
        return end

    def set(self, cid: str, end: int | None) -> None:
        """The end of a blob, None for none."""
        if end is None:
            self._ends.pop(cid, None)
        else:
            self._ends[cid] = end

    def left_s(self, cid: str) -> int:
        """Whole seconds until the end of a blob, 0 when it has passed; `MAX_KEEP_S` if it has none."""
        return max(0, self._ends[cid] - math.ceil(self._now())) if cid in self._ends else MAX_KEEP_S

    def is_over(self, cid: str) -> bool:
        """Whether the blob had an end and it has passed."""
        return cid in self._ends and self._ends[cid] <= self._now()

    def over(self) -> list[str]:
        """The blobs whose end has passed, also those removed since."""
        now = self._now()
        return [cid for cid, end in self._ends.items() if end <= now]

    def forget(self) -> list[str]:
        """Forget the ends that passed long ago; gives their blobs, which must be removed by now."""
        before = self._now() - GONE_IS_SAID_S
        old = [cid for cid, end in self._ends.items() if end <= before]
        for cid in old:
            del self._ends[cid]
        return old
