"""The accounts on disk: a row for each day, kind and subject. Every method blocks: call it from a thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.pool.core.accounts import Account, AccountKind, Correction, added_up, day_of
from fairgrid.pool.records import schema
from fairgrid.pool.records.bulk import Batch, BulkInsert
from fairgrid.seams.database import Uint256

__all__ = ["AccountCorrection", "AccountKeeper", "AccountStore", "DayAccount", "write_corrections"]

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

_CORRECTED = tuple(name for name in _COUNTS if name != "peak_memory_bytes")

corrections = sa.Table(
    "pool_usage_correction",
    schema.metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("day", sa.String(10), nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("task_id", sa.String(66), nullable=False),
    sa.Column("reason", sa.String(200), nullable=False),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("subject", sa.String(42), nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in _CORRECTED),
    sa.Column("nrlc", Uint256, nullable=False),
)
"""What is taken off, as numbers that are not negative, on the day on which it was found out."""

_write = BulkInsert(
    usage,
    ("day", "kind", "subject", *_COUNTS, "nrlc"),
    key="day, kind, subject",
    update={name: f"excluded.{name}" for name in (*_COUNTS, "nrlc")},
)
_PAGE = 400
_MOST_REMEMBERED = 100_000
_MOST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class DayAccount:
    """One subject's sums of one day, less what was taken off on that day."""

    day: str
    account: Account


@dataclass(frozen=True, slots=True)
class AccountCorrection:
    """What was taken off a subject's sums: ``account`` has negative numbers. ``at`` is local time in seconds."""

    day: str
    at: float
    task_id: str
    reason: str
    account: Account


class AccountKeeper:
    """Adds to the accounts of a day. Remembers the sums of the newest day, so that most need not be read again."""

    def __init__(self) -> None:
        self._day = ""
        self._sums: dict[tuple[str, str], Account] = {}
        self._changed: list[tuple[Any, ...]] = []

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Goes around one transaction; what was believed to be written in one that failed is forgotten."""
        try:
            yield
        except BaseException:
            self._sums = {}
            raise
        finally:
            self._changed = []

    def prepare(self, connection: Connection, day: str, accounts: Iterable[Account]) -> None:
        """Read what must be known to add to the accounts of a day."""
        if day != self._day or len(self._sums) > _MOST_REMEMBERED:
            self._day, self._sums = day, {}
        added = added_up(accounts)
        missing = {account.subject for account in added if (account.kind, account.subject) not in self._sums}
        wanted = sorted(missing)
        for start in range(0, len(wanted), _PAGE):
            subjects = wanted[start : start + _PAGE]
            rows = connection.execute(sa.select(usage).where(usage.c.day == day).where(usage.c.subject.in_(subjects)))
            self._sums.update(((row.kind, row.subject), _account(row)) for row in rows)
        for account in added:
            key = (account.kind, account.subject)
            known = self._sums.get(key)
            whole = self._sums[key] = account if known is None else known.plus(account)
            self._changed.append(_row(day, whole))

    def write(self, batch: Batch) -> None:
        """Add what was given to `prepare`, within the transaction of whatever it belongs to."""
        _write(batch, self._changed)


def write_corrections(connection: Connection, at: float, found: Iterable[Correction]) -> None:
    """Take off what the chain took back; the rows of the days on which it was counted stay as they are."""
    rows = [
        {
            "day": day_of(at),
            "at": at,
            "task_id": correction.task_id,
            "reason": correction.reason[:200],
            "kind": account.kind,
            "subject": account.subject,
            "nrlc": account.nrlc,
            **{name: getattr(account, name) for name in _CORRECTED},
        }
        for correction in found
        for account in correction.accounts
    ]
    if rows:
        connection.execute(sa.insert(corrections), rows)


class AccountStore:
    """Reads the accounts, and forgets old days."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """For other tables of the same pool."""
        return self._engine

    def sums(self, kind: AccountKind, *, since: str = "", until: str = "9999-12-31") -> list[Account]:
        """Each subject's sums over days ``since`` to ``until`` (both included), the highest amounts first."""
        sums = added_up(row.account for row in self.days(kind, since=since, until=until))
        return sorted(sums, key=lambda account: (-account.nrlc, -account.wall_ms, account.subject))

    def days(self, kind: AccountKind, *, since: str = "", until: str = "9999-12-31") -> list[DayAccount]:
        """Every day's sums of days ``since`` to ``until`` (both included), in their order. They are negative where more
        was taken off than came."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            rows = connection.execute(
                sa.select(usage).where(usage.c.kind == kind).where(usage.c.day >= since).where(usage.c.day <= until)
            ).all()
        found = {(row.day, row.subject): _account(row) for row in rows}
        for correction in self.corrections(kind, since=since, until=until):
            key = (correction.day, correction.account.subject)
            known = found.get(key)
            found[key] = correction.account if known is None else known.plus(correction.account)
        return [DayAccount(day, found[day, subject]) for day, subject in sorted(found)]

    def corrections(self, kind: AccountKind, *, since: str = "", until: str = "9999-12-31") -> list[AccountCorrection]:
        """What was taken off on days ``since`` to ``until`` (both included), in order."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            rows = connection.execute(
                sa.select(corrections)
                .where(corrections.c.kind == kind)
                .where(corrections.c.day >= since)
                .where(corrections.c.day <= until)
                .order_by(corrections.c.number)
            ).all()
        return [
            AccountCorrection(
                row.day,
                row.at,
                row.task_id,
                row.reason,
                Account(
                    row.kind, row.subject, nrlc=row.nrlc, **{name: getattr(row, name) for name in _CORRECTED}
                ).negated(),
            )
            for row in rows
        ]

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
            numbers = (
                connection.execute(sa.select(corrections.c.number).where(corrections.c.day < before).limit(limit))
                .scalars()
                .all()
            )
            if numbers:
                connection.execute(sa.delete(corrections).where(corrections.c.number.in_(numbers)))
        return len(keys) + len(numbers)


_counts_of = attrgetter(*_COUNTS)


def _account(row: Any) -> Account:
    return Account(row.kind, row.subject, *_counts_of(row), row.nrlc)  # type: ignore[call-arg]


def _row(day: str, whole: Account) -> tuple[Any, ...]:
    counts = _counts_of(whole)
    if max(counts) > _MOST:
        counts = tuple(min(count, _MOST) for count in counts)
    return (day, whole.kind, whole.subject, *counts, f"{whole.nrlc:064x}")
