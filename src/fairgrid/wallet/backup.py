"""A service's backup: its database, keys and settings in one sealed file, written while the service runs.

What the file is made of: `backup_file`. Every function blocks: call it from a thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from fairgrid import __version__
from fairgrid.errors import HostFailure, UsageError, VerificationError
from fairgrid.seams.database import open_engine, without_password
from fairgrid.seams.database_copy import check_copy, copy_database, load_copy
from fairgrid.wallet.backup_file import DATABASE_PART, FILES_PART, BackupContents, BackupKind, pack, unpack
from fairgrid.wallet.sealed_file import SealedWriter, read_about

__all__ = ["BackupSummary", "backup_name", "check_backup", "restore_backup", "rotate_backups", "write_backup"]

_MAX_FILE_BYTES: Final = 16 << 20
_MAX_FILES: Final = 1_000
_SUFFIX: Final = ".backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSummary:
    """What a file holds, as it was found when every byte of it was checked."""

    kind: str
    identity: Mapping[str, str]
    """Chain, hub and account that it belongs to."""
    made_at: float
    """Local time of the machine that wrote it, in seconds."""
    version: str
    """Of fairgrid."""
    dialect: str
    revision: str
    rows: Mapping[str, int]
    files: tuple[str, ...]
    size_bytes: int


def write_backup(
    kind: BackupKind,
    path: Path,
    passphrase: str,
    *,
    directory: Path,
    engine: Engine,
    identity: Callable[[Engine], Mapping[str, str]],
    more: Mapping[str, Path] | None = None,
    scrypt_n: int | None = None,
) -> BackupSummary:
    """Write ``path``, read it again and check every byte; only then it has its name. The service may run meanwhile.

    ``more`` are files from elsewhere, by the name that they get in the folder. ``identity`` reads whom the database
    belongs to. The database lies unencrypted in ``directory`` for a moment, where only its owner reads.

    Raises:
        UsageError: the file exists, the folder is not such a service's, or the passphrase is too short.
        ServiceUnavailable: the database does not answer.
        HostFailure: the disk is full, or cannot be written.
        VerificationError: what was written cannot be read again.
    """
    if path.exists():
        raise UsageError(f"{path} exists already. Nothing was overwritten; name another file, or a folder with --keep.")
    if not directory.is_dir():
        raise UsageError(f"There is no folder {directory}. Name the one of the {kind.name}, with --dir.")
    belongs = identity(engine)
    files = _files_of(kind, directory) | dict(more or {})
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    options = {} if scrypt_n is None else {"scrypt_n": scrypt_n}
    with _writing(path), tempfile.TemporaryDirectory(prefix=".backup-", dir=directory) as scratch:
        copy = copy_database(engine, Path(scratch), package=kind.package, prefix=kind.prefix, transient=kind.transient)
        contents = BackupContents(belongs, time.time(), __version__, copy, tuple(sorted(files)))
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                about = {"kind": kind.name, "madeAt": contents.made_at, "version": __version__, **belongs}
                sealed = SealedWriter(file, passphrase, about=about, **options)
                pack(sealed, contents, Path(scratch), files)
                sealed.finish()
                file.flush()
                os.fsync(file.fileno())
            shutil.rmtree(scratch, ignore_errors=True)
            Path(scratch).mkdir(mode=0o700)
            summary = check_backup(kind, partial, passphrase, scratch_in=Path(scratch), name=str(path))
            os.link(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(path.parent)
    return summary


def check_backup(
    kind: BackupKind, path: Path, passphrase: str, *, scratch_in: Path | None = None, name: str = ""
) -> BackupSummary:
    """Decrypt everything, and check the database inside. The database lies in ``scratch_in`` meanwhile (default: the
    system's folder for such files).

    Raises:
        UsageError: there is no such file, it is no backup of this kind, or the passphrase is wrong.
        VerificationError: it was cut short or changed, or the database inside is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="fairgrid-check-", dir=scratch_in) as scratch:
        contents = unpack(kind, path, passphrase, Path(scratch), name=name)
        check_copy(contents.database, Path(scratch) / DATABASE_PART)
        return _summary(kind, path, contents)


def restore_backup(
    kind: BackupKind,
    path: Path,
    passphrase: str,
    *,
    directory: Path,
    database: str | Path | None,
    expected: Mapping[str, str],
    finish: Callable[[Engine, float], None],
) -> BackupSummary:
    """Put a service back into a folder that does not exist or is empty, and its database to ``database`` (default: a
    SQLite file in the folder). Everything is checked before the first byte is put; the folder appears whole.

    ``expected`` is the identity that the backup must have. ``finish`` gets the restored database, and when the backup
    was made, before the folder has its name.

    Raises:
        UsageError: something would be overwritten, the backup is another's, or its database is of another kind.
        ServiceUnavailable: the database does not answer.
        HostFailure: the disk is full, or cannot be written.
        VerificationError: the file was cut short or changed.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is not empty. Nothing was overwritten; name a folder that does not exist.")
    with _writing(directory), _scratch_beside(directory) as scratch:
        contents = unpack(kind, path, passphrase, scratch)
        _refuse_stranger(kind, path, contents.identity, expected)
        parts = scratch / DATABASE_PART
        check_copy(contents.database, parts)
        files = scratch / FILES_PART
        files.mkdir(mode=0o700, exist_ok=True)
        files.chmod(0o700)
        target = database if isinstance(database, str) and "://" in database else Path(database) if database else None
        if contents.database.dialect == "postgresql":
            if not isinstance(target, str):
                raise UsageError(
                    f"{path} holds a PostgreSQL database: name an empty one, with --database postgresql://USER@HOST/NAME."
                )
            engine = open_engine(target)
            try:
                load_copy(contents.database, parts, engine, package=kind.package, prefix=kind.prefix)
                finish(engine, contents.made_at)
            finally:
                engine.dispose()
        else:
            _restore_sqlite(kind, contents, parts, files, target, finish)
        with contextlib.suppress(FileNotFoundError):
            directory.rmdir()
        files.rename(directory)
        _sync_folder(directory.parent)
    return _summary(kind, path, contents)


def rotate_backups(folder: Path, *, kind: BackupKind, account: str, keep: int) -> list[Path]:
    """Delete all but the newest ``keep`` backups of one service in ``folder``; gives what was deleted.

    Only files with the names that `backup_name` gives are looked at, and only those whose header names the account.
    """
    pattern = re.compile(rf"{kind.name}-{account[2:10].lower()}-\d{{8}}T\d{{6}}Z{re.escape(_SUFFIX)}")
    found = sorted((path for path in folder.iterdir() if pattern.fullmatch(path.name)), key=lambda path: path.name)
    gone = []
    for path in found[: max(len(found) - keep, 0)]:
        with contextlib.suppress(UsageError, VerificationError):
            with path.open("rb") as file:
                about = read_about(file, name=str(path))
            if account in about.values():
                path.unlink()
                gone.append(path)
    return gone


def backup_name(kind: BackupKind, account: str, at: float) -> str:
    """The name of a backup in a folder of them: kind, account and time."""
    return f"{kind.name}-{account[2:10].lower()}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(at))}{_SUFFIX}"


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostFailure(
            f"{path} cannot be written: {error.strerror or error}. Nothing was left behind; make room, or name another "
            f"place, and try again."
        ) from error


@contextlib.contextmanager
def _scratch_beside(directory: Path) -> Iterator[Path]:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}.restoring-", dir=directory.parent) as scratch:
        yield Path(scratch)


def _files_of(kind: BackupKind, directory: Path) -> dict[str, Path]:
    """Keys and settings: small files of the folder, and of the folders in it."""
    found: dict[str, Path] = {}
    for path in sorted(directory.iterdir()):
        if path.name in kind.left_out or path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            for inner in sorted(path.iterdir()):
                if _is_kept(kind, inner):
                    found[f"{path.name}/{inner.name}"] = inner
        elif _is_kept(kind, path):
            found[path.name] = path
    if len(found) > _MAX_FILES:
        raise UsageError(f"{directory} has {len(found)} files. It does not look like the folder of a {kind.name}.")
    return found


def _is_kept(kind: BackupKind, path: Path) -> bool:
    if path.name.startswith((".", kind.database)) or path.suffix in (".lock", ".log", ".partial", ".sock"):
        return False
    return path.is_file() and not path.is_symlink() and path.stat().st_size <= _MAX_FILE_BYTES


def _refuse_stranger(kind: BackupKind, path: Path, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    for name, value in expected.items():
        if found.get(name) != value:
            raise UsageError(
                f"{path} is the backup of a {kind.name} whose {name.replace('_', ' ')} is {found.get(name)}, not "
                f"{value}. Nothing was restored; name the network file that it belongs to."
            )


def _restore_sqlite(
    kind: BackupKind,
    contents: BackupContents,
    parts: Path,
    files: Path,
    target: str | Path | None,
    finish: Callable[[Engine, float], None],
) -> None:
    if isinstance(target, str):
        raise UsageError(
            f"The backup holds a SQLite database; it cannot go to {without_password(target)}. Leave --database out, or "
            f"give a path."
        )
    place = target if target is not None else files / kind.database
    if place.exists():
        raise UsageError(f"{place} exists already. Nothing was overwritten; name another --database.")
    source = parts / contents.database.parts[0].name
    engine = open_engine(source)
    try:
        finish(engine, contents.made_at)
    finally:
        engine.dispose()
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, place)


def _summary(kind: BackupKind, path: Path, contents: BackupContents) -> BackupSummary:
    return BackupSummary(
        kind=kind.name,
        identity=contents.identity,
        made_at=contents.made_at,
        version=contents.version,
        dialect=contents.database.dialect,
        revision=contents.database.revision,
        rows=contents.database.rows,
        files=contents.files,
        size_bytes=path.stat().st_size,
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
