"""What sponsored workers paid back, payment by payment: each counts once, by transaction and place in its block."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from fairgrid.chain.interface import ChainEvent
from fairgrid.pool.core.sponsoring import Debt, debts_of
from fairgrid.pool.records.schema import grants, repayments
from fairgrid.pool.records.sponsor_store import SponsorStore

__all__ = ["RepaymentStore", "Unsettled"]


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A block with repayments that a reorganisation may still take."""

    number: int
    hash: str


class RepaymentStore:
    """The table of `r0013_repayments`. Blocking: call it from a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._grants = SponsorStore(engine)

    def sponsors(self) -> frozenset[str]:
        """Whom repayments go to."""
        return self._grants.sponsors()

    def add(self, event: ChainEvent, at: float) -> bool:
        """Count a ``Transfer`` of a worker that repays; seen again it counts once, in the block of the last time.

        False: its sender owes nothing here.
        """
        given = event.arguments
        with self._engine.begin() as connection:
            known = sa.select(grants.c.worker).where(grants.c.worker == given["from"]).where(grants.c.repays)
            if connection.execute(known).scalar_one_or_none() is None:
                return False
            connection.execute(sa.delete(repayments).where(_key(event)))
            connection.execute(
                sa.insert(repayments).values(
                    tx_hash=event.tx_hash,
                    log_index=event.log_index,
                    block_number=event.block_number,
                    block_hash=event.block_hash,
                    worker=given["from"],
                    sponsor=given["to"],
                    nrlc=given["value"],
                    settled=False,
                    at=at,
                )
            )
        return True

    def undo(self, event: ChainEvent) -> None:
        """The chain took an event back; one that came again in another block stays."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.delete(repayments).where(_key(event)).where(repayments.c.block_hash == event.block_hash)
            )

    def unsettled(self) -> tuple[Unsettled, ...]:
        """Blocks that are to be looked at again, the lowest first."""
        query = sa.select(repayments.c.block_number, repayments.c.block_hash).where(~repayments.c.settled).distinct()
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(repayments.c.block_number)).all()
        return tuple(Unsettled(row.block_number, row.block_hash) for row in rows)

    def settle(self, block: Unsettled) -> None:
        """Its repayments are not looked at any more."""
        with self._engine.begin() as connection:
            connection.execute(sa.update(repayments).where(repayments.c.block_hash == block.hash).values(settled=True))

    def drop(self, block: Unsettled) -> int:
        """The chain has another block in its place; gives how many repayments count no more."""
        with self._engine.begin() as connection:
            return connection.execute(sa.delete(repayments).where(repayments.c.block_hash == block.hash)).rowcount

    def received(self) -> dict[str, int]:
        """What each worker paid back, in nRLC (added up here, never in SQL: decision 56)."""
        found: dict[str, int] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(sa.select(repayments.c.worker, repayments.c.nrlc)):
                found[row.worker] = found.get(row.worker, 0) + row.nrlc
        return found

    def undelivered(self) -> frozenset[str]:
        """Workers whose stake was refused by the chain: they got nothing."""
        return frozenset(worker for worker, deposit in self._grants.deposits().items() if deposit.was_refused)

    def debts(self) -> dict[str, Debt]:
        """What every worker owes and repaid that agreed to repay."""
        return debts_of(self._grants.grants(), self.received(), undelivered=self.undelivered())


def _key(event: ChainEvent) -> sa.ColumnElement[bool]:
    return (repayments.c.tx_hash == event.tx_hash) & (repayments.c.log_index == event.log_index)
