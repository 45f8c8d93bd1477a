"""The files of WASI preview 2 for a component: the same tree, budget and rules as those of preview 1."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from wasmtime.component import Record, ResourceHost, Variant

from fairgrid.runtime.wasm.component_resources import Descriptor, InputStream, Listing, OutputStream, ResourceTable
from fairgrid.runtime.wasm.guest_faults import Errno, GuestError
from fairgrid.runtime.wasm.wasi_calls import BYTE_FUEL
from fairgrid.runtime.wasm.wasi_handles import FileHandle, FolderHandle, HandleTable
from fairgrid.runtime.wasm.wasi_nodes import FileNode, FolderNode, Node
from fairgrid.runtime.wasm.wasi_state import LogicalClock
from fairgrid.runtime.wasm.wasi_tree import Tree

__all__ = ["ComponentFiles", "moment"]

Call = Callable[..., Any]
Moved = Callable[[FolderNode, str, FolderNode, str], None]
Removed = Callable[[FolderNode, str], None]

_PIECE: Final = 65_536
_SECOND_NS: Final = 1_000_000_000
_ENTRY_FUEL: Final = 1000
_CODES: Final = {
    Errno.BADF: "bad-descriptor",
    Errno.BUSY: "busy",
    Errno.EXIST: "exist",
    Errno.ILSEQ: "illegal-byte-sequence",
    Errno.INVAL: "invalid",
    Errno.ISDIR: "is-directory",
    Errno.MFILE: "insufficient-memory",
    Errno.NAMETOOLONG: "name-too-long",
    Errno.NOENT: "no-entry",
    Errno.NOTCAPABLE: "not-permitted",
    Errno.NOTDIR: "not-directory",
    Errno.NOTEMPTY: "not-empty",
    Errno.NOTSUP: "unsupported",
    Errno.PERM: "not-permitted",
    Errno.ROFS: "read-only",
    Errno.SPIPE: "invalid-seek",
}


class ComponentFiles:
    """All calls of ``wasi:filesystem`` for one component."""

    def __init__(
        self,
        *,
        table: ResourceTable,
        tree: Tree,
        handles: HandleTable,
        clock: LogicalClock,
        charge: Callable[[int], None],
        moved: Moved | None = None,
        removed: Removed | None = None,
    ) -> None:
        """``moved`` and ``removed`` are told of changes after they happened."""
        self._table = table
        self._tree = tree
        self._handles = handles
        self._clock = clock
        self._charge = charge
        self._moved = moved
        self._removed = removed

    def mounts(self) -> list[tuple[ResourceHost, str]]:
        """The folders that the component starts with."""
        return [
            (self._table.own("descriptor", Descriptor(number)), handle.mount)
            for number, handle in self._handles.mounts()
            if handle.mount is not None
        ]

    def close(self, descriptor: Descriptor) -> None:
        """The component gave a descriptor back; those of mounts stay for the next who asks for them."""
        with contextlib.suppress(GuestError):
            handle = self._handles.get(descriptor.number)
            if not isinstance(handle, FolderHandle) or handle.mount is None:
                self._handles.close(descriptor.number)

    def read(self, number: int, length: int, offset: int) -> bytes:
        """Up to ``length`` bytes of the file behind a handle; empty at its end."""
        handle = self._file(number)
        wanted = min(length, max(handle.node.size - offset, 0))
        self._charge(wanted * BYTE_FUEL)
        data = bytearray(wanted)
        return bytes(data[: handle.read([memoryview(data)], offset)])

    def write(self, number: int, contents: bytes, offset: int | None) -> int:
        """Write all of it at ``offset``, or at the file's end; how much that is."""
        handle = self._file(number)
        self._charge(len(contents) * BYTE_FUEL)
        size = handle.write(self._tree, [memoryview(contents)], handle.node.size if offset is None else offset)
        handle.node.modified_ns = self._clock.now_ns
        return size

    def functions(self) -> Mapping[str, Call]:
        """By name."""
        calls: dict[str, Call] = {
            "read-via-stream": self._read_via_stream,
            "write-via-stream": lambda number, offset: self._write_via_stream(number, offset),
            "append-via-stream": lambda number: self._write_via_stream(number, None),
            "advise": lambda number, *_: self._known(number),
            "sync": self._known,
            "sync-data": self._known,
            "get-flags": self._flags,
            "set-size": self._set_size,
            "set-times": lambda number, *times: self._set_times(self._node(number), *times),
            "read": self._read_at,
            "write": lambda number, contents, offset: self.write(number, contents, offset),
            "read-directory": self._read_directory,
            "create-directory-at": self._create_directory,
            "stat": lambda number: self._stat(self._node(number)),
            "stat-at": lambda number, _, path: self._stat(self._find(number, path)),
            "set-times-at": lambda number, _, path, *times: self._set_times(self._find(number, path), *times),
            "link-at": self._unsupported,
            "symlink-at": self._unsupported,
            "open-at": self._open,
            "remove-directory-at": self._remove_directory,
            "unlink-file-at": self._unlink,
            "metadata-hash": lambda number: self._hash(self._node(number)),
            "metadata-hash-at": lambda number, _, path: self._hash(self._find(number, path)),
        }
        methods = {f"[method]descriptor.{name}": self._answering(call) for name, call in calls.items()}
        return {
            **methods,
            "[method]descriptor.get-type": self._get_type,
            "[method]descriptor.readlink-at": self._read_link,
            "[method]descriptor.rename-at": self._rename_at,
            "[method]descriptor.is-same-object": self._is_same,
            "[method]directory-entry-stream.read-directory-entry": self._next_entry,
            "filesystem-error-code": lambda *_: None,
        }

    def _answering(self, call: Call) -> Call:
        def answer(*arguments: Any) -> Any:
            try:
                return call(*arguments)
            except GuestError as error:
                return _CODES[error.errno]

        return answer

    # --- descriptors: by the numbers of their resources --------------------------------------------------------------

    def _handle(self, number: int) -> FileHandle | FolderHandle:
        descriptor = self._table.find(number)
        if not isinstance(descriptor, Descriptor):
            raise GuestError(Errno.BADF)
        handle = self._handles.get(descriptor.number)
        if not isinstance(handle, FileHandle | FolderHandle):
            raise GuestError(Errno.BADF)
        return handle

    def _file(self, number: int) -> FileHandle:
        handle = self._handle(number)
        if isinstance(handle, FolderHandle):
            raise GuestError(Errno.ISDIR)
        return handle

    def _folder(self, number: int) -> FolderNode:
        handle = self._handle(number)
        if not isinstance(handle, FolderHandle):
            raise GuestError(Errno.NOTDIR)
        return handle.node

    def _node(self, number: int) -> Node:
        return self._handle(number).node

    def _known(self, number: int) -> None:
        self._handle(number)

    def _read_via_stream(self, number: int, offset: int) -> ResourceHost:
        if not self._file(number).readable:
            raise GuestError(Errno.BADF)
        return self._table.own("input-stream", InputStream(number, offset))

    def _write_via_stream(self, number: int, offset: int | None) -> ResourceHost:
        if not self._file(number).writable:
            raise GuestError(Errno.BADF)
        return self._table.own("output-stream", OutputStream(None, number, offset))

    def _flags(self, number: int) -> set[str]:
        handle = self._handle(number)
        if isinstance(handle, FolderHandle):
            return {"read", "mutate-directory"} if handle.node.writable else {"read"}
        return ({"read"} if handle.readable else set()) | ({"write"} if handle.writable else set())

    def _set_size(self, number: int, size: int) -> None:
        handle = self._file(number)
        handle.truncate(self._tree, size)
        handle.node.modified_ns = self._clock.now_ns

    def _read_at(self, number: int, length: int, offset: int) -> tuple[bytes, bool]:
        data = self.read(number, min(length, _PIECE), offset)
        return data, offset + len(data) >= self._file(number).node.size

    def _read_directory(self, number: int) -> ResourceHost:
        entries = [(name, _type_of(node)) for name, node in self._folder(number).listing()]
        self._charge(len(entries) * _ENTRY_FUEL)
        return self._table.own("directory-entry-stream", Listing(entries[::-1]))

    def _next_entry(self, listing: int) -> Record | None:
        entries = self._table.of(listing).entries
        if not entries:
            return None
        name, kind = entries.pop()
        return _record({"type": kind, "name": name})

    def _get_type(self, number: int) -> Variant:
        try:
            return Variant("ok", _type_of(self._node(number)))
        except GuestError as error:
            return Variant("err", _CODES[error.errno])

    def _is_same(self, one: int, other: int) -> bool:
        return self._node(one) is self._node(other)

    # --- paths -------------------------------------------------------------------------------------------------------

    def _find(self, number: int, path: str) -> Node:
        return self._tree.find(self._folder(number), path)

    def _locate(self, number: int, path: str, missing: Errno) -> tuple[FolderNode, str]:
        folder, name, _ = self._tree.locate(self._folder(number), path)
        if name is None:
            raise GuestError(missing)
        return folder, name

    def _open(self, number: int, _lookup: set[str], path: str, how: set[str], flags: set[str]) -> ResourceHost:
        parent, name, must_be_folder = self._tree.locate(self._folder(number), path)
        must_be_folder = must_be_folder or "directory" in how
        node: Node | None = parent if name is None else parent.children.get(name)
        writable = "write" in flags
        if node is None:
            if name is None or "create" not in how:
                raise GuestError(Errno.NOENT)
            if must_be_folder:
                raise GuestError(Errno.INVAL)
            node = self._tree.create_file(parent, name, self._clock.now_ns)
        elif {"create", "exclusive"} <= how:
            raise GuestError(Errno.EXIST)
        if isinstance(node, FolderNode):
            if writable or {"create", "truncate"} & how:
                raise GuestError(Errno.ISDIR)
            return self._table.own("descriptor", Descriptor(self._handles.open_folder(node)))
        if must_be_folder:
            raise GuestError(Errno.NOTDIR)
        if (writable or "truncate" in how) and not node.writable:
            raise GuestError(Errno.ROFS)
        opened = self._handles.open_file(node, readable="read" in flags, writable=writable or node.writable, flags=0)
        handle = self._handles.file(opened)
        if "truncate" in how:
            handle.truncate(self._tree, 0)
            node.modified_ns = self._clock.now_ns
        handle.writable = writable
        return self._table.own("descriptor", Descriptor(opened))

    def _create_directory(self, number: int, path: str) -> None:
        folder, name = self._locate(number, path, Errno.EXIST)
        self._tree.create_folder(folder, name, self._clock.now_ns)

    def _remove_directory(self, number: int, path: str) -> None:
        folder, name = self._locate(number, path, Errno.BUSY)
        self._tree.remove_folder(folder, name, self._clock.now_ns)

    def _unlink(self, number: int, path: str) -> None:
        folder, name = self._locate(number, path, Errno.ISDIR)
        self._tree.unlink(folder, name, self._clock.now_ns)
        if self._removed is not None:
            self._removed(folder, name)

    def _rename_at(self, source: int, path: str, target: int, new_path: str) -> str | None:
        try:
            old, old_name = self._locate(source, path, Errno.BUSY)
            new, new_name = self._locate(target, new_path, Errno.BUSY)
            self._tree.rename(old, old_name, new, new_name, self._clock.now_ns)
        except GuestError as error:
            return _CODES[error.errno]
        if self._moved is not None:
            self._moved(old, old_name, new, new_name)
        return None

    def _read_link(self, number: int, path: str) -> Variant:
        try:
            self._find(number, path)
        except GuestError as error:
            return Variant("err", _CODES[error.errno])
        return Variant("err", "invalid")

    @staticmethod
    def _unsupported(*_arguments: Any) -> None:
        raise GuestError(Errno.NOTSUP)

    # --- facts -------------------------------------------------------------------------------------------------------

    def _stat(self, node: Node) -> Record:
        modified = moment(node.modified_ns)
        return _record(
            {
                "type": _type_of(node),
                "link-count": 1,
                "size": node.size if isinstance(node, FileNode) else 0,
                "data-access-timestamp": moment(node.accessed_ns),
                "data-modification-timestamp": modified,
                "status-change-timestamp": modified,
            }
        )

    def _set_times(self, node: Node, accessed: Variant, modified: Variant) -> None:
        if not node.writable:
            raise GuestError(Errno.ROFS)
        node.accessed_ns = self._time_of(accessed, node.accessed_ns)
        node.modified_ns = self._time_of(modified, node.modified_ns)

    def _time_of(self, wanted: Variant, present: int) -> int:
        if wanted.tag == "timestamp":
            payload: Any = wanted.payload
            return int(payload.seconds) * _SECOND_NS + int(payload.nanoseconds)
        return self._clock.now_ns if wanted.tag == "now" else present

    @staticmethod
    def _hash(node: Node) -> Record:
        digest = hashlib.sha256(node.number.to_bytes(8, "big")).digest()
        return _record({"lower": int.from_bytes(digest[:8], "big"), "upper": int.from_bytes(digest[8:16], "big")})


def _type_of(node: Node) -> str:
    return "directory" if isinstance(node, FolderNode) else "regular-file"


def moment(nanoseconds: int) -> Record:
    """A time as ``wasi:clocks`` has it."""
    return _record({"seconds": nanoseconds // _SECOND_NS, "nanoseconds": nanoseconds % _SECOND_NS})


def _record(fields: Mapping[str, Any]) -> Record:
    made = Record()
    for name, value in fields.items():
        setattr(made, name, value)
    return made
