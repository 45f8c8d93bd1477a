"""Grants to newcomers and the signed transactions that pay them: written once, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from fairgrid.chain.interface import SignedTransaction
from fairgrid.pool.sponsoring import Grant
from fairgrid.seams.database import Uint256

__all__ = ["Payment", "SponsorStore"]

_metadata = sa.MetaData()
_grants = sa.Table(
    "pool_grant",
    _metadata,
    sa.Column("worker", sa.String(42), primary_key=True),
    sa.Column("key", sa.String(42), nullable=False),
    sa.Column("owner", sa.String(42), nullable=False),
    sa.Column("network", sa.String(64), nullable=False),
    sa.Column("stake_nrlc", Uint256, nullable=False),
    sa.Column("coins_wei", Uint256, nullable=False),
    sa.Column("agreement", sa.String(140), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
_payments = sa.Table(
    "pool_grant_payment",
    _metadata,
    sa.Column("worker", sa.String(42), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("tx_hash", sa.String(66), nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("sender", sa.String(42), nullable=False),
    sa.Column("nonce", Uint256, nullable=False),
    sa.Column("function", sa.String(64), nullable=False),
    sa.Column("ended", sa.String(200), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Payment:
    """One transaction of a grant."""

    worker: str
    transaction: SignedTransaction


class SponsorStore:
    """The tables of `r0004_grants`. Blocking: call it from a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def grants(self) -> tuple[Grant, ...]:
        """Everything that was ever given."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(_grants).order_by(_grants.c.at)).all()
        return tuple(
            Grant(row.worker, row.key, row.owner, row.network, row.stake_nrlc, row.coins_wei, row.agreement, row.at)
            for row in rows
        )

    def record(self, grant: Grant, transactions: Sequence[SignedTransaction]) -> None:
        """Write a grant with its transactions, all or nothing.

        Raises:
            IntegrityError: its worker has one already; nothing was written.
        """
        with self._engine.begin() as connection:
            connection.execute(
                sa.insert(_grants).values(
                    worker=grant.worker,
                    key=grant.key,
                    owner=grant.owner,
                    network=grant.network,
                    stake_nrlc=grant.stake_nrlc,
                    coins_wei=grant.coins_wei,
                    agreement=grant.agreement,
                    at=grant.at,
                )
            )
            for number, transaction in enumerate(transactions):
                connection.execute(
                    sa.insert(_payments).values(
                        worker=grant.worker,
                        number=number,
                        tx_hash=transaction.hash,
                        raw=transaction.raw,
                        sender=transaction.sender,
                        nonce=transaction.nonce,
                        function=transaction.function,
                        ended="",
                    )
                )

    def unended(self) -> tuple[Payment, ...]:
        """Transactions of which it is not known how they ended, by nonce."""
        with self._engine.connect() as connection:
            query = sa.select(_payments).where(_payments.c.ended == "")
            rows = connection.execute(query.order_by(_payments.c.nonce)).all()
        return tuple(
            Payment(row.worker, SignedTransaction(bytes(row.raw), row.tx_hash, row.sender, row.nonce, row.function))
            for row in rows
        )

    def next_nonce(self, sender: str) -> int:
        """One more than the highest nonce that ``sender`` signed with here; 0 before the first."""
        with self._engine.connect() as connection:
            query = sa.select(_payments.c.nonce).where(_payments.c.sender == sender)
            return max((row.nonce for row in connection.execute(query)), default=-1) + 1

    def end(self, tx_hash: str, how: str) -> None:
        """Remember how a transaction ended: ``paid``, or why not."""
        with self._engine.begin() as connection:
            connection.execute(sa.update(_payments).where(_payments.c.tx_hash == tx_hash).values(ended=how[:200]))
