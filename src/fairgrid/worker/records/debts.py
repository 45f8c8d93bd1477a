"""What a worker owes its sponsors, and every transaction that it signed to pay it back: on disk before it is sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

import sqlalchemy as sa

from fairgrid.chain.interface import SignedTransaction
from fairgrid.chain.transaction_rows import transaction_columns, transaction_of, transaction_values
from fairgrid.seams.database import Uint256
from fairgrid.worker.core.debts import Debt
from fairgrid.worker.records.store import WorkerStore

__all__ = ["DebtStore", "Repayment", "RepaymentState"]

_metadata = sa.MetaData()
_debt = sa.Table(
    "worker_debt",
    _metadata,
    sa.Column("workerpool", sa.String(42), primary_key=True),
    sa.Column("asked_block", sa.BigInteger, nullable=False),
    sa.Column("earned_before", Uint256, nullable=False),
    sa.Column("sponsor", sa.String(42), nullable=False),
    sa.Column("deposit_tx", sa.String(66), nullable=False),
    sa.Column("claimed_nrlc", Uint256, nullable=False),
    sa.Column("given_nrlc", Uint256, nullable=False),
    sa.Column("given_block", sa.BigInteger, nullable=False),
    sa.Column("repaid_nrlc", Uint256, nullable=False),
    sa.Column("pool_counts_nrlc", Uint256, nullable=False),
    sa.Column("is_settled", sa.Boolean, nullable=False),
    sa.Column("refusal", sa.String(500), nullable=False),
)
_repayment = sa.Table(
    "worker_repayment",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("workerpool", sa.String(42), nullable=False),
    sa.Column("nrlc", Uint256, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("failing_since_block", sa.BigInteger, nullable=False),
    sa.Column("signed_at", sa.Float, nullable=False),
)
_transaction = sa.Table(
    "worker_repayment_transaction",
    _metadata,
    sa.Column("number", sa.Integer, sa.ForeignKey("worker_repayment.number"), primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),
    *transaction_columns(),
)
"""Versions of one payment under one nonce, so that at most one of them is mined."""


class RepaymentState(StrEnum):
    """What became of a payment."""

    OPEN = "open"
    """It counts as paid, and is sent until it is mined deep enough."""
    SETTLED = "settled"
    FAILED = "failed"
    """The chain refused it, or another transaction has its nonce, both so deep that it stays so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repayment:
    """One payment to a sponsor; ``signed_at`` is local time in seconds since the epoch."""

    number: int
    workerpool: str
    nrlc: int
    state: RepaymentState
    failing_since_block: int
    """Since which block it looks as if it failed; 0: it does not."""
    signed_at: float
    versions: tuple[SignedTransaction, ...]

    @property
    def hashes(self) -> frozenset[str]:
        return frozenset(version.hash for version in self.versions)


class DebtStore:
    """The tables of `r0009_debts`, in the worker's own file. Blocking: call it from a thread."""

    def __init__(self, store: WorkerStore) -> None:
        self._store = store

    def debts(self) -> tuple[Debt, ...]:
        """What was asked for, claimed and given, by workerpool."""
        with self._store.database.connect().execution_options(read_only=True) as connection:
            rows = connection.execute(sa.select(_debt).order_by(_debt.c.workerpool)).mappings().all()
        return tuple(Debt(**row) for row in rows)

    def debt(self, workerpool: str) -> Debt | None:
        """That of one workerpool."""
        return next((debt for debt in self.debts() if debt.workerpool == workerpool), None)

    def put(self, debt: Debt) -> None:
        """Write it in place of what was known of its workerpool."""
        values = asdict(debt) | {"refusal": debt.refusal[:500]}
        with self._store.database.begin() as connection:
            connection.execute(sa.delete(_debt).where(_debt.c.workerpool == debt.workerpool))
            connection.execute(sa.insert(_debt).values(**values))

    def drop(self, workerpool: str) -> None:
        """The pool gave nothing."""
        with self._store.database.begin() as connection:
            connection.execute(sa.delete(_debt).where(_debt.c.workerpool == workerpool))

    def add(self, workerpool: str, nrlc: int, transaction: SignedTransaction, signed_at: float) -> int:
        """Write a signed payment, before it is sent; gives its number."""
        with self._store.database.begin() as connection:
            written = connection.execute(
                sa.insert(_repayment).values(
                    workerpool=workerpool,
                    nrlc=nrlc,
                    state=RepaymentState.OPEN.value,
                    failing_since_block=0,
                    signed_at=signed_at,
                )
            )
            (number,) = written.inserted_primary_key or (0,)
            connection.execute(
                sa.insert(_transaction).values(number=number, place=0, **transaction_values(transaction))
            )
        return int(number)

    def add_version(self, payment: Repayment, transaction: SignedTransaction, signed_at: float) -> None:
        """Write a dearer version of a payment, before it is sent."""
        with self._store.database.begin() as connection:
            connection.execute(
                sa.insert(_transaction).values(
                    number=payment.number, place=len(payment.versions), **transaction_values(transaction)
                )
            )
            connection.execute(
                sa.update(_repayment).where(_repayment.c.number == payment.number).values(signed_at=signed_at)
            )

    def mark(self, payment: Repayment, state: RepaymentState, *, failing_since_block: int = 0) -> None:
        """Remember what became of a payment."""
        with self._store.database.begin() as connection:
            connection.execute(
                sa.update(_repayment)
                .where(_repayment.c.number == payment.number)
                .values(state=state.value, failing_since_block=failing_since_block)
            )

    def repayments(self, workerpool: str = "") -> tuple[Repayment, ...]:
        """All payments, or those for one workerpool, the first first."""
        versions: dict[int, list[SignedTransaction]] = {}
        query = sa.select(_repayment).order_by(_repayment.c.number)
        if workerpool:
            query = query.where(_repayment.c.workerpool == workerpool)
        with self._store.database.connect().execution_options(read_only=True) as connection:
            signed = sa.select(_transaction).order_by(_transaction.c.number, _transaction.c.place)
            for row in connection.execute(signed):
                versions.setdefault(row.number, []).append(transaction_of(row))
            rows = connection.execute(query).all()
        return tuple(
            Repayment(
                number=row.number,
                workerpool=row.workerpool,
                nrlc=row.nrlc,
                state=RepaymentState(row.state),
                failing_since_block=row.failing_since_block,
                signed_at=row.signed_at,
                versions=tuple(versions.get(row.number, ())),
            )
            for row in rows
        )
