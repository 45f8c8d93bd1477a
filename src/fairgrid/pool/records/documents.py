"""How the store writes tasks, deals, events and transactions as JSON, and reads them, also those of older releases."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec

from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.events import Event
from fairgrid.pool.core.instructions import (
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
from fairgrid.pool.core.standing import Standing
from fairgrid.pool.core.task_state import StoryLine, TaskState

__all__ = [
    "TASK_FIELDS",
    "TRANSACTIONS",
    "pack_task",
    "read_deal",
    "read_standing",
    "read_story",
    "read_task",
    "read_transaction",
    "unpack_task",
    "write_deal",
    "write_events",
    "write_standing",
    "write_story",
    "write_task",
    "write_transaction",
]

TRANSACTIONS: dict[str, type[ChainInstruction]] = {
    kind.__name__: kind
    for kind in (Initialize, Finalize, Claim, Reopen, OpenRun, SplitRun, FinalizeRun, RefundRest, PayAuditor)
}
"""The instructions that are transactions, by the name under which they are stored."""

_encoder = msgspec.json.Encoder()
_event_encoder = msgspec.json.Encoder(order="deterministic")
_record_decoder = msgspec.json.Decoder(list[Any])
_task_decoder = msgspec.json.Decoder(TaskState)
_deal_decoder = msgspec.json.Decoder(DealTerms)
_standing_decoder = msgspec.json.Decoder(Standing)
_story_decoder = msgspec.json.Decoder(list[tuple[float, str, str]])
_transaction_decoders = {name: msgspec.json.Decoder(kind) for name, kind in TRANSACTIONS.items()}

TASK_FIELDS = tuple(name for name in TaskState.__struct_fields__ if name not in ("deal", "story"))
"""What `pack_task` packs, in this order."""
_task_values = attrgetter(*TASK_FIELDS)


def write_task(task: TaskState) -> str:
    """All of a task but its story, which has a column of its own."""
    values = dict(zip(TASK_FIELDS, _task_values(task), strict=True))
    values["deal"] = task.deal
    return _encoder.encode(values).decode()


def pack_task(task: TaskState) -> bytes:
    """All of a task but its deal and its story, as short as can be: its values as a JSON array."""
    return _encoder.encode(_task_values(task))


def unpack_task(fields: Sequence[str], record: bytes, deal: DealTerms) -> str:
    """What `write_task` would have written of a packed task; ``fields`` are those of the release that packed it."""
    values = dict(zip(fields, _record_decoder.decode(record), strict=True))
    return _encoder.encode({**values, "deal": deal}).decode()


def write_story(story: Sequence[StoryLine]) -> str:
    """The lines of one task in order, each as [time, text, worker]."""
    return _encoder.encode([(line.at, line.text, line.worker) for line in story]).decode()


def read_story(task_id: str, document: str) -> list[StoryLine]:
    return [
        StoryLine(task_id, number, at, text, worker)
        for number, (at, text, worker) in enumerate(_story_decoder.decode(document), start=1)
    ]


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
    return _event_encoder.encode([(type(event).__name__, event) for event in events]).decode()


def write_transaction(instruction: ChainInstruction) -> str:
    return _encoder.encode(instruction).decode()


def read_transaction(kind: str, document: str) -> ChainInstruction:
    return _transaction_decoders[kind].decode(document)
