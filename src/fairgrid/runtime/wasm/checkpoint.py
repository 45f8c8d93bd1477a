"""The checkpoint folder inside a guest: what is renamed into place there is saved on the host at that moment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from fairgrid.runtime.checkpoints import Checkpoint, CheckpointFolder
from fairgrid.runtime.log_sink import LogSink
from fairgrid.runtime.wasm.wasi_calls import BYTE_FUEL
from fairgrid.runtime.wasm.wasi_nodes import FolderNode, files_below, path_below
from fairgrid.runtime.wasm.wasi_tree import Tree

__all__ = ["GuestCheckpoint"]


class GuestCheckpoint:
    """The mount ``/fairgrid_checkpoint`` of one guest; ``host`` None: nothing is saved, all else is the same."""

    def __init__(
        self,
        tree: Tree,
        host: Path | None,
        *,
        stdout: LogSink,
        stderr: LogSink,
        fuel_limit: int,
        spent: Callable[[], int],
        charge: Callable[[int], None],
    ) -> None:
        self.root = tree.writable_folder()
        self._tree = tree
        self._stdout = stdout
        self._stderr = stderr
        self._spent = spent
        self._charge = charge
        self._folder = CheckpointFolder(host) if host is not None else None
        loaded = self._folder.load() if self._folder is not None else None
        # What has spent all its fuel cannot go on: it is computed anew, and then says so as every machine does.
        self.loaded: Checkpoint | None = loaded if loaded is not None and loaded.fuel < fuel_limit else None

    def fill(self, now_ns: int) -> None:
        """Put the saved files and the log so far where the guest left them.

        Raises:
            HostTrouble: the disk failed.
        """
        if self.loaded is not None:
            for path in sorted(self.loaded.files, key=str.encode):
                self._tree.put_copy(self.root, path, self.loaded.files[path], now_ns)
            self._stdout.add(self.loaded.stdout)
            self._stderr.add(self.loaded.stderr)

    def moved(self, old: FolderNode, old_name: str, new: FolderNode, new_name: str) -> None:
        """A rename happened: what arrived in the folder is saved, what left it is forgotten."""
        gone = self._below(old, old_name)
        arrived = self._below(new, new_name)
        if gone is None and arrived is None:
            return
        changed: dict[str, Path] = {}
        if arrived is not None:
            node = new.children[new_name]
            found = files_below(node, f"{arrived}/") if isinstance(node, FolderNode) else [(arrived, node)]
            # Paid in fuel whether or not this machine saves: a job must cost the same everywhere.
            self._charge(sum(file.size for _, file in found) * BYTE_FUEL)
            changed = {path: file.backing for path, file in found}
        self._save(changed, gone)

    def removed(self, folder: FolderNode, name: str) -> None:
        """A file was removed."""
        gone = self._below(folder, name)
        if gone is not None:
            self._save({}, gone)

    def _below(self, folder: FolderNode, name: str) -> str | None:
        place = path_below(self.root, folder)
        return None if place is None else place + name

    def _save(self, changed: dict[str, Path], gone: str | None) -> None:
        if self._folder is None:
            return
        # A checkpoint that this machine cannot store must not change the job: the last one stays.
        with contextlib.suppress(OSError):
            self._folder.save(
                changed, gone, stdout=self._stdout.saved(), stderr=self._stderr.saved(), fuel=self._spent()
            )
