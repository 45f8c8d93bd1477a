"""`fairgrid pool usage`: who used the pool, and what was paid for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import asdict
from rich.table import Column, Table

from fairgrid.cli.csv_text import csv_text
from fairgrid.cli.output import console, emit_json, rlc
from fairgrid.cli.shared_options import POOL_FOLDER, JsonOption, PoolDatabaseOption, PoolFolderOption
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.pool.core.accounts import Account, AccountKind
    from fairgrid.pool.records.account_store import AccountCorrection, AccountStore

__all__ = ["show_usage"]

_COLUMNS = (
    "subject",
    "tasks",
    "completed",
    "leases",
    "metered",
    "cpu_ms",
    "wall_ms",
    "peak_memory_bytes",
    "bytes_in",
    "bytes_out",
    "nrlc",
)
_SHOWN = 50


class By(StrEnum):
    """Whose sums."""

    REQUESTER = "requester"
    APP = "app"
    WORKER = "worker"
    POOL = "pool"


def show_usage(
    directory: PoolFolderOption = POOL_FOLDER,
    database: PoolDatabaseOption = None,
    by: Annotated[By, typer.Option(help="Whose sums to show; pool: what the pool itself kept.")] = By.REQUESTER,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="First day (UTC), as 2026-01-31. Default: 30 days ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Last day (UTC). Default: today.")] = None,
    daily: Annotated[bool, typer.Option("--daily", help="A line for each day instead of one for all of them.")] = False,
    corrections: Annotated[
        bool, typer.Option("--corrections", help="Only what was taken off, a line for each: task, reason, amounts.")
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a table for spreadsheets.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what requesters, apps or workers used, and what was paid, from the pool's own accounts.

    The pool may run meanwhile. Times and memory are what workers' sandboxes measured, cut to what is possible; amounts
    are the chain's. Example: `fairgrid pool usage --dir pool --by worker --since 2026-01-01 --csv workers.csv`.
    """
    first = _day(since, "--since", datetime.now(UTC).date() - timedelta(days=30))
    last = _day(until, "--until", datetime.now(UTC).date())
    if last < first:
        raise UsageError(f"--since {first} is after --until {last}.")
    if corrections:
        if daily:
            raise UsageError("--corrections has a line for each correction: leave out --daily.")
        _corrections(_taken_off(database or directory / "pool.db", by.value, first, last), by, csv, as_json=as_json)
        return
    found = _read(database or directory / "pool.db", by.value, first, last, daily=daily)
    newcomers = _newcomers(database or directory / "pool.db")
    if csv is not None:
        _write(csv, found, daily=daily)
    if as_json:
        rows = [_document(day, account, daily=daily) for day, account in found]
        emit_json(
            {"status": "ok", "by": by.value, "since": first.isoformat(), "until": last.isoformat(), "accounts": rows}
            | {"newcomers": newcomers}
        )
        return
    _show(found, by, first, last, daily=daily)
    if newcomers["workers"]:
        console().print(
            f"Newcomers, since ever: {newcomers['workers']} sponsored with {rlc(newcomers['givenNrlc'])}; of "
            f"{rlc(newcomers['toRepayNrlc'])} to be repaid {rlc(newcomers['repaidNrlc'])} came back. Each of them: "
            f"`fairgrid pool workers`.",
            markup=False,
        )
    if csv is not None:
        console().print(f"{len(found)} lines are in {csv}.", markup=False)


def _day(text: str | None, option: str, default: date) -> date:
    try:
        return default if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} takes a day as 2026-01-31, not {text!r}.") from None


def _read(
    database: str | Path, kind: AccountKind, first: date, last: date, *, daily: bool
) -> list[tuple[str, Account]]:
    since, until = first.isoformat(), last.isoformat()
    with _accounts(database) as store:
        if daily:
            return [(row.day, row.account) for row in store.days(kind, since=since, until=until)]
        return [("", account) for account in store.sums(kind, since=since, until=until)]


def _newcomers(database: str | Path) -> dict[str, int]:
    """What newcomers were given as stakes since the pool began, and what came back."""
    from fairgrid.pool.records.repayment_store import RepaymentStore
    from fairgrid.pool.records.sponsor_store import SponsorStore

    with _accounts(database) as store:
        stakes = [grant.stake_nrlc for grant in SponsorStore(store.engine).grants() if grant.stake_nrlc]
        debts = RepaymentStore(store.engine).debts().values()
    return {
        "workers": len(stakes),
        "givenNrlc": sum(stakes),
        "toRepayNrlc": sum(debt.given_nrlc for debt in debts),
        "repaidNrlc": sum(debt.repaid_nrlc for debt in debts),
    }


def _taken_off(database: str | Path, kind: AccountKind, first: date, last: date) -> list[AccountCorrection]:
    with _accounts(database) as store:
        return store.corrections(kind, since=first.isoformat(), until=last.isoformat())


@contextmanager
def _accounts(database: str | Path) -> Iterator[AccountStore]:
    from sqlalchemy.exc import SQLAlchemyError

    from fairgrid.pool.records.account_store import AccountStore
    from fairgrid.seams.database import open_engine, without_password

    if isinstance(database, Path) and not database.exists():
        raise UsageError(f"There is no pool's database at {database}. Name the pool's --dir, or its --database.")
    engine = open_engine(database)
    try:
        yield AccountStore(engine)
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or error
        raise UsageError(
            f"The accounts in {without_password(str(database))} cannot be read ({reason}). A pool of this release "
            f"makes them when it starts."
        ) from error
    finally:
        engine.dispose()


def _corrections(found: list[AccountCorrection], by: By, csv: Path | None, *, as_json: bool) -> None:
    if csv is not None:
        columns = ("day", "task", "reason", *_COLUMNS)
        rows = [
            (line.day, line.task_id, line.reason, *(getattr(line.account, name) for name in _COLUMNS)) for line in found
        ]
        _write_table(csv, columns, rows)
    if as_json:
        lines = [
            {"day": line.day, "at": line.at, "taskId": line.task_id, "reason": line.reason}
            | _document("", line.account, daily=False)
            for line in found
        ]
        emit_json({"status": "ok", "by": by.value, "corrections": lines})
        return
    screen = console()
    if not found:
        screen.print("Nothing was taken off.", markup=False)
    for line in found[:_SHOWN]:
        screen.print(
            f"{line.day}  {line.account.subject}  {rlc(line.account.nrlc)}, {line.account.tasks} task(s)  "
            f"{line.task_id}  {line.reason}",
            markup=False,
        )
    if len(found) > _SHOWN:
        screen.print(f"{len(found) - _SHOWN} more lines: --csv FILE or --json has all of them.", markup=False)


def _document(day: str, account: Account, *, daily: bool) -> dict[str, Any]:
    values = {name: value for name, value in asdict(account).items() if name != "kind"}
    return ({"day": day} if daily else {}) | values


def _write(file: Path, found: list[tuple[str, Account]], *, daily: bool) -> None:
    columns = (("day",) if daily else ()) + _COLUMNS
    rows = [((day,) if daily else ()) + tuple(getattr(account, name) for name in _COLUMNS) for day, account in found]
    _write_table(file, columns, rows)


def _write_table(file: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    try:
        file.write_text(csv_text(columns, rows), newline="")
    except OSError as error:
        raise UsageError(f"{file} cannot be written ({error}). Name another file with --csv.") from error


def _show(found: list[tuple[str, Account]], by: By, first: date, last: date, *, daily: bool) -> None:
    screen = console()
    if not found:
        screen.print(f"Nothing was used from {first} to {last}.", markup=False)
        return
    days = ("day",) if daily else ()
    sums = ("tasks", "done", "processor", "ran", "peak memory", "in", "out")
    table = Table(*days, Column(by.value, no_wrap=True), *sums, Column("amount", no_wrap=True))
    for day, account in found[:_SHOWN]:
        table.add_row(
            *((day,) if daily else ()),
            account.subject,
            str(account.tasks),
            str(account.completed),
            _seconds(account.cpu_ms),
            _seconds(account.wall_ms),
            _bytes(account.peak_memory_bytes),
            _bytes(account.bytes_in),
            _bytes(account.bytes_out),
            rlc(account.nrlc),
        )
    screen.print(table)
    if len(found) > _SHOWN:
        screen.print(f"{len(found) - _SHOWN} more lines: --csv FILE or --json has all of them.", markup=False)


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:,.1f} s"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
