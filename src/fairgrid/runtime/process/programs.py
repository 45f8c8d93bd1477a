"""What the program of a native job is: an executable, a script for an interpreter below /usr, or a zip of such."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.protocol.paths import path_fault

__all__ = ["MAX_UNPACKED_BYTES", "MAX_UNPACKED_FILES", "NotAProgram", "Program", "lay_out_program"]

MAX_UNPACKED_BYTES: Final = 2 << 30
"""Most that a zip may hold, unpacked."""
MAX_UNPACKED_FILES: Final = 20_000

_APP: Final = "/app"
_RUN: Final = "run"
_MACHINES: Final = {"x86_64": 62, "aarch64": 183}
"""ELF's numbers of architectures."""
_INTERPRETERS_BELOW: Final = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/")
_READ_BYTES: Final = 1 << 20
_PT_INTERP: Final = 3


class NotAProgram(Exception):
    """Every machine says the same of it: the job ends with an error of its own."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was laid out; ``command`` is its path in the sandbox."""

    command: str
    folder: Path


def lay_out_program(script: Path, folder: Path, architecture: str) -> Program:
    """Put the program into ``folder``, executable; a zip is unpacked there, and its file ``run`` is the program.

    Raises:
        NotAProgram: no machine with this runtime can run it.
        HostFailure: this machine has not what it runs in.
        OSError: the disk.
    """
    folder.mkdir()
    with script.open("rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04":
        _unpack(script, folder)
        place = folder / _RUN
        if not place.is_file():
            raise NotAProgram("the zip has no file `run` at its root")
    else:
        place = folder / script.name
        shutil.copyfile(script, place)
    place.chmod(0o755)
    _check(place, architecture)
    return Program(f"{_APP}/{place.name}", folder)


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            if len(entries) > MAX_UNPACKED_FILES:
                raise NotAProgram(f"the zip holds more than {MAX_UNPACKED_FILES} files")
            left = MAX_UNPACKED_BYTES
            for entry in entries:
                left = _unpack_one(opened, entry, folder, left)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, ValueError, RuntimeError) as error:
        raise NotAProgram(f"the zip cannot be read ({error})") from None


def _unpack_one(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, left: int) -> int:
    name = entry.filename.rstrip("/")
    fault = path_fault(name)
    mode = entry.external_attr >> 16
    if fault is None and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = "it is a link or a special file"
    if fault is not None:
        raise NotAProgram(f"the zip holds {entry.filename[:100]!r}, which cannot be unpacked: {fault}")
    target = folder / name
    try:
        if entry.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            return left
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(entry) as source, target.open("xb") as sink:
            # What the directory says of sizes is not believed.
            while piece := source.read(_READ_BYTES):
                left -= len(piece)
                if left < 0:
                    raise NotAProgram(f"the zip holds more than {MAX_UNPACKED_BYTES} bytes")
                sink.write(piece)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise NotAProgram(f"the zip holds {name[:100]!r} twice, or as a file and a folder") from None
    target.chmod(0o755 if mode & stat.S_IXUSR else 0o644)
    return left


def _check(place: Path, architecture: str) -> None:
    with place.open("rb") as file:
        start = file.read(_READ_BYTES)
    if start.startswith(b"#!"):
        words = start[2:512].partition(b"\n")[0].split()
        interpreter = os.fsdecode(words[0]) if words else ""
        if not interpreter.startswith(_INTERPRETERS_BELOW) or ".." in interpreter.split("/"):
            raise NotAProgram(f"its first line names {interpreter!r}, and only what lies below /usr is there")
        _need_on_this_machine(interpreter)
    elif start.startswith(b"\x7fELF"):
        _check_elf(start, architecture)
    else:
        raise NotAProgram("it is neither an ELF executable, nor a script that begins with #!, nor a zip")


def _check_elf(start: bytes, architecture: str) -> None:
    try:
        bits, order = struct.unpack_from("<BB", start, 4)
        kind, machine = struct.unpack_from("<HH", start, 16)
        if bits != 2 or order != 1 or kind not in (2, 3) or machine != _MACHINES[architecture]:
            raise NotAProgram(f"it is not an executable for {architecture}")
        table, size, count = *struct.unpack_from("<Q", start, 32), *struct.unpack_from("<HH", start, 54)
        for number in range(count):
            segment = table + number * size
            if struct.unpack_from("<I", start, segment)[0] == _PT_INTERP:
                offset, length = (
                    struct.unpack_from("<Q", start, segment + 8)[0],
                    *struct.unpack_from("<Q", start, segment + 32),
                )
                _need_on_this_machine(os.fsdecode(start[offset : offset + length].rstrip(b"\0")))
    except struct.error:
        raise NotAProgram("its ELF header is cut off") from None


def _need_on_this_machine(path: str) -> None:
    if not Path(path).exists():
        raise HostFailure(f"This machine has no {path[:200]}, which the program runs in. Another machine may have it.")
