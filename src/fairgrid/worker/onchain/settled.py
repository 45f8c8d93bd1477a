"""What never changes on the chain is read no more once it is deep: a deal, a category."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from fairgrid.worker.core.machine import KEEP_BLOCKS

__all__ = ["Settled"]

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")
_SIZE: Final = 1_024


class Settled(Generic[_Key, _Value]):
    """Remembers values that only a reorganisation changes; ``blocks`` is how deep none goes.

    A value is settled when it was read again, unchanged, so many blocks after it was read first. The least recently
    used of more than 1,024 are forgotten.
    """

    def __init__(self, *, blocks: int = KEEP_BLOCKS) -> None:
        self._blocks = blocks
        self._since: OrderedDict[_Key, tuple[_Value, int, bool]] = OrderedDict()

    def get(self, key: _Key) -> _Value | None:
        """The value if it is settled."""
        found = self._since.get(key)
        if found is None or not found[2]:
            return None
        self._since.move_to_end(key)
        return found[0]

    def saw(self, key: _Key, value: _Value, block: int) -> None:
        """``value`` was read as of ``block``."""
        known = self._since.get(key)
        since = known[1] if known is not None and known[0] == value and known[1] <= block else block
        self._since[key] = (value, since, block - since >= self._blocks)
        self._since.move_to_end(key)
        if len(self._since) > _SIZE:
            self._since.popitem(last=False)
