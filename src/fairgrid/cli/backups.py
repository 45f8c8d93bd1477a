"""`fairgrid pool backup|restore` and `fairgrid worker backup|restore`: all that a service needs, in one sealed file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.output import console, emit_json
from fairgrid.cli.shared_options import JsonOption, PoolDatabaseOption
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fairgrid.wallet.backup import BackupSummary
    from fairgrid.wallet.backup_file import BackupKind

__all__ = ["add_pool_backups", "add_worker_backups"]

_File = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="The backup. With --keep: a folder that backups are collected in."),
]
_Backup = Annotated[Path, typer.Argument(metavar="FILE", help="The backup, as `backup` wrote it.")]
_Directory = Annotated[
    Path, typer.Option("--dir", help="The folder of the service: key, settings and SQLite database.")
]
_NewDirectory = Annotated[
    Path, typer.Option("--dir", help="Where to put it: a folder that does not exist, or is empty.")
]
_Passphrase = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="A file with the passphrase in its first line, mode 0600. Default: $FAIRGRID_BACKUP_PASSPHRASE, or asked.",
    ),
]
_Check = Annotated[bool, typer.Option("--check", help="Write nothing: decrypt FILE and check every byte of it.")]
_Keep = Annotated[
    int | None,
    typer.Option(
        "--keep",
        min=1,
        help="FILE is a folder: write a new backup into it, and keep the newest so many of this service.",
    ),
]
_Policy = Annotated[Path | None, typer.Option("--policy", help="The pool's policy, if it lies outside of DIR.")]
_Network = Annotated[
    Path, typer.Option("--network", metavar="NETWORK", help="Its name or file; a backup of another pool is refused.")
]


def add_pool_backups(app: typer.Typer) -> None:
    """Add the commands to `fairgrid pool`."""
    app.command("backup")(backup_pool)
    app.command("restore")(restore_pool)


def add_worker_backups(app: typer.Typer) -> None:
    """Add the commands to `fairgrid worker`."""
    app.command("backup")(backup_worker)
    app.command("restore")(restore_worker)


def backup_pool(
    file: _File,
    directory: _Directory = Path("pool"),
    database: PoolDatabaseOption = None,
    policy: _Policy = None,
    keep: _Keep = None,
    check: _Check = False,
    passphrase_file: _Passphrase = None,
    as_json: JsonOption = False,
) -> None:
    """Write the pool's database, keys and policy into one encrypted file, while the pool runs.

    The file is read again and checked before it gets its name. Whoever has it and the passphrase has the pool's key.
    Example, for cron: `fairgrid pool backup /backups --dir pool --keep 14 --passphrase-file /etc/fairgrid/passphrase`.
    """
    from fairgrid.pool.records.backup import POOL_BACKUP, identity_of

    more = {} if policy is None or policy.parent.resolve() == directory.resolve() else {"policy.toml": policy}
    if policy is not None and not policy.is_file():
        raise UsageError(f"There is no policy file at {policy}. Name an existing one, or leave --policy out.")
    _backup(
        POOL_BACKUP,
        file,
        directory=directory,
        database=database or directory / POOL_BACKUP.database,
        identity=identity_of,
        account="workerpool",
        more=more,
        keep=keep,
        check=check,
        passphrase_file=passphrase_file,
        as_json=as_json,
    )


def restore_pool(
    file: _Backup,
    directory: _NewDirectory,
    network: _Network,
    database: PoolDatabaseOption = None,
    passphrase_file: _Passphrase = None,
    as_json: JsonOption = False,
) -> None:
    """Put a pool back from its backup; `fairgrid pool start` then catches up with the chain.

    Nothing is ever overwritten. Start it only when the old pool is gone: two with one key take each other's nonces.

    Example: `fairgrid pool restore pool.backup --dir pool --network net.json`.
    """
    from fairgrid.chain.network import load_network
    from fairgrid.pool.records.backup import POOL_BACKUP, expected_of, mark_restored

    _restore(
        POOL_BACKUP,
        file,
        directory=directory,
        database=database,
        expected=expected_of(load_network(network)),
        finish=mark_restored,
        passphrase_file=passphrase_file,
        as_json=as_json,
    )


def backup_worker(
    file: _File,
    directory: _Directory = Path("~/.fairgrid/worker"),
    keep: _Keep = None,
    check: _Check = False,
    passphrase_file: _Passphrase = None,
    as_json: JsonOption = False,
) -> None:
    """Write the worker's database, key and policy into one encrypted file, while the worker runs.

    It is for the key and the settings. What the worker computed after the backup is not in it: a result that waits for
    its reveal then can only be opened by the machine that has it.

    Example: `fairgrid worker backup worker.backup --passphrase-file passphrase`.
    """
    from fairgrid.worker.records.backup import WORKER_BACKUP, identity_of

    directory = directory.expanduser()
    _backup(
        WORKER_BACKUP,
        file,
        directory=directory,
        database=directory / WORKER_BACKUP.database,
        identity=identity_of,
        account="worker",
        more={},
        keep=keep,
        check=check,
        passphrase_file=passphrase_file,
        as_json=as_json,
    )


def restore_worker(
    file: _Backup,
    directory: _NewDirectory,
    network: _Network,
    passphrase_file: _Passphrase = None,
    as_json: JsonOption = False,
) -> None:
    """Put a worker back from its backup. Start it only when the old one is gone: two would share one key's nonces.

    Example: `fairgrid worker restore worker.backup --dir worker --network net.json`.
    """
    from fairgrid.chain.network import load_network
    from fairgrid.worker.records.backup import WORKER_BACKUP, expected_of, mark_restored

    _restore(
        WORKER_BACKUP,
        file,
        directory=directory.expanduser(),
        database=None,
        expected=expected_of(load_network(network)),
        finish=mark_restored,
        passphrase_file=passphrase_file,
        as_json=as_json,
    )


def _backup(
    kind: BackupKind,
    file: Path,
    *,
    directory: Path,
    database: str | Path,
    identity: Callable[[Engine], Mapping[str, str]],
    account: str,
    more: Mapping[str, Path],
    keep: int | None,
    check: bool,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    from fairgrid.seams.database import open_engine
    from fairgrid.wallet.backup import backup_name, check_backup, rotate_backups, write_backup

    if check and keep is not None:
        raise UsageError("--check reads one file, --keep writes into a folder: give one of them.")
    if check:
        _tell(check_backup(kind, file, _passphrase(passphrase_file)), file, "whole", [], as_json=as_json)
        return
    if isinstance(database, Path) and not database.is_file():
        raise UsageError(f"There is no database at {database}. Name the {kind.name}'s folder with --dir.")
    if keep is not None and not file.is_dir():
        raise UsageError(f"With --keep, {file} must be a folder that exists.")
    if keep is None and file.is_dir():
        raise UsageError(f"{file} is a folder. Name a file, or say with --keep how many backups to keep in it.")
    passphrase = _passphrase(passphrase_file, twice=True)
    engine = open_engine(database)
    try:
        whose = identity(engine)[account]
        target = file / backup_name(kind, whose, time.time()) if keep is not None else file
        summary = write_backup(
            kind, target, passphrase, directory=directory, engine=engine, identity=identity, more=more
        )
    finally:
        engine.dispose()
    gone = rotate_backups(file, kind=kind, account=whose, keep=keep) if keep is not None else []
    _tell(summary, target, "written and checked", gone, as_json=as_json)


def _restore(
    kind: BackupKind,
    file: Path,
    *,
    directory: Path,
    database: str | Path | None,
    expected: Mapping[str, str],
    finish: Callable[[Engine, float], None],
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    from fairgrid.wallet.backup import restore_backup

    summary = restore_backup(
        kind,
        file,
        _passphrase(passphrase_file),
        directory=directory,
        database=database,
        expected=expected,
        finish=finish,
    )
    _tell(summary, file, f"restored to {directory}", [], as_json=as_json)


def _passphrase(path: Path | None, *, twice: bool = False) -> str:
    import os
    import stat

    if path is not None:
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise UsageError(f"The passphrase file {path} can be read by other users. Run `chmod 600 {path}`.")
            lines = path.read_text().splitlines()
        except (OSError, ValueError) as error:
            raise UsageError(f"The passphrase file {path} cannot be read ({error}).") from error
        if not lines or not lines[0]:
            raise UsageError(f"The first line of the passphrase file {path} is empty.")
        return lines[0]
    given = os.environ.get("FAIRGRID_BACKUP_PASSPHRASE")
    if given:
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            "A backup needs a passphrase: give --passphrase-file, or set FAIRGRID_BACKUP_PASSPHRASE. Here is no "
            "terminal to ask at."
        )
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True))


def _tell(summary: BackupSummary, file: Path, what: str, gone: list[Path], *, as_json: bool) -> None:
    if as_json:
        emit_json(_document(summary, file, gone))
        return
    screen = console()
    rows = sum(summary.rows.values())
    made = datetime.fromtimestamp(summary.made_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    screen.print(f"{file}: {what}.", markup=False, style="bold", soft_wrap=True)
    screen.print(
        f"  {summary.kind} of {made}, {summary.size_bytes:,} bytes; {summary.dialect}, {rows:,} rows in "
        f"{len(summary.rows)} tables; {', '.join(summary.files)}",
        markup=False,
        soft_wrap=True,
    )
    for path in gone:
        screen.print(f"  deleted {path}", markup=False, soft_wrap=True)


def _document(summary: BackupSummary, file: Path, gone: list[Path]) -> dict[str, Any]:
    return {
        "file": str(file),
        "kind": summary.kind,
        "identity": dict(summary.identity),
        "madeAt": summary.made_at,
        "version": summary.version,
        "database": summary.dialect,
        "revision": summary.revision,
        "rows": dict(summary.rows),
        "files": list(summary.files),
        "sizeBytes": summary.size_bytes,
        "deleted": [str(path) for path in gone],
    }
