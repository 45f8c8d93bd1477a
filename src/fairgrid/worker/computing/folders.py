"""Where a worker keeps what belongs to its tasks, and what lies where in the folder of one of them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.protocol.manifest import Manifest, parse_manifest
from fairgrid.runtime.removal import make_anew, remove_tree

__all__ = ["CACHE_FOLDER", "CHECKPOINT_FOLDER", "PARTIAL_FOLDER", "TaskFolder", "forget_old_checkpoints"]

CACHE_FOLDER: Final = "cache"
CHECKPOINT_FOLDER: Final = "checkpoints"
"""Where jobs' checkpoints lie until their task is computed, also when its lease was handed back: it may come again."""
PARTIAL_FOLDER: Final = "partial"
"""Where downloads lie that are not whole yet; they go on after a restart."""

_CHECKPOINT_KEPT_S: Final = 86_400.0
"""How long the checkpoint of a task stays that this worker does not hold any more."""


@dataclass(frozen=True, slots=True)
class TaskFolder:
    """The folder of one task. What is called here blocks."""

    path: Path

    @property
    def inputs(self) -> Path:
        """Script and inputs, each under its CID."""
        return self.path / "inputs"

    @property
    def dependencies(self) -> Path:
        """Results of other tasks, each in a folder named by its task."""
        return self.path / "dependencies"

    @property
    def workdir(self) -> Path:
        """What the job's run has for itself."""
        return self.path / "work"

    @property
    def result(self) -> Path:
        """What the job left, once it was computed."""
        return self.path / "result"

    @property
    def live(self) -> Path:
        """What may be seen of the job while it runs."""
        return self.path / "live"

    @property
    def archive(self) -> Path:
        """The archive of the result, once it was asked for."""
        return self.path / "result.zip"

    @property
    def _manifest(self) -> Path:
        return self.path / "manifest.json"

    def lay_out(self, manifest: bytes, paths: Mapping[str, Path]) -> None:
        """Store the manifest, and the files ``paths`` by their CIDs.

        Raises:
            OSError: there is no room.
        """
        self.inputs.mkdir(parents=True)
        for cid, path in paths.items():
            # A second name of the cached file: the cache may forget it, the task keeps it.
            os.link(path, self.inputs / cid)
        self._manifest.write_bytes(manifest)

    def lay_out_opened(self, manifest: Manifest) -> None:
        """Store the manifest of a private job, whose files lie in `inputs` already."""
        self._manifest.write_bytes(manifest.to_bytes())

    def forget_opened(self) -> None:
        """Remove what a private job had in plain form, but for its result."""
        self._manifest.unlink(missing_ok=True)
        remove_tree(self.inputs)

    def read_manifest(self) -> Manifest:
        """The manifest that was laid out.

        Raises:
            ManifestError: it cannot be used.
        """
        return parse_manifest(self._manifest.read_bytes())

    def make_workdir(self) -> None:
        """Make `workdir` anew, and empty."""
        make_anew(self.workdir)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        remove_tree(self.path)


def forget_old_checkpoints(checkpoints: Path, held: Collection[str]) -> None:
    """Remove checkpoints of tasks that are not held and were not worked on for a day."""
    with contextlib.suppress(OSError):
        for folder in list(checkpoints.iterdir()):
            if folder.name not in held and folder.stat().st_mtime < time.time() - _CHECKPOINT_KEPT_S:
                remove_tree(folder)
