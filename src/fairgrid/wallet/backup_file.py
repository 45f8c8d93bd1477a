"""The file of a backup: a `sealed_file` around a tar stream, and what may be in it.

First ``contents.json``, then the parts of the database, then the files of the service's folder. Blocking.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, cast

from fairgrid.errors import UsageError
from fairgrid.seams.database_copy import DatabaseCopy, Part
from fairgrid.wallet.sealed_file import DamagedFile, SealedReader, SealedWriter

__all__ = ["DATABASE_PART", "FILES_PART", "BackupContents", "BackupKind", "pack", "unpack"]

FORMAT: Final = 1
DATABASE_PART: Final = "database/"
FILES_PART: Final = "files/"
"""How the names of the database's parts begin, and those of files."""

_CONTENTS: Final = "contents.json"
_MAX_CONTENTS_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupKind:
    """What a service's backup is made of."""

    name: str
    """``pool`` or ``worker``; a file of the one is never restored as the other."""
    package: str
    """Its migrations."""
    prefix: str
    """With which the names of its tables begin."""
    database: str
    """Name of the SQLite file in its folder."""
    transient: frozenset[str] = frozenset()
    """Tables whose rows mean nothing after a restore."""
    left_out: frozenset[str] = frozenset()
    """Names in its folder that are not kept: caches, and work that is begun anew."""


@dataclass(frozen=True, slots=True)
class BackupContents:
    """What stands in ``contents.json``."""

    identity: Mapping[str, str]
    """Chain, hub and account that it belongs to."""
    made_at: float
    """Local time of the machine that wrote it, in seconds."""
    version: str
    """Of fairgrid."""
    database: DatabaseCopy
    files: tuple[str, ...]


def pack(sealed: SealedWriter, contents: BackupContents, parts: Path, files: Mapping[str, Path]) -> None:
    """Write the database's parts, which lie in ``parts``, and the files, by the names that they get.

    Raises:
        OSError: there is no room, or a file is gone.
    """
    document = json.dumps(dataclasses.asdict(contents) | {"format": FORMAT}).encode()
    with tarfile.open(fileobj=cast(IO[bytes], sealed), mode="w|", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, _CONTENTS, io.BytesIO(document), len(document))
        for part in contents.database.parts:
            path = parts / part.name
            with path.open("rb") as file:
                _add(tar, DATABASE_PART + part.name, file, path.stat().st_size)
        for name, path in files.items():
            data = path.read_bytes()
            _add(tar, FILES_PART + name, io.BytesIO(data), len(data))


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    tar.addfile(member, file)


def unpack(kind: BackupKind, path: Path, passphrase: str, scratch: Path, *, name: str = "") -> BackupContents:
    """Decrypt everything into ``scratch``; gives what it is. The names inside were checked.

    Raises:
        UsageError: there is no such file, it is no backup of this kind, or the passphrase is wrong.
        DamagedFile: it was cut short or changed, or holds what it does not say.
    """
    shown = name or str(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"The backup {shown} cannot be read ({error.strerror}). Name an existing file.") from error
    with file:
        reader = SealedReader(file, passphrase, name=shown)
        if reader.about.get("kind") != kind.name:
            raise UsageError(f"{shown} is a backup of a {reader.about.get('kind')}, not of a {kind.name}.")
        contents: BackupContents | None = None
        members: set[str] = set()
        try:
            with tarfile.open(fileobj=io.BufferedReader(reader, 1 << 20), mode="r|") as tar:
                for member in tar:
                    content = tar.extractfile(member)
                    if content is None or not _is_plain(member.name):
                        raise DamagedFile(f"{shown} holds {member.name!r}, which no backup has.")
                    if contents is None:
                        contents = _read_contents(shown, member, content)
                        continue
                    members.add(member.name)
                    target = scratch / member.name
                    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    with os.fdopen(descriptor, "wb") as out:
                        shutil.copyfileobj(content, out, 1 << 20)
                        out.flush()
                        os.fsync(out.fileno())
            while reader.read(1 << 20):
                pass  # What follows the tar's end is padding; it must be whole, too.
        except tarfile.TarError as error:
            raise DamagedFile(f"{shown} is damaged ({error}). Take another copy of it.") from error
    if contents is None:
        raise DamagedFile(f"{shown} is empty. Take another copy of it.")
    wanted = {DATABASE_PART + part.name for part in contents.database.parts} | {
        FILES_PART + name for name in contents.files
    }
    if members != wanted:
        raise DamagedFile(f"{shown} does not hold what it says: {', '.join(sorted(members ^ wanted))}.")
    return contents


def _is_plain(name: str) -> bool:
    place = PurePosixPath(name)
    return (
        not place.is_absolute()
        and ".." not in place.parts
        and len(place.parts) <= 3
        and (name == _CONTENTS or name.startswith((DATABASE_PART, FILES_PART)))
    )


def _read_contents(shown: str, member: tarfile.TarInfo, content: IO[bytes]) -> BackupContents:
    damaged = DamagedFile(f"{shown} does not begin with its contents. Take another copy of it.")
    if member.name != _CONTENTS or member.size > _MAX_CONTENTS_BYTES:
        raise damaged
    try:
        document: dict[str, Any] = json.loads(content.read())
        if document.pop("format") != FORMAT:
            raise UsageError(f"{shown} was written by a newer release of fairgrid. Use that release to restore it.")
        copy = document.pop("database")
        parts = tuple(Part(**(part | {"columns": tuple(part["columns"])})) for part in copy.pop("parts"))
        document["files"] = tuple(document["files"])
        return BackupContents(database=DatabaseCopy(parts=parts, **copy), **document)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged from None
