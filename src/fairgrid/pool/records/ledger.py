"""The pool's transactions on disk: every signed version, stored before it is sent, under the epoch of who signed it.

Every method blocks: call it from a thread.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, get_args

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.chain.interface import SignedTransaction
from fairgrid.chain.transaction_rows import transaction_of, transaction_values
from fairgrid.errors import ServiceError
from fairgrid.pool.core.instructions import ChainInstruction
from fairgrid.pool.records import schema
from fairgrid.pool.records.places import find
from fairgrid.pool.records.rows import EffectStatus
from fairgrid.seams.database import Uint256

__all__ = ["Ledger", "LedgerEffect", "LedgerTransaction", "Superseded", "TransactionStatus"]

_KEPT_NONCES = 1_000
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(ChainInstruction)}

senders = sa.Table(
    "pool_sender",
    schema.metadata,
    sa.Column("address", sa.String(42), primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False),
)
"""Who may send with a key: only the process with the highest epoch."""

transactions = sa.Table(
    "pool_transaction",
    schema.metadata,
    sa.Column("tx_hash", sa.String(66), primary_key=True),
    sa.Column("sender", sa.String(42), nullable=False),
    sa.Column("nonce", Uint256, nullable=False),
    sa.Column("function", sa.String(64), nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("signed_at", sa.Float, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("block_number", sa.Integer, nullable=True),
    sa.Index("pool_transaction_nonce", "sender", "nonce"),
    sa.Index("pool_transaction_status", "status"),
)
"""Every signed version of every transaction; versions of one have the same nonce."""

carried = sa.Table(
    "pool_transaction_effect",
    schema.metadata,
    sa.Column("tx_hash", sa.String(66), sa.ForeignKey("pool_transaction.tx_hash"), primary_key=True),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Index("pool_transaction_effect_key", "key"),
)
"""Which effects a transaction carries out: several, if the hub takes them together."""


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


class TransactionStatus(StrEnum):
    """How far a signed version is."""

    SENT = "sent"
    """It may have been sent; it may still be mined."""
    MINED = "mined"
    REVERTED = "reverted"
    """Mined, but the hub refused it."""
    DEAD = "dead"
    """Another transaction has its nonce; it will never be mined."""


@dataclass(frozen=True, slots=True)
class LedgerTransaction:
    """One signed version, and the keys of the effects that it carries out."""

    transaction: SignedTransaction
    keys: tuple[str, ...]
    status: TransactionStatus = TransactionStatus.SENT


@dataclass(frozen=True, slots=True)
class LedgerEffect:
    """A decided transaction; ``versions`` are the signed bytes that may be or are mined, newest last."""

    key: str
    instruction: ChainInstruction
    status: EffectStatus
    attempt: int
    versions: tuple[LedgerTransaction, ...] = ()

    @property
    def transaction(self) -> SignedTransaction | None:
        """The newest version; None before it was signed."""
        return self.versions[-1].transaction if self.versions else None


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
            found = list(self._effects(connection, _rows(connection, failed)).values())
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
            return self._effects(connection, find(connection, schema.effects, keys))

    def under_way(self) -> list[LedgerEffect]:
        """Effects that are planned or signed and whose end was not seen, by nonce; the unsigned ones last."""
        with self._reading() as connection:
            open_ = schema.effects.c.status.in_([EffectStatus.PLANNED, EffectStatus.SIGNED])
            found = self._effects(connection, _rows(connection, open_))
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
            return _with_keys(connection, rows)

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

    def _effects(self, connection: Connection, stored: Sequence[Any]) -> dict[str, LedgerEffect]:
        rows = [row for row in stored if row.kind in _KINDS]
        signed = [row.key for row in rows if row.status != EffectStatus.PLANNED]
        links: list[Any] = []
        for start in range(0, len(signed), 500):
            links += connection.execute(
                sa.select(carried.c.key, transactions)
                .join(transactions, transactions.c.tx_hash == carried.c.tx_hash)
                .where(carried.c.key.in_(signed[start : start + 500]))
                .where(transactions.c.status.in_([TransactionStatus.SENT, TransactionStatus.MINED]))
                .order_by(transactions.c.signed_at)
            ).all()
        versions = {item.transaction.hash: item for item in _with_keys(connection, links)}
        of_key: dict[str, list[LedgerTransaction]] = {}
        for link in links:
            of_key.setdefault(link.key, []).append(versions[link.tx_hash])
        return {
            row.key: LedgerEffect(
                row.key,
                _KINDS[row.kind](**json.loads(row.document)),
                EffectStatus(row.status),
                row.attempt,
                tuple(of_key.get(row.key, ())),
            )
            for row in rows
        }

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


def _with_keys(connection: Connection, rows: Sequence[Any]) -> list[LedgerTransaction]:
    unique = {row.tx_hash: row for row in rows}
    hashes = list(unique)
    keys: dict[str, list[str]] = {}
    for start in range(0, len(hashes), 500):
        for link in connection.execute(
            sa.select(carried).where(carried.c.tx_hash.in_(hashes[start : start + 500])).order_by(carried.c.key)
        ):
            keys.setdefault(link.tx_hash, []).append(link.key)
    return [
        LedgerTransaction(
            transaction_of(row),
            tuple(keys.get(row.tx_hash, ())),
            TransactionStatus(row.status),
        )
        for row in unique.values()
    ]


def _epoch(connection: Connection, sender: str) -> int | None:
    query = sa.select(senders.c.epoch).where(senders.c.address == sender).with_for_update()
    return connection.execute(query).scalar_one_or_none()
