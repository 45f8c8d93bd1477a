"""Functions that tests call on executors, and a timing that gathers calls until the executor is closed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fairgrid.executors.timing import Timing

NEVER = Timing(window=300, longest_window=300)
FACTOR = 3


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0

    def moved(self, by: int) -> Point:
        return Point(self.x + by, self.y)


def scaled(x: int, factor: int = FACTOR) -> int:
    return x * factor


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def divide(a: int, b: int) -> float:
    return a / b


def same(text: str) -> str:
    return text
