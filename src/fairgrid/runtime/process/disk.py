"""What a job wrote: how much it is while the job runs, a copy of it, and its modes and owners when the job is over."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = [
    "MAX_DEPTH",
    "TooDeep",
    "Used",
    "copy_tree_now",
    "disk_used",
    "free_bytes",
    "make_ours",
    "remove_all",
    "tail_of",
    "unnamed_bytes",
    "written_by",
]

_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK: Final = 512
MAX_DEPTH: Final = 200
"""Folders in folders that a job may make; far more than the path of a result can hold in practice."""


class TooDeep(Exception):
    """A job made folders in folders beyond `MAX_DEPTH`."""


@dataclass(frozen=True, slots=True)
class Used:
    """Files below some folders: their number, their sizes, and what they take on the disk."""

    files: int
    bytes: int
    disk_bytes: int


def disk_used(*folders: Path) -> Used:
    """Count, while a job may change everything meanwhile; no link is followed. Folders are no files.

    Raises:
        TooDeep: folders in folders in folders.
        OSError: one of the folders is not there.
    """
    files, size, disk = 0, 0, 0
    for folder in folders:
        for entry in _entries(folder):
            disk += entry.st_blocks * _BLOCK
            if stat.S_ISDIR(entry.st_mode):
                continue
            files += 1
            size += entry.st_size
    return Used(files, size, disk)


def unnamed_bytes(pids: Iterable[int], folder: Path) -> int:
    """What open files without a name take on the disk of ``folder``, as far as these processes hold them."""
    device, seen = os.stat(folder).st_dev, dict[int, int]()
    for pid in pids:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    about = os.stat(f"/proc/{pid}/fd/{name}")
                    if about.st_nlink == 0 and about.st_dev == device and stat.S_ISREG(about.st_mode):
                        seen[about.st_ino] = about.st_blocks * _BLOCK
    return sum(seen.values())


def written_by(pids: Iterable[int]) -> int:
    """Bytes that these processes, and what they waited for, ever wrote to disks."""
    written = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            written += int(Path(f"/proc/{pid}/io").read_text().partition("\nwrite_bytes: ")[2].split()[0])
    return written


def free_bytes(folder: Path) -> int:
    """Free room on the disk of a folder."""
    return shutil.disk_usage(folder).free


def copy_tree_now(source: Path, destination: Path, *, max_bytes: int, max_files: int) -> None:
    """Copy regular files, whole ones, as long as they fit, to a new folder; links and special files are left out."""
    destination.mkdir()
    left, count = max_bytes, 0
    for folder, names, files, descriptor in os.fwalk(source, follow_symlinks=False):
        del names
        target = destination / Path(folder).relative_to(source)
        for name in files:
            with contextlib.suppress(OSError):
                opened = os.open(name, _OPEN, dir_fd=descriptor)
                with os.fdopen(opened, "rb") as read:
                    about = os.fstat(opened)
                    if not stat.S_ISREG(about.st_mode) or about.st_size > left or count >= max_files:
                        continue
                    target.mkdir(parents=True, exist_ok=True)
                    with (target / name).open("wb") as write:
                        left -= _copy(read.fileno(), write.fileno(), about.st_size)
                    count += 1


def _copy(source: int, target: int, size: int) -> int:
    done = 0
    while done < size:
        piece = os.read(source, min(size - done, 1 << 20))
        if not piece:
            break
        os.write(target, piece)
        done += len(piece)
    return done


def make_ours(*folders: Path) -> None:
    """Let this user read, move and remove all of it: a job may take every right away, and may be another user."""
    owner, group = os.geteuid(), os.getegid()
    for folder in folders:
        queue = [folder]
        while queue:
            place = queue.pop()
            if owner == 0:
                os.chown(place, owner, group, follow_symlinks=False)
            place.chmod(0o755)
            with os.scandir(place) as listing:
                for entry in listing:
                    if entry.is_dir(follow_symlinks=False):
                        queue.append(Path(entry.path))
                        continue
                    if owner == 0:
                        os.chown(entry.path, owner, group, follow_symlinks=False)
                    if entry.is_file(follow_symlinks=False):
                        os.chmod(entry.path, 0o644)


def remove_all(*folders: Path) -> None:
    """Empty folders that no ordinary walk can: paths may be longer than the system takes. Blocking; never raises."""
    for folder in folders:
        with contextlib.suppress(OSError):
            names = [str(folder / name) for name in os.listdir(folder)]
            subprocess.run(["/bin/rm", "-rf", "--", *names], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def tail_of(path: Path, count: int) -> bytes:
    """The last bytes of a file that a job may have put anything in the place of; empty if it is no file."""
    try:
        opened = os.open(path, _OPEN)
    except OSError:
        return b""
    with os.fdopen(opened, "rb") as file:
        about = os.fstat(opened)
        if not stat.S_ISREG(about.st_mode):
            return b""
        file.seek(max(about.st_size - count, 0))
        return file.read(count)


def _entries(folder: Path) -> Iterator[os.stat_result]:
    """Everything below a folder, while a job may change it meanwhile; folders that it closed are opened again.

    Raises:
        TooDeep: folders in folders in folders.
    """
    chain = [_opened(folder)]
    lists = [_names(chain[0])]
    try:
        while chain:
            if not lists[-1]:
                lists.pop()
                os.close(chain.pop())
                continue
            name, here = lists[-1].pop(), chain[-1]
            with contextlib.suppress(OSError):
                about = os.stat(name, dir_fd=here, follow_symlinks=False)
                yield about
                if stat.S_ISDIR(about.st_mode):
                    if len(chain) > MAX_DEPTH:
                        raise TooDeep
                    chain.append(_opened(name, here))
                    lists.append(_names(chain[-1]))
    finally:
        for descriptor in chain:
            os.close(descriptor)


def _opened(name: Path | str, parent: int | None = None) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        # Ours, but closed by the job. The handle names the folder itself, whatever takes its place meanwhile.
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o755)
        finally:
            os.close(handle)
        return os.open(name, _FOLDER, dir_fd=parent)


def _names(descriptor: int) -> list[str]:
    try:
        return os.listdir(descriptor)
    except OSError:
        return []
