"""Functions and classes of all kinds that travel."""

from __future__ import annotations

import functools
import json
import math as mathematics
import os.path
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from math import sqrt
from typing import Any, NamedTuple

from fairgrid.executors.remote import remote

SCALE = 2
TABLE = {"a": [1, 2], "b": [3]}


class Colour(Enum):
    RED = 1
    BLUE = 2

    def other(self) -> Colour:
        return Colour.BLUE if self is Colour.RED else Colour.RED


class Pair(NamedTuple):
    left: int
    right: int


@dataclass(order=True)
class Node:
    value: int
    children: list[Node] = field(default_factory=list)

    def total(self) -> int:
        return self.value + sum(child.total() for child in self.children)


class Shape:
    sides = 0

    def __init__(self, size: int) -> None:
        self.size = size

    def area(self) -> float:
        raise NotImplementedError


class Square(Shape):
    sides = 4

    def area(self) -> float:
        return float(super().__init__.__name__ == "__init__") * self.size**2


class Ladder:
    def twin(self) -> Ladder:
        return Ladder()


class Own(Exception):
    pass


def fact(n: int) -> int:
    return 1 if n < 2 else n * fact(n - 1)


def is_even(n: int) -> bool:
    return n == 0 or is_odd(n - 1)


def is_odd(n: int) -> bool:
    return n != 0 and is_even(n - 1)


def noisy(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args) + SCALE

    return wrapper


@noisy
def decorated(x: int) -> int:
    return x * 10


@remote
def marked(x: int) -> int:
    return x + SCALE


def uses_marked(x: int) -> int:
    return marked(x) * 2


def with_defaults(x: int, scale: int = SCALE, *, table: dict[str, list[int]] = TABLE) -> int:
    return x * scale + len(table)


def many_things(x: int) -> list[Any]:
    import statistics

    inner = [value * SCALE for value in range(x)]
    return [sqrt(16), mathematics.pi, os.path.join("a", "b"), statistics.mean(inner), sorted(TABLE), json.dumps(x)]


def keeps_text() -> str:
    return """first
  second
third"""


def squares(n: int) -> Iterator[int]:
    yield from (i * i for i in range(n))


def uses_generator(n: int) -> int:
    return sum(squares(n))


def uses_shape(size: int) -> tuple[int, float]:
    made = Square(size)
    return made.sides, made.area()


def catches_own() -> str:
    try:
        raise Own("mine")
    except Own as error:
        return str(error)


def makes_tree(depth: int) -> Node:
    return Node(depth, [makes_tree(depth - 1), makes_tree(depth - 1)] if depth else [])


def paints(colour: Colour, pair: Pair) -> tuple[Colour, Pair]:
    return colour.other(), Pair(pair.right, pair.left)


def adder(n: int) -> Callable[[int], int]:
    def add(x: int) -> int:
        return x + n

    return add


def countdown(n: int) -> Callable[[int], int]:
    def down(x: int) -> int:
        return n if x == 0 else down(x - 1)

    return down


two = [lambda x: x + 1, lambda x: x * 100]
pick = [lambda x: x + 1, lambda y: y * 100]
in_one = functools.partial(pow, 2)
