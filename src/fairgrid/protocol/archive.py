"""Result archives (decision 41): one byte sequence for one set of files.

A zip with stored entries in byte order of their paths, dated 1980-01-01, mode 0644, UTF-8 names, no extra fields, no
comments, no zip64. Reading accepts exactly what writing makes, byte for byte, so an archive cannot mean two things: no
links, no paths that leave the folder, no duplicates, no compression, no hidden data.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO

from fairgrid.errors import VerificationError
from fairgrid.protocol.digest import FILE_MODE, Entry, entries_of_folder, tree_digest
from fairgrid.protocol.paths import path_fault
from fairgrid.protocol.terminal import sanitise_terminal

__all__ = ["archive_digest", "archive_entries", "extract_archive", "sanitise_terminal", "write_archive"]

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_LOCAL_SIGNATURE, _CENTRAL_SIGNATURE, _END_SIGNATURE = 0x04034B50, 0x02014B50, 0x06054B50
_VERSION, _MADE_ON_UNIX, _UTF8_NAMES, _STORED = 20, 3 << 8, 0x0800, 0
_TIME, _DATE = 0, 33
_MAX_BYTES, _MAX_FILES = 0xFFFF_FFFE, 0xFFFE
_READ_BYTES = 1 << 20

_Sink = Callable[[Entry], BinaryIO]


def write_archive(folder: Path, dest: Path, *, only: Collection[str] | None = None) -> tuple[Entry, ...]:
    """Write the files below ``folder`` (or those named in ``only``) to the archive ``dest``; returns its entries.

    Raises:
        VerificationError: a link, a special file, a bad name, or more than an archive holds (65,534 files, 4 GiB).
    """
    entries = entries_of_folder(folder, only=only)
    size = sum(entry.size + 2 * len(entry.path.encode()) + _LOCAL.size + _CENTRAL.size for entry in entries)
    if len(entries) > _MAX_FILES or size + _END.size > _MAX_BYTES:
        raise VerificationError(f"The result is too large for an archive: {len(entries)} files, {size} bytes.")
    parts = []
    with open(dest, "wb") as archive:
        for entry in entries:
            checksum = _checksum(folder / entry.path, entry)
            offset = archive.tell()
            archive.write(_local_header(entry, checksum))
            with open(folder / entry.path, "rb") as source:
                while piece := source.read(_READ_BYTES):
                    archive.write(piece)
            parts.append(_central_header(entry, checksum, offset))
        central = b"".join(parts)
        archive.write(central + _end_record(len(entries), len(central), archive.tell()))
    return entries


def archive_entries(archive: Path, *, max_bytes: int = _MAX_BYTES, max_files: int = _MAX_FILES) -> tuple[Entry, ...]:
    """Check the whole archive and return its entries; writes nothing.

    Raises:
        VerificationError: it is not an archive as `write_archive` makes it, or larger than allowed.
    """
    with open(archive, "rb") as source:
        return _read(source, max_bytes, max_files, None)


def archive_digest(archive: Path | bytes) -> str:
    """The tree digest of the files of an archive, on disk or in memory; writes nothing.

    Raises:
        VerificationError: as `archive_entries`.
    """
    if isinstance(archive, bytes):
        return tree_digest(_read(io.BytesIO(archive), _MAX_BYTES, _MAX_FILES, None))
    return tree_digest(archive_entries(archive))


def extract_archive(archive: Path, dest_dir: Path, *, max_bytes: int, max_files: int) -> tuple[Entry, ...]:
    """Write the archive's files into ``dest_dir``, which must be empty or not exist; returns the entries.

    The whole archive is checked before the first file is written. Existing files are never overwritten or followed.

    Raises:
        VerificationError: as `archive_entries`; or the folder is not empty, or this machine's file system cannot hold
            the names side by side.
    """
    with open(archive, "rb") as source:
        _read(source, max_bytes, max_files, None)
        source.seek(0)
        dest_dir.mkdir(parents=True, exist_ok=True)
        if any(dest_dir.iterdir()):
            raise VerificationError(f"The folder {dest_dir} is not empty. Nothing was written; choose another.")

        def create(entry: Entry) -> BinaryIO:
            target = dest_dir / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            return os.fdopen(os.open(target, flags, 0o644), "wb")

        try:
            return _read(source, max_bytes, max_files, create)
        except FileExistsError as error:
            raise VerificationError(
                f"This file system cannot tell two names of the archive apart ({error.filename})."
            ) from error


def _read(source: BinaryIO, max_bytes: int, max_files: int, create: _Sink | None) -> tuple[Entry, ...]:
    """Read local entries one by one, then compare the directory with the one that they demand."""
    entries: list[Entry] = []
    central: list[bytes] = []
    files: set[str] = set()
    total = 0
    while True:
        offset = source.tell()
        header = source.read(4)
        if header != _LOCAL_SIGNATURE.to_bytes(4, "little"):
            break
        path, size, checksum = _parse_local(header + source.read(_LOCAL.size - 4), source)
        _check_path(path, entries, files)
        total += size
        if total > max_bytes or len(entries) >= max_files:
            raise VerificationError(f"The archive holds more than {max_bytes} bytes or {max_files} files.")
        entry = _read_content(source, path, size, checksum)
        if create is not None:
            source.seek(-size, os.SEEK_CUR)
            with create(entry) as file:
                _copy(source, file, size)
        entries.append(entry)
        central.append(_central_header(entry, checksum, offset))
    directory = b"".join(central)
    expected = directory + _end_record(len(entries), len(directory), offset)
    if header + source.read(len(expected) - 4 + 1) != expected:
        raise VerificationError(
            "The archive's directory is not the one of a result archive (a link, another mode or date, a comment, "
            "hidden data, or it was cut short). Nothing was written."
        )
    return tuple(entries)


def _parse_local(header: bytes, source: BinaryIO) -> tuple[str, int, int]:
    if len(header) != _LOCAL.size:
        raise VerificationError("The archive is cut short.")
    _, version, flags, method, time, date, checksum, packed, size, name_length, extra = _LOCAL.unpack(header)
    if method != _STORED or packed != size:
        raise VerificationError("The archive holds a compressed file; result archives store files as they are.")
    if (version, flags, time, date, extra) != (_VERSION, _UTF8_NAMES, _TIME, _DATE, 0):
        raise VerificationError("The archive is not a result archive: other flags, date or extra fields.")
    try:
        return source.read(name_length).decode(), size, checksum
    except UnicodeDecodeError:
        raise VerificationError("The archive holds a name that is not UTF-8.") from None


def _check_path(path: str, entries: list[Entry], files: set[str]) -> None:
    fault = path_fault(path)
    if fault is not None:
        raise VerificationError(f"The archive holds the path {path!r}: {fault}. Nothing was written.")
    if entries and path.encode() <= entries[-1].path.encode():
        raise VerificationError(f"The archive's paths are out of order or come twice at {path!r}.")
    parts = path.split("/")
    if any("/".join(parts[:count]) in files for count in range(1, len(parts))):
        raise VerificationError(f"The archive holds {path!r} below a path that is a file.")
    files.add(path)


def _read_content(source: BinaryIO, path: str, size: int, checksum: int) -> Entry:
    state, crc, left = hashlib.sha256(), 0, size
    while left:
        piece = source.read(min(left, _READ_BYTES))
        if not piece:
            raise VerificationError("The archive is cut short.")
        state.update(piece)
        crc = zlib.crc32(piece, crc)
        left -= len(piece)
    if crc != checksum:
        raise VerificationError(f"The archive's file {path!r} is damaged.")
    return Entry(path, size, state.digest())


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size:
        piece = source.read(min(size, _READ_BYTES))
        target.write(piece)
        size -= len(piece)


def _checksum(path: Path, entry: Entry) -> int:
    crc, size = 0, 0
    with open(path, "rb") as source:
        while piece := source.read(_READ_BYTES):
            crc = zlib.crc32(piece, crc)
            size += len(piece)
    if size != entry.size:
        raise VerificationError(f"{path} changed while it was archived.")
    return crc


def _local_header(entry: Entry, checksum: int) -> bytes:
    name = entry.path.encode()
    sizes = (checksum, entry.size, entry.size, len(name), 0)
    return _LOCAL.pack(_LOCAL_SIGNATURE, _VERSION, _UTF8_NAMES, _STORED, _TIME, _DATE, *sizes) + name


def _central_header(entry: Entry, checksum: int, offset: int) -> bytes:
    name = entry.path.encode()
    made = (_MADE_ON_UNIX | _VERSION, _VERSION, _UTF8_NAMES, _STORED, _TIME, _DATE)
    sizes = (checksum, entry.size, entry.size, len(name), 0, 0)
    return _CENTRAL.pack(_CENTRAL_SIGNATURE, *made, *sizes, 0, 0, FILE_MODE << 16, offset) + name


def _end_record(count: int, size: int, offset: int) -> bytes:
    return _END.pack(_END_SIGNATURE, 0, 0, count, count, size, offset, 0)
