"""The kinds of faults, and the parts of the program that only some seeds use; and how often each happened in a run."""

from __future__ import annotations

import collections
from enum import StrEnum

__all__ = ["Counter", "Fault", "Part"]


class Fault(StrEnum):
    """Everything that goes wrong in simulations. A fault counts when it happened, not when it was planned."""

    POOL_CRASH = "pool crash"
    """The pool loses power between two effects, and starts again later."""
    WORKER_CRASH = "worker crash"
    SENDING_CRASH = "crash around a transaction"
    """A node loses power between signing a transaction and sending it, or right after that, and is back at once."""
    WORKER_GONE = "worker gone"
    """A worker's machine disappears for good."""
    CUT = "connection cut"
    PARTITION = "partition"
    """Pool and worker cannot hear each other; neither is told."""
    DELAY = "delay"
    """Everything takes up to seconds."""
    DUPLICATE = "duplicate"
    """A message arrives twice."""
    REORDER = "reorder"
    """A message overtakes another."""
    REORG = "reorganisation"
    """The last 1 to 12 blocks are replaced."""
    DROPPING_REORG = "reorganisation that drops transactions"
    CHAIN_DOWN = "chain down"
    """A node's view of the chain does not answer."""
    LOST_ANSWER = "lost answer"
    """A transaction was sent, and its sender was told that the chain is down."""
    MISSED_EVENT = "missed event"
    REPEATED_EVENT = "repeated event"
    STORAGE_DOWN = "storage down"
    CLOCK_SKEW = "clock skew"
    """A machine's clock is off by up to hours."""
    BROKEN_MACHINE = "machine that cannot compute"
    WRONG_DIGEST = "wrong digest"
    COLLUSION = "collusion"
    """Several liars contribute one and the same wrong result."""
    NO_REVEAL = "no reveal"
    OTHER_UPLOAD = "upload of other bytes"
    OTHER_SEAL = "seal that differs"
    SILENCE = "silence about the seal"
    """A contributor never opens its seal."""
    STALLING = "stalling"
    """A worker takes leases and never seals."""


class Part(StrEnum):
    """What only some seeds use. It counts when it happened."""

    LANE = "batch lane"
    """A run of the batch lane is opened."""
    DEPENDENCY = "dependency"
    """A task that reads the result of another is leased."""
    AUDIT = "audit"
    """A replica that is never authorised is compared with the consensus."""
    POOL_DRAINED = "pool drained"
    WORKER_DRAINED = "worker drained"
    OPERATOR_BAN = "ban by the operator"


class Counter:
    """Counts what happened."""

    def __init__(self) -> None:
        self.counts: collections.Counter[Fault | Part] = collections.Counter()

    def count(self, what: Fault | Part) -> None:
        self.counts[what] += 1
