"""The two disks of a job's virtual machine: what it is to do goes in, what it did comes out. Both are tar archives.

``fairgrid-in`` (read-only) holds ``in/`` (the inputs), ``environment`` (lines for a shell), ``arguments`` (one line for
``eval set --``) and ``seed`` (hexadecimal). The machine writes a tar to ``fairgrid-out``: ``exit`` (decimal), ``out/``
(the output folder) and, if it likes, ``stderr``. It comes from a stranger's machine: only plain files below ``out/``
are taken, within the limits.
"""

from __future__ import annotations

import io
import os
import shlex
import tarfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.protocol.paths import path_fault
from fairgrid.runtime.interface import Limits, SandboxJob

__all__ = [
    "MachineResult",
    "ResultTooLarge",
    "is_untouched",
    "out_disk_bytes",
    "read_out_disk",
    "write_in_disk",
    "write_out_disk",
]

_BLOCK: Final = 512
_SECTOR: Final = 1 << 20
_PER_FILE: Final = 2048
"""Bytes of a tar that a file takes beside its content: headers, padding, and a long name now and then."""
_EXIT_BYTES: Final = 16


class ResultTooLarge(Exception):
    """The result breaks a limit; the text is ``bytes`` or ``files``."""


@dataclass(frozen=True, slots=True)
class MachineResult:
    """What a machine left on its output disk; its files lie in the job's output folder by now."""

    exit_code: int
    stderr: bytes
    written_bytes: int


def write_in_disk(path: Path, job: SandboxJob, *, leave_out: Collection[str]) -> None:
    """Write the input disk; inputs named in ``leave_out`` are parts of the image and not on it."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        environment = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in sorted(job.environment.items()))
        _add(archive, "environment", environment.encode())
        _add(archive, "arguments", (shlex.join(job.arguments) + "\n").encode())
        _add(archive, "seed", job.seed.hex().encode() + b"\n")
        for folder, folders, files in os.walk(job.input_folder):
            folders.sort()
            here = Path(folder).relative_to(job.input_folder)
            for name in sorted(files):
                if here == Path() and name in leave_out:
                    continue
                source = Path(folder) / name
                entry = _entry(f"in/{(here / name).as_posix()}", source.stat().st_size)
                with source.open("rb") as content:
                    archive.addfile(entry, content)
    _fill_up(path)


def out_disk_bytes(limits: Limits) -> int:
    """How large the output disk is: all that the limits allow, as a tar."""
    size = limits.output_bytes + limits.output_files * _PER_FILE + limits.log_bytes + 2 * _SECTOR
    return -(-size // _SECTOR) * _SECTOR


def write_out_disk(path: Path, limits: Limits) -> None:
    """Make the output disk, empty; it takes no room until it is written."""
    with path.open("wb") as file:
        file.truncate(out_disk_bytes(limits))


def is_untouched(path: Path) -> bool:
    """True if the machine wrote nothing where a result begins."""
    with path.open("rb") as disk:
        return not any(disk.read(_BLOCK))


def read_out_disk(path: Path, limits: Limits, output_folder: Path) -> MachineResult | None:
    """Take the result off the disk; None if there is none.

    Raises:
        ResultTooLarge: it has more bytes or files than the limits allow.
        OSError: the files cannot be stored here.
    """
    exit_code: int | None = None
    stderr = b""
    files = size = 0
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./").rstrip("/")
                if name == "exit" and member.isfile():
                    exit_code = _exit_code(_content(archive, member, _EXIT_BYTES))
                elif name == "stderr" and member.isfile():
                    stderr = _content(archive, member, limits.log_bytes + 1)
                elif name.startswith("out/"):
                    files += 1
                    size += member.size if member.isfile() else 0
                    if files > limits.output_files:
                        raise ResultTooLarge("files")
                    if size > limits.output_bytes:
                        raise ResultTooLarge("bytes")
                    _take(archive, member, name.removeprefix("out/"), output_folder)
    except (tarfile.TarError, EOFError, UnicodeError, ValueError):
        return None
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        # One name twice, or a file that is also a folder: no folder can be made of it.
        return None
    return None if exit_code is None else MachineResult(exit_code, stderr, size)


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, output_folder: Path) -> None:
    """Store one member. What a result cannot hold becomes a link into nowhere, which the rules of results refuse."""
    if path_fault(name) is not None:
        raise ValueError(name)
    target = output_folder / name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
    elif member.isfile():
        target.parent.mkdir(parents=True, exist_ok=True)
        source = archive.extractfile(member)
        assert source is not None
        with target.open("xb") as file:
            while piece := source.read(_SECTOR):
                file.write(piece)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to("not-a-plain-file")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    source = archive.extractfile(member)
    return source.read(most) if source is not None else b""


def _exit_code(text: bytes) -> int:
    code = int(text.strip().decode("ascii"))
    if not 0 <= code <= 255:
        raise ValueError(code)
    return code


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    archive.addfile(_entry(name, len(data)), io.BytesIO(data))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o644
    return entry


def _fill_up(path: Path) -> None:
    """A disk has whole sectors."""
    size = path.stat().st_size
    os.truncate(path, -(-size // _BLOCK) * _BLOCK)
