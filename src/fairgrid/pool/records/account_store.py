"""The accounts on disk: a row for each day, kind and subject. Every method blocks: call it from a thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.pool.core.accounts import Account, AccountKind, added_up
from fairgrid.pool.records import schema
from fairgrid.pool.records.bulk import BulkInsert
from fairgrid.seams.database import Uint256

__all__ = ["AccountStore", "DayAccount", "write_accounts"]

_COUNTS = ("tasks", "completed", "leases", "metered", "cpu_ms", "wall_ms", "peak_memory_bytes", "bytes_in", "bytes_out")

usage = sa.Table(
    "pool_usage",
    schema.metadata,
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("kind", sa.String(10), primary_key=True),
    sa.Column("subject", sa.String(42), primary_key=True),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in _COUNTS),
    sa.Column("nrlc", Uint256, nullable=False),
)
"""`Account` of one day (UTC) each."""

_write = BulkInsert(
    usage,
    ("day", "kind", "subject", *_COUNTS, "nrlc"),
    key="day, kind, subject",
    update={name: f"excluded.{name}" for name in (*_COUNTS, "nrlc")},
)
_PAGE = 400
_MOST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class DayAccount:
    """One row."""

    day: str
    account: Account


def write_accounts(connection: Connection, day: str, accounts: Iterable[Account]) -> None:
    """Add to the accounts of a day, within the transaction of whatever they belong to."""
    sums = added_up(accounts)
    for start in range(0, len(sums), _PAGE):
        page = sums[start : start + _PAGE]
        rows = connection.execute(
            sa.select(usage).where(usage.c.day == day).where(usage.c.subject.in_({account.subject for account in page}))
        )
        known = {(row.kind, row.subject): _account(row) for row in rows}
        _write(connection, [_row(day, known.get((added.kind, added.subject)), added) for added in page])


class AccountStore:
    """Reads the accounts, and forgets old days."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def sums(self, kind: AccountKind, *, since: str = "", until: str = "9999-12-31") -> list[Account]:
        """Each subject's sums over days ``since`` to ``until`` (both included), the highest amounts first."""
        sums = added_up(row.account for row in self.days(kind, since=since, until=until))
        return sorted(sums, key=lambda account: (-account.nrlc, -account.wall_ms, account.subject))

    def days(self, kind: AccountKind, *, since: str = "", until: str = "9999-12-31") -> list[DayAccount]:
        """Every row of days ``since`` to ``until`` (both included), in their order."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            rows = connection.execute(
                sa.select(usage)
                .where(usage.c.kind == kind)
                .where(usage.c.day >= since)
                .where(usage.c.day <= until)
                .order_by(usage.c.day, usage.c.subject)
            ).all()
        return [DayAccount(row.day, _account(row)) for row in rows]

    def purge(self, before: str, *, limit: int) -> int:
        """Delete up to ``limit`` rows of days before ``before``; gives how many went."""
        with self._engine.begin() as connection:
            keys = connection.execute(
                sa.select(usage.c.day, usage.c.kind, usage.c.subject).where(usage.c.day < before).limit(limit)
            ).all()
            if keys:
                connection.execute(
                    sa.delete(usage)
                    .where(usage.c.day == sa.bindparam("d"))
                    .where(usage.c.kind == sa.bindparam("k"))
                    .where(usage.c.subject == sa.bindparam("s")),
                    [{"d": key.day, "k": key.kind, "s": key.subject} for key in keys],
                )
        return len(keys)


def _account(row: Any) -> Account:
    return Account(kind=row.kind, subject=row.subject, nrlc=row.nrlc, **{name: getattr(row, name) for name in _COUNTS})


def _row(day: str, known: Account | None, added: Account) -> tuple[Any, ...]:
    whole = added if known is None else known.plus(added)
    counts = (min(getattr(whole, name), _MOST) for name in _COUNTS)
    return (day, whole.kind, whole.subject, *counts, f"{whole.nrlc:064x}")
