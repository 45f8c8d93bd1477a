"""How often a pool's process looks for garbage in cycles: rarely, for hardly anything that it makes lies in one."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collecting_rarely"]

_YOUNG = 20_000
"""New containers until the young ones are looked through; Python's own figure is 700, a few tasks."""


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Look for cycles rarely while the block runs, and never among what is there when it begins (modules, classes).

    What is in no cycle is freed at once, as always. A scheduler of 1,000 tasks a second spent a tenth of its time on
    looking through tasks that were still needed.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, before[1], before[2])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
