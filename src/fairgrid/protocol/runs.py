"""Runs of the batch lane: contiguous tasks of a deal that are settled as one, and the tree of their digests.

run id = keccak256(deal id ‖ uint256 first ‖ uint256 count), with ``first`` the index of the run's first task
digest = keccak256(root ‖ keccak256(results)), with ``results`` the bytes that are finalized
leaf   = keccak256(0x10 ‖ task digest), node = keccak256(0x11 ‖ left ‖ right), leaves in order of their index;
         an odd node goes up as it is (decision 39)

Position and number of tasks fix the shape of a proof: it holds a sibling for each level that has one, from the leaf up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fairgrid.errors import VerificationError
from fairgrid.protocol.hexes import bytes32, hex32, keccak, to_hex32, uint256_bytes
from fairgrid.protocol.ids import task_id

__all__ = [
    "MAX_RUN_TASKS",
    "run_digest",
    "run_digest_of_hash",
    "run_id",
    "task_proof",
    "task_proof_holds",
    "tasks_root",
    "unit_id",
    "units_of",
]

MAX_RUN_TASKS: Final = 2**20 - 1
"""How many tasks a run may have."""

_LEAF, _NODE = b"\x10", b"\x11"


def run_id(deal: str, first: int, count: int) -> str:
    """The id of the run of ``count`` tasks from index ``first`` on; it is never the id of a task."""
    return to_hex32(keccak(bytes32(deal) + uint256_bytes(first) + uint256_bytes(count)))


def unit_id(deal: str, index: int, count: int) -> str:
    """What is settled as one: the run of ``count`` tasks from ``index`` on, or the one task if ``count`` is 0."""
    return run_id(deal, index, count) if count else task_id(deal, index)


def units_of(count: int) -> int:
    """How often prices and stakes of a deal count: once a task of a run; once for a classic task (``count`` 0)."""
    return max(count, 1)


def run_digest(root: str, results: bytes) -> str:
    """What workers of a run agree on: the tasks' root and the very bytes that will be finalized."""
    return run_digest_of_hash(root, to_hex32(keccak(results)))


def run_digest_of_hash(root: str, results_hash: str) -> str:
    """As `run_digest`, from the hash of the results."""
    return to_hex32(keccak(bytes32(root) + bytes32(results_hash)))


def tasks_root(digests: Sequence[str]) -> str:
    """The root over the digests of a run's tasks, in order of their index.

    Raises:
        VerificationError: there is none.
    """
    level = _leaves(digests)
    while len(level) > 1:
        level = _parents(level)
    return to_hex32(level[0])


def task_proof(digests: Sequence[str], position: int) -> tuple[str, ...]:
    """The siblings that lead from the digest at ``position`` (from 0) to `tasks_root`, from the leaf up.

    Raises:
        VerificationError: there is no such position.
    """
    if not 0 <= position < len(digests):
        raise VerificationError(f"A run of {len(digests)} tasks has none at position {position}.")
    level, proof = _leaves(digests), []
    while len(level) > 1:
        sibling = position ^ 1
        if sibling < len(level):
            proof.append(to_hex32(level[sibling]))
        level, position = _parents(level), position // 2
    return tuple(proof)


def task_proof_holds(digest: str, position: int, count: int, proof: Sequence[str], root: str) -> bool:
    """Whether ``proof`` shows that ``digest`` is at ``position`` of the ``count`` digests under ``root``."""
    if not 0 <= position < count:
        return False
    node, rest = keccak(_LEAF + bytes32(digest)), list(proof)
    while count > 1:
        if position ^ 1 < count:
            if not rest:
                return False
            sibling = bytes32(rest.pop(0))
            node = keccak(_NODE + (sibling + node if position % 2 else node + sibling))
        position, count = position // 2, (count + 1) // 2
    return not rest and to_hex32(node) == hex32(root)


def _leaves(digests: Sequence[str]) -> list[bytes]:
    if not digests:
        raise VerificationError("A run has at least one task.")
    return [keccak(_LEAF + bytes32(digest)) for digest in digests]


def _parents(level: list[bytes]) -> list[bytes]:
    pairs = [keccak(_NODE + level[left] + level[left + 1]) for left in range(0, len(level) - 1, 2)]
    return pairs + ([level[-1]] if len(level) % 2 else [])
