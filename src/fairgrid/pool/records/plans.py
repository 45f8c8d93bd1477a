"""What the scheduler decided to send or to forbid, written down within the transaction of whatever led to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from fairgrid.pool.core.instructions import BanWorker, ChainInstruction, Instruction
from fairgrid.pool.records import documents, schema
from fairgrid.pool.records.bulk import Batch, BulkInsert
from fairgrid.pool.records.places import find, place_of
from fairgrid.pool.records.rows import EffectStatus

__all__ = ["PlanKeeper", "write_bans"]

_write_effects = BulkInsert(
    schema.effects,
    ("number", "place", "key", "task_id", "kind", "status", "attempt", "created_at", "document", "error"),
)
_KINDS: dict[type, str] = {kind: name for name, kind in documents.TRANSACTIONS.items()}
_PLANNED = EffectStatus.PLANNED.value
_plan_again = (
    sa.update(schema.effects)
    .where(schema.effects.c.number == sa.bindparam("wanted"))
    .values(
        status=_PLANNED,
        attempt=schema.effects.c.attempt + 1,
        document=sa.bindparam("told"),
        tx_hash=None,
        raw=None,
        sender=None,
        nonce=None,
        function=None,
    )
)


class PlanKeeper:
    """Writes transactions by key: one that is known stays as it is, unless it failed; then it is planned again.

    Of tasks that began while this object wrote it knows every key, so that nothing has to be looked for.
    """

    def __init__(self) -> None:
        self._last_number: int | None = None
        self._planned: dict[str, set[str]] = {}
        self._new: list[ChainInstruction] = []

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Goes around one transaction; what was believed to be written in one that failed is forgotten."""
        try:
            yield
        except BaseException:
            self._last_number, self._planned = None, {}
            raise
        finally:
            self._new = []

    def prepare(self, connection: Connection, instructions: Sequence[Instruction], *, born: Iterable[str]) -> None:
        """Read what `write` must know, and plan again what failed; ``born`` are tasks of which nothing was stored."""
        for task_id in born:
            self._planned[task_id] = set()
        unsure: dict[str, ChainInstruction] = {}
        fresh: dict[str, ChainInstruction] = {}
        for instruction in instructions:
            if type(instruction) not in _KINDS:
                continue
            assert isinstance(instruction, ChainInstruction)
            key, known = instruction.key, self._planned.get(instruction.task_id)
            if key in fresh or key in unsure:
                continue
            if known is None or key in known:
                unsure[key] = instruction
            else:
                fresh[key] = instruction
                known.add(key)
        if self._last_number is None:
            self._last_number = connection.execute(sa.select(sa.func.max(schema.effects.c.number))).scalar_one() or 0
        effects, again = schema.effects.c, []
        for row in find(connection, schema.effects, unsure, columns=(effects.number, effects.key, effects.status)):
            instruction = unsure.pop(row.key)
            if row.status == EffectStatus.FAILED:
                again.append({"wanted": row.number, "told": documents.write_transaction(instruction)})
        if again:
            connection.execute(_plan_again, again)
        self._new = [*fresh.values(), *unsure.values()]

    def write(self, batch: Batch, at: float) -> None:
        """Write what was given to `prepare` and is new."""
        assert self._last_number is not None
        first = self._last_number + 1
        self._last_number += len(self._new)
        rows = []
        for number, instruction in enumerate(self._new, start=first):
            key, document = instruction.key, documents.write_transaction(instruction)
            kind = _KINDS[type(instruction)]
            rows.append((number, place_of(number, key), key, instruction.task_id, kind, _PLANNED, 1, at, document, ""))
        _write_effects(batch, rows)

    def over(self, task_ids: Iterable[str]) -> None:
        """Nothing more is expected of these tasks; should they come back, their keys are looked for."""
        for task_id in task_ids:
            self._planned.pop(task_id, None)


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
