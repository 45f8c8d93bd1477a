"""How the store writes tasks, deals, events and transactions as JSON, and reads them, also those of older releases."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from fairgrid.pool.events import Event
from fairgrid.pool.instructions import (
    ChainInstruction,
    Claim,
    Finalize,
    FinalizeRun,
    Initialize,
    OpenRun,
    PayAuditor,
    RefundRest,
    Reopen,
    SplitRun,
)
from fairgrid.pool.standing import Standing
from fairgrid.pool.state import DealTerms, TaskState

__all__ = [
    "TRANSACTIONS",
    "read_deal",
    "read_standing",
    "read_task",
    "read_transaction",
    "write_deal",
    "write_events",
    "write_standing",
    "write_task",
    "write_transaction",
]

TRANSACTIONS: dict[str, type[ChainInstruction]] = {
    kind.__name__: kind
    for kind in (Initialize, Finalize, Claim, Reopen, OpenRun, SplitRun, FinalizeRun, RefundRest, PayAuditor)
}
"""The instructions that are transactions, by the name under which they are stored."""

_encoder = msgspec.json.Encoder(order="deterministic")
_task_decoder = msgspec.json.Decoder(TaskState)
_deal_decoder = msgspec.json.Decoder(DealTerms)
_standing_decoder = msgspec.json.Decoder(Standing)
_transaction_decoders = {name: msgspec.json.Decoder(kind) for name, kind in TRANSACTIONS.items()}
_TASK_FIELDS = tuple(name for name in TaskState.__dataclass_fields__ if name != "story")
_task_values = attrgetter(*_TASK_FIELDS)


def write_task(task: TaskState) -> str:
    """All of a task but its story, which has a table of its own."""
    return _encoder.encode(dict(zip(_TASK_FIELDS, _task_values(task), strict=True))).decode()


def read_task(document: str) -> TaskState:
    """A task without its story."""
    return _task_decoder.decode(document)


def write_deal(deal: DealTerms) -> str:
    return _encoder.encode(deal).decode()


def read_deal(document: str) -> DealTerms:
    return _deal_decoder.decode(document)


def write_standing(standing: Standing) -> str:
    return _encoder.encode(standing).decode()


def read_standing(document: str) -> Standing:
    return _standing_decoder.decode(document)


def write_events(events: Sequence[Event]) -> str:
    """Events in order, each as [kind, event]."""
    return _encoder.encode([(type(event).__name__, event) for event in events]).decode()


def write_transaction(instruction: ChainInstruction) -> str:
    return _encoder.encode(instruction).decode()


def read_transaction(kind: str, document: str) -> ChainInstruction:
    return _transaction_decoders[kind].decode(document)
