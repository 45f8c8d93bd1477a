from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fairgrid.errors import ManifestError
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.manifest import FileRef, Manifest, Resources
from fairgrid.worker.computing.folders import TaskFolder, forget_old_checkpoints

DAY_S = 86_400.0
RUNTIME = "wasmtime-49/py312/deterministic"


def test_what_is_laid_out_outlives_the_cache_and_goes_with_the_folder(tmp_path: Path) -> None:
    cached, folder = tmp_path / "cached", TaskFolder(tmp_path / "tasks" / "0x01")
    cached.write_bytes(b"print(1)")
    cid = cid_of(b"print(1)")
    manifest = Manifest(script=FileRef("job.py", cid, 8), runtime=RUNTIME, resources=Resources(fuel=1))
    folder.lay_out(manifest.to_bytes(), {cid: cached})
    cached.unlink()
    assert (folder.inputs / cid).read_bytes() == b"print(1)" and folder.read_manifest() == manifest
    folder.remove()
    assert not folder.path.exists() and folder.path.parent.exists()


def test_a_manifest_that_was_changed_on_disk_is_refused(tmp_path: Path) -> None:
    folder = TaskFolder(tmp_path / "task")
    folder.lay_out(b"{}", {})
    with pytest.raises(ManifestError):
        folder.read_manifest()


def test_a_working_folder_is_empty_whatever_an_earlier_run_left(tmp_path: Path) -> None:
    folder = TaskFolder(tmp_path)
    for _ in range(2):
        folder.make_workdir()
        assert list(folder.workdir.iterdir()) == []
        (folder.workdir / "left").write_bytes(b"x")


def test_checkpoints_go_after_a_day_unless_their_tasks_are_held(tmp_path: Path) -> None:
    for name, age_s in (("held", 2 * DAY_S), ("old", 2 * DAY_S), ("young", 60.0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    forget_old_checkpoints(tmp_path, {"held"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held", "young"]


def test_a_worker_that_never_had_a_checkpoint_has_none_to_forget(tmp_path: Path) -> None:
    forget_old_checkpoints(tmp_path / "none", set())
    assert list(tmp_path.iterdir()) == []
