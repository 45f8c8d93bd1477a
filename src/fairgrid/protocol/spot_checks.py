"""The job by which a pool tests a worker's claim of speed: its answer is known, and there is no short cut to it.

x → x² + 5 modulo the prime 2⁶¹ - 1, many times: each step needs the one before. A worker runs `SCRIPT` in its sandbox;
a pool, which has no sandbox, computes the same numbers itself.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BASE_FUEL", "FUEL_PER_ROUND", "MAX_ROUNDS", "SCRIPT", "answer_of"]

_PRIME: Final = (1 << 61) - 1
MAX_ROUNDS: Final = 1_000_000
BASE_FUEL: Final = 336_000_000
"""Fuel of the script's start in ``wasmtime-49/py312/deterministic``, measured."""
FUEL_PER_ROUND: Final = 12_150
SCRIPT: Final = (
    b"import sys\n"
    b"x, rounds = int(sys.argv[1]), int(sys.argv[2])\n"
    b"for _ in range(rounds):\n"
    b"    x = (x * x + 5) % 2305843009213693951\n"
    b"print(x)\n"
)


def answer_of(seed: int, rounds: int) -> int:
    """What the script prints for these arguments."""
    value = seed
    for _ in range(rounds):
        value = (value * value + 5) % _PRIME
    return value
