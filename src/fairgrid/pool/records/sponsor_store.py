"""Grants to newcomers and the signed transactions that pay them: written once, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from fairgrid.chain.interface import SignedTransaction
from fairgrid.chain.transaction_rows import transaction_of, transaction_values
from fairgrid.pool.core.sponsoring import Grant
from fairgrid.pool.records.backup import restored_at
from fairgrid.pool.records.schema import grants, payments

__all__ = ["Deposit", "Payment", "SponsorStore"]

_GIVE_STAKE = ("depositFor", "transfer")
_UNENDED, _PAID = "", "paid"


@dataclass(frozen=True, slots=True)
class Payment:
    """One transaction of a grant."""

    worker: str
    transaction: SignedTransaction


@dataclass(frozen=True, slots=True)
class Deposit:
    """The transaction that gave a worker its stake."""

    sponsor: str
    tx_hash: str
    was_refused: bool
    """The chain took it and nothing moved."""


class SponsorStore:
    """The tables of `r0004_grants`. Blocking: call it from a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """For other tables of the same pool."""
        return self._engine

    def grants(self) -> tuple[Grant, ...]:
        """Everything that was ever given."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(grants).order_by(grants.c.at)).all()
        return tuple(
            Grant(
                row.worker,
                row.key,
                row.owner,
                row.network,
                row.stake_nrlc,
                row.coins_wei,
                row.agreement,
                row.at,
                row.repays,
            )
            for row in rows
        )

    def deposits(self) -> dict[str, Deposit]:
        """By which transaction each worker got its stake."""
        query = sa.select(payments.c.worker, payments.c.sender, payments.c.tx_hash, payments.c.ended)
        with self._engine.connect() as connection:
            rows = connection.execute(query.where(payments.c.function.in_(_GIVE_STAKE))).all()
        return {row.worker: Deposit(row.sender, row.tx_hash, row.ended not in (_UNENDED, _PAID)) for row in rows}

    def sponsors(self) -> frozenset[str]:
        """Every key that ever gave a stake from this database."""
        return frozenset(deposit.sponsor for deposit in self.deposits().values())

    def restored_at(self) -> float | None:
        """When the database was restored from a backup, and so may lack grants; None if it never was."""
        return restored_at(self._engine)

    def record(self, grant: Grant, transactions: Sequence[SignedTransaction]) -> None:
        """Write a grant with its transactions, all or nothing.

        Raises:
            IntegrityError: its worker has one already; nothing was written.
        """
        with self._engine.begin() as connection:
            connection.execute(
                sa.insert(grants).values(
                    worker=grant.worker,
                    key=grant.key,
                    owner=grant.owner,
                    network=grant.network,
                    stake_nrlc=grant.stake_nrlc,
                    coins_wei=grant.coins_wei,
                    agreement=grant.agreement,
                    at=grant.at,
                    repays=grant.repays,
                )
            )
            for number, transaction in enumerate(transactions):
                connection.execute(
                    sa.insert(payments).values(
                        worker=grant.worker,
                        number=number,
                        **transaction_values(transaction),
                        ended="",
                    )
                )

    def unended(self) -> tuple[Payment, ...]:
        """Transactions of which it is not known how they ended, by nonce."""
        with self._engine.connect() as connection:
            query = sa.select(payments).where(payments.c.ended == "")
            rows = connection.execute(query.order_by(payments.c.nonce)).all()
        return tuple(Payment(row.worker, transaction_of(row)) for row in rows)

    def next_nonce(self, sender: str) -> int:
        """One more than the highest nonce that ``sender`` signed with here; 0 before the first."""
        with self._engine.connect() as connection:
            query = sa.select(payments.c.nonce).where(payments.c.sender == sender)
            return max((row.nonce for row in connection.execute(query)), default=-1) + 1

    def end(self, tx_hash: str, how: str) -> None:
        """Remember how a transaction ended: ``paid``, or why not."""
        with self._engine.begin() as connection:
            connection.execute(sa.update(payments).where(payments.c.tx_hash == tx_hash).values(ended=how[:200]))
