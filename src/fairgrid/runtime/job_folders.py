"""The folders of one run of a job: laid out before it, and nothing but the result left after it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairgrid.errors import HostFailure, ManifestError
from fairgrid.protocol.digest import entries_of_folder
from fairgrid.protocol.manifest import FileRef, TaskRef, hashed_name
from fairgrid.protocol.results import error_in_folder, rule_error
from fairgrid.runtime.removal import remove_tree

__all__ = ["GUEST_IN", "GUEST_OUT", "lay_out", "lay_out_dependencies", "tidy"]

GUEST_IN, GUEST_OUT = "/iexec_in", "/iexec_out"
"""Where the job itself sees inputs and output."""
_FOLDERS = ("app", "in", "out", "result")


def lay_out(script: FileRef, references: Sequence[FileRef], inputs: Mapping[str, Path], workdir: Path) -> None:
    """Make the folders of a run anew, with script and inputs in their places; they are linked where that is possible.

    Raises:
        HostFailure: an input was not fetched.
        ManifestError: one has another size than the manifest says.
        OSError: there is no room.
    """
    for name in _FOLDERS:
        if (workdir / name).exists():
            remove_tree(workdir / name)
        (workdir / name).mkdir(parents=True)
    _place(script, inputs, workdir / "app" / script.name)
    for reference in references:
        _place(reference, inputs, workdir / "in" / reference.name)
        hashed = workdir / "in" / hashed_name(reference.cid)
        if not hashed.exists():
            _place(reference, inputs, hashed)


def lay_out_dependencies(needed: Sequence[TaskRef], results: Mapping[str, Path], target: Path) -> dict[str, Any] | None:
    """Lay the results of other tasks beside the inputs; an error document if one of them is an error itself.

    Raises:
        HostFailure: a result was not fetched.
    """
    for reference in needed:
        folder = results.get(reference.task)
        if folder is None:
            raise HostFailure(f"The result of task {reference.task}, on which the job depends, was not fetched.")
        if error_in_folder(folder) is not None:
            message = f"The job depends on task {reference.task} ({reference.name}), which ended with an error."
            return rule_error("dependency", message)
        (target / reference.name).mkdir()
        for entry in entries_of_folder(folder):
            place = target / reference.name / entry.path
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(folder / entry.path, place)
    return None


def tidy(workdir: Path) -> None:
    """Keep the result and nothing else."""
    for name in _FOLDERS[:-1]:
        remove_tree(workdir / name)


def _place(reference: FileRef, inputs: Mapping[str, Path], target: Path) -> None:
    source = inputs.get(reference.cid)
    if source is None:
        raise HostFailure(f"The input {reference.name!r} ({reference.cid}) was not fetched.")
    size = source.stat().st_size
    if size != reference.size:
        raise ManifestError(
            f"The input {reference.name!r} has {size} bytes and the manifest says {reference.size}: "
            f"whoever made the manifest has to correct it."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    _link(source, target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        # Another file system, or one without hard links.
        shutil.copyfile(source, target)
