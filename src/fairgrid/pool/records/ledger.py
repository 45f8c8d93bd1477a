"""The pool's transactions on disk: every signed version, stored before it is sent, under the epoch of who signed it.

Every method blocks: call it from a thread.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.chain.transaction_rows import transaction_values
from fairgrid.errors import ServiceError
from fairgrid.pool.core.instructions import ChainInstruction
from fairgrid.pool.records import schema
from fairgrid.pool.records.ledger_entries import (
    LedgerEffect,
    LedgerTransaction,
    TransactionStatus,
    carried,
    read_effects,
    read_versions,
    senders,
    transactions,
)
from fairgrid.pool.records.places import find
from fairgrid.pool.records.rows import EffectStatus

__all__ = ["Ledger", "Superseded"]

_KEPT_NONCES = 1_000


class Superseded(ServiceError):
    """Another process took over this key: this one must send nothing more."""

    def __init__(self, sender: str, epoch: int, newer: int) -> None:
        self.sender = sender
        self.epoch = epoch
        self.newer = newer
        super().__init__(
            f"Another process took over the transactions of {sender} (epoch {newer}; this one has {epoch}). This one "
            f"stops, so that nothing is sent twice. Run one scheduler per key, or let the others stand by."
        )


class Ledger:
    """The transactions of one database. `begin` before `record`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._epochs: dict[str, int] = {}

    def begin(self, sender: str) -> int:
        """Take the key over from whoever had it; gives the epoch that counts from now on, one more than the last."""
        with self._engine.begin() as connection:
            known = _epoch(connection, sender)
            epoch = (known or 0) + 1
            if known is None:
                connection.execute(sa.insert(senders).values(address=sender, epoch=epoch))
            else:
                connection.execute(sa.update(senders).where(senders.c.address == sender).values(epoch=epoch))
        self._epochs[sender] = epoch
        return epoch

    # --- writing --------------------------------------------------------------------------------------------------

    def record(self, signed: Sequence[LedgerTransaction], *, at: float) -> None:
        """Keep signed bytes and what they carry out, all in one commit; only then may they be sent (decision 25).

        Raises:
            Superseded: another process took the key over; nothing was written.
        """
        if not signed:
            return
        with self._engine.begin() as connection:
            epochs = {
                sender: self._fence(connection, sender) for sender in {item.transaction.sender for item in signed}
            }
            connection.execute(
                sa.insert(transactions),
                [
                    {
                        **transaction_values(item.transaction),
                        "epoch": epochs[item.transaction.sender],
                        "signed_at": at,
                        "status": TransactionStatus.SENT,
                    }
                    for item in signed
                ],
            )
            links = [{"tx_hash": item.transaction.hash, "key": key} for item in signed for key in item.keys]
            if not links:
                return
            connection.execute(sa.insert(carried), links)
            numbers = _numbers(connection, [link["key"] for link in links])
            changes = [
                {
                    "wanted": numbers[key],
                    "of": item.transaction.hash,
                    "by": item.transaction.sender,
                    "called_with": item.transaction.nonce,
                    "called": item.transaction.function,
                }
                for item in signed
                for key in item.keys
                if key in numbers
            ]
            if not changes:
                return
            connection.execute(
                sa.update(schema.effects)
                .where(schema.effects.c.number == sa.bindparam("wanted"))
                .values(
                    status=EffectStatus.SIGNED,
                    tx_hash=sa.bindparam("of"),
                    sender=sa.bindparam("by"),
                    nonce=sa.bindparam("called_with"),
                    function=sa.bindparam("called"),
                ),
                changes,
            )

    def settle(self, settled: Sequence[tuple[LedgerTransaction, int | None]], *, error: str = "") -> None:
        """Note what became of transactions (``status`` says it; the block is None for a dead one) and their effects.

        The other versions of the same nonce are dead from then on.
        """
        if not settled:
            return
        with self._engine.begin() as connection:
            numbers = _numbers(connection, [key for item, _ in settled for key in item.keys])
            for item, block_number in settled:
                transaction = item.transaction
                connection.execute(
                    sa.update(transactions)
                    .where(transactions.c.sender == transaction.sender)
                    .where(transactions.c.nonce == transaction.nonce)
                    .where(transactions.c.tx_hash != transaction.hash)
                    .values(status=TransactionStatus.DEAD)
                )
                connection.execute(
                    sa.update(transactions)
                    .where(transactions.c.tx_hash == transaction.hash)
                    .values(status=item.status, block_number=block_number)
                )
                carries = [numbers[key] for key in item.keys if key in numbers]
                if carries:
                    good = item.status is TransactionStatus.MINED
                    connection.execute(
                        sa.update(schema.effects)
                        .where(schema.effects.c.number.in_(carries))
                        .values(status=EffectStatus.MINED if good else EffectStatus.FAILED, error=error[:2_000])
                    )

    def fail(self, failures: Sequence[tuple[str, str]]) -> None:
        """Note, by key, why effects could not be carried out."""
        if not failures:
            return
        with self._engine.begin() as connection:
            numbers = _numbers(connection, [key for key, _ in failures])
            changes = [{"wanted": numbers[key], "why": why[:2_000]} for key, why in failures if key in numbers]
            if changes:
                connection.execute(
                    sa.update(schema.effects)
                    .where(schema.effects.c.number == sa.bindparam("wanted"))
                    .values(status=EffectStatus.FAILED, error=sa.bindparam("why")),
                    changes,
                )

    def plan_again(self, kind: type[ChainInstruction]) -> list[ChainInstruction]:
        """Have all effects of a kind that failed planned anew; gives them."""
        failed = (schema.effects.c.kind == kind.__name__) & (schema.effects.c.status == EffectStatus.FAILED)
        with self._engine.begin() as connection:
            found = list(read_effects(connection, _rows(connection, failed)).values())
            if found:
                connection.execute(
                    sa.update(schema.effects)
                    .where(schema.UNMINED)
                    .where(failed)
                    .values(status=EffectStatus.PLANNED, attempt=schema.effects.c.attempt + 1)
                )
        return [effect.instruction for effect in found]

    def purge(self, before: float, *, limit: int) -> int:
        """Delete, of the ``limit`` oldest transactions of each key, those that were signed ``before`` (local time) and
        carry out nothing that is still stored; gives how many went. The newest 1,000 of a key stay, so that a chain
        that was rewritten finds them.
        """
        gone = 0
        with self._engine.begin() as connection:
            for sender in connection.execute(sa.select(senders.c.address)).scalars().all():
                gone += self._purge(connection, sender, before, limit)
        return gone

    def _purge(self, connection: Connection, sender: str, before: float, limit: int) -> int:
        ours = transactions.c.sender == sender
        highest = connection.execute(
            sa.select(transactions.c.nonce).where(ours).order_by(transactions.c.nonce.desc()).limit(1)
        ).scalar_one_or_none()
        if highest is None or int(highest) < _KEPT_NONCES:
            return 0
        oldest = connection.execute(
            sa.select(transactions.c.tx_hash, transactions.c.signed_at, transactions.c.status)
            .where(ours)
            .where(transactions.c.nonce <= int(highest) - _KEPT_NONCES)
            .order_by(transactions.c.nonce)
            .limit(limit)
        ).all()
        hashes = [row.tx_hash for row in oldest if row.signed_at < before and row.status != TransactionStatus.SENT]
        if not hashes:
            return 0
        links = connection.execute(sa.select(carried).where(carried.c.tx_hash.in_(hashes))).all()
        stored = _numbers(connection, [link.key for link in links])
        used = {link.tx_hash for link in links if link.key in stored}
        free = [tx_hash for tx_hash in hashes if tx_hash not in used]
        connection.execute(sa.delete(carried).where(carried.c.tx_hash.in_(free)))
        connection.execute(sa.delete(transactions).where(transactions.c.tx_hash.in_(free)))
        return len(free)

    # --- reading --------------------------------------------------------------------------------------------------

    def effects(self, keys: Collection[str]) -> dict[str, LedgerEffect]:
        """The effects of these keys that are transactions."""
        with self._reading() as connection:
            return read_effects(connection, find(connection, schema.effects, keys))

    def under_way(self) -> list[LedgerEffect]:
        """Effects that are planned or signed and whose end was not seen, by nonce; the unsigned ones last."""
        with self._reading() as connection:
            open_ = schema.effects.c.status.in_([EffectStatus.PLANNED, EffectStatus.SIGNED])
            found = read_effects(connection, _rows(connection, open_))
        return sorted(
            found.values(),
            key=lambda effect: (effect.transaction is None, effect.transaction.nonce if effect.transaction else 0),
        )

    def from_nonce(self, sender: str, nonce: int) -> list[LedgerTransaction]:
        """Of each nonce from this one on, all versions that may be or were mined, in order."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(transactions)
                .where(transactions.c.sender == sender)
                .where(transactions.c.nonce >= nonce)
                .where(transactions.c.status != TransactionStatus.DEAD)
                .order_by(transactions.c.nonce, transactions.c.signed_at)
            ).all()
            return read_versions(connection, rows)

    def next_nonce(self, sender: str) -> int:
        """One more than the highest nonce that may be in use; 0 if there is none."""
        with self._reading() as connection:
            highest = connection.execute(
                sa.select(transactions.c.nonce)
                .where(transactions.c.sender == sender)
                .where(transactions.c.status != TransactionStatus.DEAD)
                .order_by(transactions.c.nonce.desc())
                .limit(1)
            ).scalar_one_or_none()
        return 0 if highest is None else int(highest) + 1

    # --- within ---------------------------------------------------------------------------------------------------

    def _fence(self, connection: Connection, sender: str) -> int:
        epoch = self._epochs[sender]
        known = _epoch(connection, sender)
        if known is not None and known > epoch:
            raise Superseded(sender, epoch, known)
        return epoch

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(read_only=True)


def _rows(connection: Connection, condition: Any) -> Sequence[Any]:
    """Effects that may still be sent, and for which a condition holds."""
    return connection.execute(sa.select(schema.effects).where(schema.UNMINED).where(condition)).all()


def _numbers(connection: Connection, keys: Collection[str]) -> dict[str, int]:
    """The number of each of these effects that is stored."""
    effects = schema.effects.c
    return {
        row.key: row.number for row in find(connection, schema.effects, keys, columns=(effects.number, effects.key))
    }


def _epoch(connection: Connection, sender: str) -> int | None:
    query = sa.select(senders.c.epoch).where(senders.c.address == sender).with_for_update()
    return connection.execute(query).scalar_one_or_none()
