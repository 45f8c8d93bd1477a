"""The file system that a WebAssembly guest sees: a tree of our own, so that nothing of the host's shows through.

Host inode numbers, device numbers, times, directory order, symbolic links and file system limits never reach the guest
(decision 46): nodes are numbered in order of creation, folders list in byte order, times come from the logical clock.
Contents lie in host files whose names the guest does not choose. What the guest writes is counted exactly, so two
machines stop it at the same byte.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from fairgrid.runtime.wasm.guest_faults import Errno, GuestError, HostTrouble, OutputLimitReached
from fairgrid.runtime.wasm.wasi_nodes import FileNode, FolderNode, Node, deepest_below, files_below, upwards

__all__ = ["MAX_NAME_BYTES", "MAX_PATH_BYTES", "Budget", "Tree"]

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
"""Longest path below a mount, in bytes of UTF-8: small enough that the host can hold it below any working folder."""


@dataclass(slots=True)
class Budget:
    """What the guest may keep in its writable folders at any moment, all of them together."""

    max_bytes: int
    max_files: int
    used_bytes: int = 0
    used_files: int = 0

    def take_bytes(self, count: int) -> None:
        """Count ``count`` more bytes (negative gives back).

        Raises:
            OutputLimitReached: the limit would be passed.
        """
        if self.used_bytes + count > self.max_bytes:
            raise OutputLimitReached("bytes")
        self.used_bytes += count

    def take_file(self) -> None:
        """Count one more file or folder.

        Raises:
            OutputLimitReached: the limit would be passed.
        """
        if self.used_files + 1 > self.max_files:
            raise OutputLimitReached("files")
        self.used_files += 1


class Tree:
    """Creates, finds, moves and removes nodes. Errors of the guest are `GuestError`, of the machine `HostTrouble`."""

    def __init__(self, *, scratch: Path, budget: Budget, start_ns: int) -> None:
        self._scratch = scratch
        self._budget = budget
        self._start_ns = start_ns
        self._next_number = 1

    def read_only_folder(self, host_folder: Path) -> FolderNode:
        """A mount that shows the regular files below ``host_folder``.

        Raises:
            HostTrouble: there is a symbolic link or a special file, or the folder cannot be read.
        """
        root = self._folder(writable=False, now_ns=self._start_ns)
        self._fill(root, host_folder)
        return root

    def read_only_files(self, files: dict[str, Path]) -> FolderNode:
        """A mount that shows the given host files under the given names."""
        root = self._folder(writable=False, now_ns=self._start_ns)
        for name in sorted(files, key=str.encode):
            root.children[name] = self._host_file(files[name])
        return root

    def writable_folder(self) -> FolderNode:
        """An empty mount that the guest may write to; it does not count as a file."""
        return self._folder(writable=True, now_ns=self._start_ns)

    def add_writable_file(self, folder: FolderNode, name: str, backing: Path) -> None:
        """One empty file in a read-only mount that the guest may write, but neither remove nor replace.

        Raises:
            HostTrouble: the disk failed.
        """
        try:
            os.close(os.open(backing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        except OSError as error:
            raise HostTrouble(f"cannot create a file: {error}") from error
        folder.children[name] = FileNode(self._take_number(), True, backing, 0, self._start_ns, self._start_ns)

    def put_copy(self, root: FolderNode, path: str, source: Path, now_ns: int) -> None:
        """Put a copy of a host file at ``path`` below a writable mount; it counts as if the guest had written it.

        Raises:
            HostTrouble: the disk failed.
        """
        folder = root
        *parts, name = path.split("/")
        for part in parts:
            child = folder.children.get(part)
            folder = child if isinstance(child, FolderNode) else self.create_folder(folder, part, now_ns)
        node = self.create_file(folder, name, now_ns)
        try:
            shutil.copyfile(source, node.backing)
            self.resize(node, node.backing.stat().st_size)
        except OSError as error:
            raise HostTrouble(f"cannot copy a file: {error}") from error

    def find(self, start: FolderNode, path: str) -> Node:
        """The node at ``path`` below ``start``."""
        folder, name, must_be_folder = self.locate(start, path)
        node: Node = folder
        if name is not None:
            try:
                node = folder.children[name]
            except KeyError:
                raise GuestError(Errno.NOENT) from None
        if must_be_folder and isinstance(node, FileNode):
            raise GuestError(Errno.NOTDIR)
        return node

    def locate(self, start: FolderNode, path: str) -> tuple[FolderNode, str | None, bool]:
        """The folder that holds the last part of ``path``, that part, and whether a folder is asked for.

        The part is None when the path means the folder itself. A path never leaves ``start``: that is NOTCAPABLE.
        """
        if not path:
            raise GuestError(Errno.NOENT)
        if path.startswith("/"):
            raise GuestError(Errno.NOTCAPABLE)
        parts = [part for part in path.split("/") if part not in ("", ".")]
        must_be_folder = path.endswith(("/", "/.")) or path == "."
        folder, depth = start, 0
        for position, part in enumerate(parts):
            if len(part.encode()) > MAX_NAME_BYTES:
                raise GuestError(Errno.NAMETOOLONG)
            if part == "..":
                if depth == 0 or folder.parent is None:
                    raise GuestError(Errno.NOTCAPABLE)
                folder, depth = folder.parent, depth - 1
                continue
            if position == len(parts) - 1:
                return folder, part, must_be_folder
            child = folder.children.get(part)
            if child is None:
                raise GuestError(Errno.NOENT)
            if isinstance(child, FileNode):
                raise GuestError(Errno.NOTDIR)
            folder, depth = child, depth + 1
        return folder, None, True

    def create_file(self, folder: FolderNode, name: str, now_ns: int) -> FileNode:
        """Add an empty file."""
        self._check_new(folder, name)
        self._budget.take_file()
        number = self._take_number()
        node = FileNode(number, True, self._scratch / str(number), 0, now_ns, now_ns)
        try:
            os.close(os.open(node.backing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise HostTrouble(f"cannot create a file: {error}") from error
        folder.children[name] = node
        folder.modified_ns = now_ns
        return node

    def create_folder(self, folder: FolderNode, name: str, now_ns: int) -> FolderNode:
        """Add an empty folder; it counts as one file of the budget."""
        if name in folder.children:
            raise GuestError(Errno.EXIST)
        self._check_new(folder, name)
        self._budget.take_file()
        node = self._folder(writable=True, now_ns=now_ns)
        node.parent, node.name = folder, name
        folder.children[name] = node
        folder.modified_ns = now_ns
        return node

    def resize(self, node: FileNode, size: int) -> None:
        """Count ``size`` as the file's new size; the caller changes the host file."""
        self._budget.take_bytes(size - node.size)
        node.size = size

    def unlink(self, folder: FolderNode, name: str, now_ns: int) -> None:
        """Remove a file; what is open stays readable until it is closed."""
        node = folder.children.get(name)
        if node is None:
            raise GuestError(Errno.NOENT)
        if isinstance(node, FolderNode):
            raise GuestError(Errno.ISDIR)
        self._check_writable(folder)
        del folder.children[name]
        folder.modified_ns = now_ns
        node.linked = False
        self.release(node)

    def remove_folder(self, folder: FolderNode, name: str, now_ns: int) -> None:
        """Remove an empty folder."""
        node = folder.children.get(name)
        if node is None:
            raise GuestError(Errno.NOENT)
        if isinstance(node, FileNode):
            raise GuestError(Errno.NOTDIR)
        self._check_writable(folder)
        if node.children:
            raise GuestError(Errno.NOTEMPTY)
        del folder.children[name]
        folder.modified_ns = now_ns
        node.parent, node.writable = None, False
        self._budget.used_files -= 1

    def rename(self, old: FolderNode, old_name: str, new: FolderNode, new_name: str, now_ns: int) -> None:
        """Move a node, replacing a file by a file or an empty folder by a folder, as POSIX does."""
        node = old.children.get(old_name)
        if node is None:
            raise GuestError(Errno.NOENT)
        self._check_writable(old)
        self._check_writable(new)
        target = new.children.get(new_name)
        if target is node:
            return
        if isinstance(node, FolderNode):
            if any(folder is node for folder in upwards(new)):
                raise GuestError(Errno.INVAL)
            if isinstance(target, FileNode):
                raise GuestError(Errno.NOTDIR)
        elif isinstance(target, FolderNode):
            raise GuestError(Errno.ISDIR)
        _check_name(new_name)
        if new.path_bytes() + len(new_name.encode()) + deepest_below(node) > MAX_PATH_BYTES:
            raise GuestError(Errno.NAMETOOLONG)
        if isinstance(target, FolderNode):
            self.remove_folder(new, new_name, now_ns)
        elif isinstance(target, FileNode):
            self.unlink(new, new_name, now_ns)
        del old.children[old_name]
        new.children[new_name] = node
        if isinstance(node, FolderNode):
            node.parent, node.name = new, new_name
        old.modified_ns = new.modified_ns = now_ns

    def release(self, node: FileNode) -> None:
        """Free the content of a file that is neither linked nor open any more."""
        if node.linked or node.opens or not node.writable:
            return
        self._budget.used_files -= 1
        self._budget.used_bytes -= node.size
        try:
            node.backing.unlink()
        except OSError as error:
            raise HostTrouble(f"cannot remove a file: {error}") from error

    def copy_now(self, root: FolderNode, destination: Path, *, max_bytes: int, max_files: int) -> None:
        """Copy what is below a mount into a new host folder, whole files while they fit.

        May be called from another thread while the guest runs; a file that is written just now may come half.
        """
        destination.mkdir(parents=True)
        left, count = max_bytes, 0
        for path, node in files_below(root):
            if node.size > left or count >= max_files:
                continue
            target = destination / path
            with contextlib.suppress(OSError):
                target.parent.mkdir(parents=True, exist_ok=True)
                with node.backing.open("rb") as source, target.open("wb") as sink:
                    copied = source.read(min(node.size, left))
                    sink.write(copied)
                left -= len(copied)
                count += 1

    def hand_over(self, root: FolderNode, destination: Path) -> None:
        """Move everything below the writable mount ``root`` into the host folder ``destination``, which must be empty.

        Raises:
            HostTrouble: the host cannot hold one of the names, or the disk failed.
        """
        try:
            for name, node in root.listing():
                if isinstance(node, FolderNode):
                    (destination / name).mkdir()
                    self.hand_over(node, destination / name)
                elif (destination / name).exists():
                    raise HostTrouble(f"this machine's file system cannot tell {name!r} from another output name")
                else:
                    node.backing.rename(destination / name)
        except (OSError, ValueError) as error:
            raise HostTrouble(f"cannot store the output: {error}") from error

    def _fill(self, folder: FolderNode, host_folder: Path) -> None:
        try:
            with os.scandir(host_folder) as entries:
                found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    child = self._folder(writable=False, now_ns=self._start_ns)
                    child.parent, child.name = folder, entry.name
                    folder.children[entry.name] = child
                    self._fill(child, Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    folder.children[entry.name] = self._host_file(Path(entry.path))
                else:
                    raise HostTrouble(f"{entry.path} is neither a file nor a folder")
        except OSError as error:
            raise HostTrouble(f"cannot read {host_folder}: {error}") from error

    def _host_file(self, path: Path) -> FileNode:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise HostTrouble(f"cannot read {path}: {error}") from error
        return FileNode(self._take_number(), False, path, size, self._start_ns, self._start_ns)

    def _folder(self, *, writable: bool, now_ns: int) -> FolderNode:
        return FolderNode(self._take_number(), writable, now_ns, now_ns)

    def _take_number(self) -> int:
        number = self._next_number
        self._next_number += 1
        return number

    def _check_new(self, folder: FolderNode, name: str) -> None:
        self._check_writable(folder)
        _check_name(name)
        if folder.path_bytes() + len(name.encode()) > MAX_PATH_BYTES:
            raise GuestError(Errno.NAMETOOLONG)

    @staticmethod
    def _check_writable(folder: FolderNode) -> None:
        if not folder.writable:
            raise GuestError(Errno.ROFS)


def _check_name(name: str) -> None:
    """Names that a result may hold on every machine: no control characters (ILSEQ)."""
    if any(character < " " for character in name):
        raise GuestError(Errno.ILSEQ)
