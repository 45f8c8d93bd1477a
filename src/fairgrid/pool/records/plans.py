"""What the scheduler decided to send or to forbid, written down within the transaction of whatever led to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from fairgrid.pool.core.instructions import BanWorker, ChainInstruction, Instruction
from fairgrid.pool.records import documents, schema
from fairgrid.pool.records.bulk import BulkInsert
from fairgrid.pool.records.rows import EffectStatus

__all__ = ["write_bans", "write_plans"]

_write_effects = BulkInsert(
    schema.effects,
    ("key", "task_id", "kind", "status", "attempt", "created_at", "document", "error"),
    key="key",
    update={
        "status": "excluded.status",
        "attempt": "pool_effect.attempt + 1",
        "document": "excluded.document",
        "tx_hash": "NULL",
        "raw": "NULL",
        "sender": "NULL",
        "nonce": "NULL",
        "function": "NULL",
    },
    where="pool_effect.status = 'failed'",
)
_KINDS: dict[type, str] = {kind: name for name, kind in documents.TRANSACTIONS.items()}
_PLANNED = EffectStatus.PLANNED.value


def write_plans(connection: Connection, instructions: Sequence[Instruction], at: float) -> None:
    """Write transactions by key. One that is known stays as it is, unless it failed: it is planned again."""
    planned: dict[str, tuple[Any, ...]] = {}
    for instruction in instructions:
        kind = _KINDS.get(type(instruction))
        if kind is not None:
            assert isinstance(instruction, ChainInstruction)
            key = instruction.key
            if key not in planned:
                document = documents.write_transaction(instruction)
                planned[key] = (key, instruction.task_id, kind, _PLANNED, 1, at, document, "")
    _write_effects(connection, list(planned.values()))


def write_bans(connection: Connection, instructions: Sequence[Instruction], at: float) -> None:
    """Write bans; the first word on a worker stays."""
    for instruction in instructions:
        if isinstance(instruction, BanWorker):
            _write_ban(connection, instruction, at)


def _write_ban(connection: Connection, ban: BanWorker, at: float) -> None:
    known = connection.execute(sa.select(schema.bans.c.worker).where(schema.bans.c.worker == ban.worker)).one_or_none()
    if known is None:
        connection.execute(
            sa.insert(schema.bans).values(
                worker=ban.worker,
                owner=ban.owner,
                task_id=ban.task_id,
                reason=ban.reason,
                evidence=ban.evidence,
                at=at,
            )
        )
