"""The folders that a job shares with this machine. It may be root here, and the job writes there: links are never
followed, and nothing is opened but plain files."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.watch import PROGRESS_BYTES, SNAPSHOT_FILES

__all__ = [
    "Held",
    "copy_plain_files",
    "environment_file",
    "make_readable",
    "make_scratch",
    "measure",
    "read_end",
    "removed_bytes",
    "take",
]

_WRITABLE: Final = ("out", "tmp", "fairgrid")
_ROUNDING_BYTES: Final = 8192


@dataclass(frozen=True, slots=True)
class Held:
    """What lies in folders."""

    size: int
    files: int


def make_scratch(scratch: Path) -> None:
    """Folders for everybody in one that is ours alone."""
    scratch.chmod(0o700)
    for name in _WRITABLE:
        (scratch / name).mkdir()
        (scratch / name).chmod(0o777)


def environment_file(path: Path, environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Write what an environment file can hold; the rest is given back."""
    plain = {name: value for name, value in environment.items() if "\n" not in value and not name.startswith("#")}
    path.write_text("".join(f"{name}={value}\n" for name, value in plain.items()))
    path.chmod(0o600)
    return tuple((name, value) for name, value in environment.items() if name not in plain)


def make_readable(folder: Path) -> None:
    """Let the job's user read the inputs, which may be links to a cache; only this machine's user gets there.

    Raises:
        HostFailure: a file belongs to somebody else.
    """
    try:
        folder.chmod(0o755)
        for base, folders, files in os.walk(folder):
            for name in folders:
                os.chmod(os.path.join(base, name), 0o755)
            for name in files:
                path = os.path.join(base, name)
                mode = os.stat(path).st_mode
                if mode & 0o444 != 0o444:
                    os.chmod(path, stat.S_IMODE(mode) | 0o444)
    except PermissionError as error:
        raise HostFailure(f"The inputs cannot be shown to the container: {error}.") from error


def measure(*folders: Path, at_most: int) -> Held:
    """Bytes and number of what lies below; counting ends soon after ``at_most`` files."""
    size = files = 0
    for folder in folders:
        for _, names, plain, descriptor in os.fwalk(folder, follow_symlinks=False):
            files += len(names) + len(plain)
            for name in plain:
                with contextlib.suppress(OSError):
                    found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    # What a hole seems to hold would be read and hashed; what is allocated takes the disk.
                    size += max(found.st_size, found.st_blocks * 512 - _ROUNDING_BYTES)
            if files > at_most:
                return Held(size, files)
    return Held(size, files)


def removed_bytes(pids: Collection[int], device: int) -> int:
    """Bytes of files on ``device`` that processes hold open or mapped though they have no name any more."""
    sizes: dict[int, int] = {}
    for pid in pids:
        for kind in ("fd", "map_files"):
            with contextlib.suppress(OSError):
                for entry in os.scandir(f"/proc/{pid}/{kind}"):
                    with contextlib.suppress(OSError):
                        found = os.stat(entry.path)
                        if found.st_nlink == 0 and found.st_dev == device and stat.S_ISREG(found.st_mode):
                            sizes[found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def read_end(folder: Path, name: str) -> bytes | None:
    """The last bytes of a plain file that the job may be changing; None when there is none."""
    with contextlib.suppress(OSError), _opened(name, _descriptor(folder)) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - PROGRESS_BYTES))
        return file.read(PROGRESS_BYTES)
    return None


def copy_plain_files(source: Path, destination: Path, max_bytes: int, max_files: int = SNAPSHOT_FILES) -> None:
    """Copy whole files while they fit, of a folder that the job goes on writing to."""
    left = max_bytes
    destination.mkdir()
    for base, folders, names, descriptor in os.fwalk(source, follow_symlinks=False):
        target = destination / os.path.relpath(base, source)
        for name in sorted(folders):
            if not stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                (target / name).mkdir(exist_ok=True)
        for name in sorted(names):
            if max_files <= 0:
                return
            with contextlib.suppress(OSError), _opened(name, os.dup(descriptor)) as file:
                size = os.fstat(file.fileno()).st_size
                if size > left:
                    continue
                data = file.read(size)
                (target / name).write_bytes(data)
                left -= len(data)
                max_files -= 1


def take(source: Path, destination: Path) -> int:
    """Move what a job that ended left, and own it; links stay links for the rules of results to refuse. Bytes moved."""
    size = 0
    mine, group = os.geteuid(), os.getegid()
    for base, folders, names, descriptor in os.fwalk(source, follow_symlinks=False):
        with contextlib.suppress(PermissionError):
            os.chown(base, mine, group)
        os.chmod(base, 0o755)
        for name in (*folders, *names):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            with contextlib.suppress(PermissionError):
                os.chown(name, mine, group, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                os.chmod(name, 0o644, dir_fd=descriptor)
                size += found.st_size
            elif stat.S_ISDIR(found.st_mode):
                os.chmod(name, 0o755, dir_fd=descriptor)
    for entry in sorted(os.listdir(source)):
        shutil.move(source / entry, destination / entry)
    return size


def _descriptor(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


@contextlib.contextmanager
def _opened(name: str, folder: int) -> Iterator[IO[bytes]]:
    """A plain file in an open folder, which is closed with it."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError("not a plain file")
        yield opened
