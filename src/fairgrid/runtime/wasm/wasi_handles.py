"""Open descriptors of a guest: standard streams, folders, files, and the table that numbers them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fairgrid.runtime.log_sink import LogSink
from fairgrid.runtime.wasm.guest_faults import Errno, GuestError, HostTrouble
from fairgrid.runtime.wasm.wasi_nodes import FileNode, FolderNode
from fairgrid.runtime.wasm.wasi_tree import Tree

__all__ = ["MAX_DESCRIPTORS", "FileHandle", "FolderHandle", "Handle", "HandleTable", "StreamHandle"]

MAX_DESCRIPTORS = 256


@dataclass(slots=True)
class StreamHandle:
    """Standard input (always at its end) when ``sink`` is None, else standard output or error."""

    sink: LogSink | None


@dataclass(slots=True)
class FolderHandle:
    """An open folder; ``mount`` is its guest path if it is one of the mounts that the guest starts with."""

    node: FolderNode
    mount: str | None = None
    listing: list[tuple[str, int, int]] = field(default_factory=list)
    """Name, node number and file type of each entry, taken when the guest begins to list."""


@dataclass(slots=True)
class FileHandle:
    """An open file with its position; ``host`` is the host's descriptor."""

    node: FileNode
    host: int
    readable: bool
    writable: bool
    append: bool
    flags: int
    offset: int = 0

    def read(self, views: list[memoryview], offset: int) -> int:
        """Fill the views from ``offset``; returns the bytes read, fewer than asked only at the end of the file."""
        if not self.readable:
            raise GuestError(Errno.BADF)
        left = max(self.node.size - offset, 0)
        done = 0
        for view in views:
            wanted = min(len(view), left - done)
            got = 0
            while got < wanted:
                try:
                    count = os.preadv(self.host, [view[got:wanted]], offset + done + got)
                except OSError as error:
                    raise HostTrouble(f"cannot read a file: {error}") from error
                if count == 0:
                    raise HostTrouble("a file became shorter while the job read it")
                got += count
            done += got
        return done

    def write(self, tree: Tree, views: Sequence[memoryview], offset: int) -> int:
        """Write the views at ``offset``; returns the bytes written, which are all.

        Raises:
            OutputLimitReached: the file would make the guest's output too large.
        """
        if not self.writable:
            raise GuestError(Errno.BADF)
        total = sum(len(view) for view in views)
        if total and offset + total > self.node.size:
            tree.resize(self.node, offset + total)
        done = 0
        for view in views:
            put = 0
            while put < len(view):
                try:
                    put += os.pwrite(self.host, view[put:], offset + done + put)
                except OSError as error:
                    raise HostTrouble(f"cannot write a file: {error}") from error
            done += put
        return done

    def truncate(self, tree: Tree, size: int) -> None:
        """Make the file ``size`` bytes long."""
        if not self.writable:
            raise GuestError(Errno.BADF)
        tree.resize(self.node, size)
        try:
            os.ftruncate(self.host, size)
        except OSError as error:
            raise HostTrouble(f"cannot resize a file: {error}") from error


Handle: TypeAlias = StreamHandle | FolderHandle | FileHandle


class HandleTable:
    """Descriptors by number; a new one takes the lowest free number."""

    def __init__(self, tree: Tree, handles: list[Handle]) -> None:
        self._tree = tree
        self._handles: dict[int, Handle] = dict(enumerate(handles))

    def get(self, number: int) -> Handle:
        """The handle, or BADF."""
        try:
            return self._handles[number]
        except KeyError:
            raise GuestError(Errno.BADF) from None

    def mounts(self) -> list[tuple[int, FolderHandle]]:
        """The mounts that the guest starts with, with their numbers."""
        found = ((number, handle) for number, handle in self._handles.items() if isinstance(handle, FolderHandle))
        return [(number, handle) for number, handle in found if handle.mount is not None]

    def folder(self, number: int) -> FolderHandle:
        """The folder handle, or BADF, or NOTDIR."""
        handle = self.get(number)
        if not isinstance(handle, FolderHandle):
            raise GuestError(Errno.NOTDIR)
        return handle

    def file(self, number: int) -> FileHandle:
        """The file handle, or BADF; a stream has no position and is SPIPE, a folder is ISDIR."""
        handle = self.get(number)
        if isinstance(handle, StreamHandle):
            raise GuestError(Errno.SPIPE)
        if isinstance(handle, FolderHandle):
            raise GuestError(Errno.ISDIR)
        return handle

    def open_file(self, node: FileNode, *, readable: bool, writable: bool, flags: int) -> int:
        """Open a file; returns its number."""
        number = self._free_number()
        mode = os.O_RDWR if writable else os.O_RDONLY
        try:
            host = os.open(node.backing, mode | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
        except OSError as error:
            raise HostTrouble(f"cannot open a file: {error}") from error
        node.opens += 1
        self._handles[number] = FileHandle(node, host, readable, writable, bool(flags & 1), flags)
        return number

    def open_folder(self, node: FolderNode) -> int:
        """Open a folder; returns its number."""
        number = self._free_number()
        self._handles[number] = FolderHandle(node)
        return number

    def close(self, number: int) -> None:
        """Close a descriptor."""
        handle = self.get(number)
        del self._handles[number]
        if isinstance(handle, FileHandle):
            os.close(handle.host)
            handle.node.opens -= 1
            self._tree.release(handle.node)

    def renumber(self, source: int, target: int) -> None:
        """Let ``target`` be what ``source`` was."""
        handle = self.get(source)
        self.get(target)
        if source != target:
            self.close(target)
            del self._handles[source]
            self._handles[target] = handle

    def close_all(self) -> None:
        """Close everything."""
        for number in list(self._handles):
            self.close(number)

    def _free_number(self) -> int:
        for number in range(MAX_DESCRIPTORS):
            if number not in self._handles:
                return number
        raise GuestError(Errno.MFILE)
