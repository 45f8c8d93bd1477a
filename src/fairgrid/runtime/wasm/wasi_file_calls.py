"""The system calls of WASI preview 1 about descriptors and paths, over a tree of our own (`wasi_tree`).

They are paid as those of `wasi_calls`.
"""

from __future__ import annotations

from collections.abc import Callable

from fairgrid.runtime.wasm.guest_faults import Errno, GuestError
from fairgrid.runtime.wasm.wasi_calls import BYTE_FUEL
from fairgrid.runtime.wasm.wasi_handles import FileHandle, FolderHandle, HandleTable, StreamHandle
from fairgrid.runtime.wasm.wasi_memory import GuestMemory
from fairgrid.runtime.wasm.wasi_nodes import FileNode, FolderNode, Node
from fairgrid.runtime.wasm.wasi_state import LogicalClock
from fairgrid.runtime.wasm.wasi_tree import Tree

__all__ = ["WasiFileCalls"]

_TYPE_UNKNOWN, _TYPE_FOLDER, _TYPE_FILE = 0, 3, 4
_RIGHT_READ, _RIGHT_WRITE = 1 << 1, 1 << 6
_ALL_RIGHTS = (1 << 30) - 1
_OPEN_CREATE, _OPEN_FOLDER, _OPEN_EXCLUSIVE, _OPEN_TRUNCATE = 1, 2, 4, 8
_U64 = (1 << 64) - 1


class WasiFileCalls:
    """One method per system call, named as in WASI; numbers arrive unsigned, errors leave as `GuestError`."""

    def __init__(
        self,
        *,
        memory: GuestMemory,
        charge: Callable[[int], None],
        tree: Tree,
        handles: HandleTable,
        clock: LogicalClock,
        moved: Callable[[FolderNode, str, FolderNode, str], None] | None = None,
        removed: Callable[[FolderNode, str], None] | None = None,
    ) -> None:
        """``moved`` and ``removed`` are told of every rename and unlink after it happened."""
        self._memory = memory
        self._charge = charge
        self._tree = tree
        self._handles = handles
        self._clock = clock
        self._moved = moved
        self._removed = removed

    # --- descriptors -------------------------------------------------------------------------------------------------

    def fd_prestat_get(self, number: int, prestat_at: int) -> None:
        mount = self._mount(number)
        self._memory.write(prestat_at, bytes(4) + len(mount).to_bytes(4, "little"))

    def fd_prestat_dir_name(self, number: int, path_at: int, length: int) -> None:
        mount = self._mount(number)
        if length < len(mount):
            raise GuestError(Errno.NAMETOOLONG)
        self._memory.write(path_at, mount)

    def fd_close(self, number: int) -> None:
        self._handles.close(number)

    def fd_renumber(self, source: int, target: int) -> None:
        self._handles.renumber(source, target)

    def fd_advise(self, number: int, _offset: int, _length: int, _advice: int) -> None:
        self._handles.file(number)

    def fd_datasync(self, number: int) -> None:
        self._handles.get(number)

    def fd_sync(self, number: int) -> None:
        self._handles.get(number)

    def fd_fdstat_get(self, number: int, stat_at: int) -> None:
        handle = self._handles.get(number)
        flags = handle.flags if isinstance(handle, FileHandle) else 0
        rights = _ALL_RIGHTS if not isinstance(handle, StreamHandle) else _RIGHT_READ | _RIGHT_WRITE
        head = bytes([_type_of(handle), 0]) + flags.to_bytes(2, "little") + bytes(4)
        self._memory.write(stat_at, head + rights.to_bytes(8, "little") + _ALL_RIGHTS.to_bytes(8, "little"))

    def fd_fdstat_set_flags(self, number: int, flags: int) -> None:
        handle = self._handles.get(number)
        if isinstance(handle, FileHandle):
            handle.flags, handle.append = flags, bool(flags & 1)

    def fd_fdstat_set_rights(self, number: int, _base: int, _inheriting: int) -> None:
        self._handles.get(number)

    def fd_filestat_get(self, number: int, stat_at: int) -> None:
        handle = self._handles.get(number)
        if isinstance(handle, StreamHandle):
            self._memory.write(stat_at, bytes(64))
        else:
            self._put_stat(handle.node, stat_at)

    def fd_filestat_set_size(self, number: int, size: int) -> None:
        handle = self._handles.file(number)
        handle.truncate(self._tree, size)
        handle.node.modified_ns = self._clock.now_ns

    def fd_allocate(self, number: int, offset: int, length: int) -> None:
        handle = self._handles.file(number)
        if offset + length > handle.node.size:
            handle.truncate(self._tree, offset + length)

    def fd_filestat_set_times(self, number: int, accessed: int, modified: int, flags: int) -> None:
        handle = self._handles.get(number)
        if isinstance(handle, StreamHandle):
            raise GuestError(Errno.INVAL)
        self._set_times(handle.node, accessed, modified, flags)

    def fd_read(self, number: int, vectors: int, count: int, size_at: int) -> None:
        handle = self._handles.get(number)
        size = 0
        if isinstance(handle, FolderHandle):
            raise GuestError(Errno.ISDIR)
        if isinstance(handle, FileHandle):
            size = self._read(handle, vectors, count, handle.offset)
            handle.offset += size
        elif handle.sink is not None:
            raise GuestError(Errno.BADF)
        self._memory.write_u32(size_at, size)

    def fd_pread(self, number: int, vectors: int, count: int, offset: int, size_at: int) -> None:
        self._memory.write_u32(size_at, self._read(self._handles.file(number), vectors, count, offset))

    def fd_write(self, number: int, vectors: int, count: int, size_at: int) -> None:
        handle = self._handles.get(number)
        if isinstance(handle, FolderHandle):
            raise GuestError(Errno.ISDIR)
        if isinstance(handle, FileHandle):
            offset = handle.node.size if handle.append else handle.offset
            size = self._write(handle, vectors, count, offset)
            handle.offset = offset + size
        elif handle.sink is None:
            raise GuestError(Errno.BADF)
        else:
            size = 0
            for view in self._memory.windows(vectors, count):
                self._charge(len(view) * BYTE_FUEL)
                handle.sink.add(view)
                size += len(view)
        self._memory.write_u32(size_at, size)

    def fd_pwrite(self, number: int, vectors: int, count: int, offset: int, size_at: int) -> None:
        self._memory.write_u32(size_at, self._write(self._handles.file(number), vectors, count, offset))

    def fd_seek(self, number: int, delta: int, whence: int, position_at: int) -> None:
        handle = self._handles.file(number)
        if whence > 2:
            raise GuestError(Errno.INVAL)
        delta -= (1 << 64) if delta >> 63 else 0
        position = delta + (0, handle.offset, handle.node.size)[whence]
        if not 0 <= position < 1 << 63:
            raise GuestError(Errno.INVAL)
        handle.offset = position
        self._memory.write_u64(position_at, position)

    def fd_tell(self, number: int, position_at: int) -> None:
        self._memory.write_u64(position_at, self._handles.file(number).offset)

    def fd_readdir(self, number: int, buffer: int, length: int, cookie: int, used_at: int) -> None:
        handle = self._handles.folder(number)
        if cookie == 0 or not handle.listing:
            parent = handle.node.parent or handle.node
            handle.listing = [(".", handle.node.number, _TYPE_FOLDER), ("..", parent.number, _TYPE_FOLDER)]
            handle.listing += [(name, node.number, _node_type(node)) for name, node in handle.node.listing()]
            self._charge(len(handle.listing) * 1000)
        output = bytearray()
        for position in range(cookie, len(handle.listing)):
            if len(output) >= length:
                break
            name, node_number, kind = handle.listing[position]
            encoded = name.encode()
            output += (position + 1).to_bytes(8, "little") + node_number.to_bytes(8, "little")
            output += len(encoded).to_bytes(4, "little") + bytes([kind, 0, 0, 0]) + encoded
        self._memory.write(buffer, bytes(output[:length]))
        self._memory.write_u32(used_at, min(len(output), length))

    # --- paths -------------------------------------------------------------------------------------------------------

    def path_open(
        self,
        number: int,
        _lookup: int,
        path_at: int,
        length: int,
        open_flags: int,
        rights: int,
        _inheriting: int,
        flags: int,
        number_at: int,
    ) -> None:
        path = self._memory.text(path_at, length)
        start = self._handles.folder(number).node
        parent, name, must_be_folder = self._tree.locate(start, path)
        must_be_folder = must_be_folder or bool(open_flags & _OPEN_FOLDER)
        node: Node | None = parent if name is None else parent.children.get(name)
        writable = bool(rights & _RIGHT_WRITE)
        if node is None:
            if name is None or not open_flags & _OPEN_CREATE:
                raise GuestError(Errno.NOENT)
            if must_be_folder:
                raise GuestError(Errno.INVAL)
            node = self._tree.create_file(parent, name, self._clock.now_ns)
        elif open_flags & _OPEN_CREATE and open_flags & _OPEN_EXCLUSIVE:
            raise GuestError(Errno.EXIST)
        if isinstance(node, FolderNode):
            if open_flags & (_OPEN_CREATE | _OPEN_TRUNCATE) or writable:
                raise GuestError(Errno.ISDIR)
            self._memory.write_u32(number_at, self._handles.open_folder(node))
            return
        if must_be_folder:
            raise GuestError(Errno.NOTDIR)
        if (writable or open_flags & _OPEN_TRUNCATE) and not node.writable:
            raise GuestError(Errno.ROFS)
        opened = self._handles.open_file(
            node, readable=bool(rights & _RIGHT_READ), writable=writable or node.writable, flags=flags
        )
        handle = self._handles.file(opened)
        if open_flags & _OPEN_TRUNCATE:
            handle.truncate(self._tree, 0)
            node.modified_ns = self._clock.now_ns
        handle.writable = writable
        self._memory.write_u32(number_at, opened)

    def path_filestat_get(self, number: int, _lookup: int, path_at: int, length: int, stat_at: int) -> None:
        self._put_stat(self._find(number, path_at, length), stat_at)

    def path_filestat_set_times(
        self, number: int, _lookup: int, path_at: int, length: int, accessed: int, modified: int, flags: int
    ) -> None:
        self._set_times(self._find(number, path_at, length), accessed, modified, flags)

    def path_create_directory(self, number: int, path_at: int, length: int) -> None:
        folder, name = self._locate(number, path_at, length, missing=Errno.EXIST)
        self._tree.create_folder(folder, name, self._clock.now_ns)

    def path_remove_directory(self, number: int, path_at: int, length: int) -> None:
        folder, name = self._locate(number, path_at, length, missing=Errno.BUSY)
        self._tree.remove_folder(folder, name, self._clock.now_ns)

    def path_unlink_file(self, number: int, path_at: int, length: int) -> None:
        folder, name = self._locate(number, path_at, length, missing=Errno.ISDIR)
        self._tree.unlink(folder, name, self._clock.now_ns)
        if self._removed is not None:
            self._removed(folder, name)

    def path_rename(
        self, number: int, path_at: int, length: int, new_number: int, new_path_at: int, new_length: int
    ) -> None:
        old, old_name = self._locate(number, path_at, length, missing=Errno.BUSY)
        new, new_name = self._locate(new_number, new_path_at, new_length, missing=Errno.BUSY)
        self._tree.rename(old, old_name, new, new_name, self._clock.now_ns)
        if self._moved is not None:
            self._moved(old, old_name, new, new_name)

    def path_readlink(
        self, number: int, path_at: int, length: int, _buffer: int, _buffer_length: int, _used_at: int
    ) -> None:
        self._find(number, path_at, length)
        raise GuestError(Errno.INVAL)

    def path_link(self, *_arguments: int) -> None:
        raise GuestError(Errno.NOTSUP)

    def path_symlink(self, *_arguments: int) -> None:
        raise GuestError(Errno.NOTSUP)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _mount(self, number: int) -> bytes:
        handle = self._handles.get(number)
        if not isinstance(handle, FolderHandle) or handle.mount is None:
            raise GuestError(Errno.BADF)
        return handle.mount.encode()

    def _find(self, number: int, path_at: int, length: int) -> Node:
        return self._tree.find(self._handles.folder(number).node, self._memory.text(path_at, length))

    def _locate(self, number: int, path_at: int, length: int, *, missing: Errno) -> tuple[FolderNode, str]:
        """The folder and name of a path; ``missing`` is the error when the path means a folder's own self."""
        path = self._memory.text(path_at, length)
        folder, name, _ = self._tree.locate(self._handles.folder(number).node, path)
        if name is None:
            raise GuestError(missing)
        return folder, name

    def _read(self, handle: FileHandle, vectors: int, count: int, offset: int) -> int:
        views = self._memory.windows(vectors, count)
        wanted = min(sum(map(len, views)), max(handle.node.size - offset, 0))
        self._charge(wanted * BYTE_FUEL)
        return handle.read(views, offset)

    def _write(self, handle: FileHandle, vectors: int, count: int, offset: int) -> int:
        views = self._memory.windows(vectors, count)
        self._charge(sum(map(len, views)) * BYTE_FUEL)
        size = handle.write(self._tree, views, offset)
        handle.node.modified_ns = self._clock.now_ns
        return size

    def _put_stat(self, node: Node, stat_at: int) -> None:
        size = node.size if isinstance(node, FileNode) else 0
        fields = (1, node.number, _node_type(node), 1, size, node.accessed_ns, node.modified_ns, node.modified_ns)
        self._memory.write(stat_at, b"".join((value & _U64).to_bytes(8, "little") for value in fields))

    def _set_times(self, node: Node, accessed: int, modified: int, flags: int) -> None:
        if not node.writable:
            raise GuestError(Errno.ROFS)
        if flags & 1:
            node.accessed_ns = accessed
        if flags & 2:
            node.accessed_ns = self._clock.now_ns
        if flags & 4:
            node.modified_ns = modified
        if flags & 8:
            node.modified_ns = self._clock.now_ns


def _node_type(node: Node) -> int:
    return _TYPE_FOLDER if isinstance(node, FolderNode) else _TYPE_FILE


def _type_of(handle: StreamHandle | FolderHandle | FileHandle) -> int:
    return _TYPE_UNKNOWN if isinstance(handle, StreamHandle) else _node_type(handle.node)
