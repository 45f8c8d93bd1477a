"""Files and folders of a guest's file system, as they hang together; nothing here looks at the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

__all__ = ["FileNode", "FolderNode", "Node", "deepest_below", "files_below", "path_below", "upwards"]


@dataclass(slots=True, eq=False)
class FileNode:
    """A regular file; its content lies in the host file ``backing``."""

    number: int
    writable: bool
    backing: Path
    size: int
    accessed_ns: int
    modified_ns: int
    opens: int = 0
    linked: bool = True


@dataclass(slots=True, eq=False)
class FolderNode:
    """A folder; the root of a mount is its own parent."""

    number: int
    writable: bool
    accessed_ns: int
    modified_ns: int
    parent: FolderNode | None = None
    name: str = ""
    children: dict[str, FileNode | FolderNode] = field(default_factory=dict)

    def listing(self) -> list[tuple[str, FileNode | FolderNode]]:
        """Children in byte order of their UTF-8 names."""
        return sorted(self.children.items(), key=lambda item: item[0].encode())

    def path_bytes(self) -> int:
        """Length of this folder's path below its mount, in bytes, with the trailing slash; 0 for the mount itself."""
        length, folder = 0, self
        while folder.parent is not None:
            length += len(folder.name.encode()) + 1
            folder = folder.parent
        return length


Node: TypeAlias = FileNode | FolderNode


def files_below(folder: FolderNode, prefix: str = "") -> list[tuple[str, FileNode]]:
    """Every file below a folder with its path, folder by folder in byte order."""
    found: list[tuple[str, FileNode]] = []
    for name, node in folder.listing():
        path = f"{prefix}{name}"
        found += files_below(node, f"{path}/") if isinstance(node, FolderNode) else [(path, node)]
    return found


def path_below(root: FolderNode, folder: FolderNode) -> str | None:
    """The path of ``folder`` below ``root``, with a slash at the end, empty for the root itself; None if it is not."""
    parts: list[str] = []
    for current in upwards(folder):
        if current is root:
            return "".join(f"{part}/" for part in reversed(parts))
        parts.append(current.name)
    return None


def upwards(folder: FolderNode) -> Iterator[FolderNode]:
    """``folder``, and every folder that it lies in."""
    current: FolderNode | None = folder
    while current is not None:
        yield current
        current = current.parent


def deepest_below(node: Node) -> int:
    """Bytes of the longest path below ``node``, with its leading slash; 0 for a file or an empty folder."""
    if isinstance(node, FileNode) or not node.children:
        return 0
    return max(1 + len(name.encode()) + deepest_below(child) for name, child in node.children.items())
