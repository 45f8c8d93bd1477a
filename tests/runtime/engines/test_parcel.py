"""A cell's files as bytes: all of them there and back, links only as links that lead nowhere, and within a limit."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.cell_files import read_job, read_outcome, write_job, write_outcome
from fairgrid.runtime.engines.parcel import pack_answer, pack_cell, unpack_answer, unpack_cell
from fairgrid.runtime.interface import Outcome, Stop
from tests.runtime.engines.jobs import job_in

LIMIT = 1 << 20
DONE = Outcome(Stop.EXITED, 0, b"", b"", 1, 1.0, 1)


def test_a_job_arrives_with_its_files_and_its_answer_comes_back(tmp_path: Path) -> None:
    job = job_in(tmp_path / "home", "print(1)")
    (job.input_folder / "deep").mkdir()
    (job.input_folder / "deep" / "data").write_bytes(b"\x00\xff")
    checkpoint = tmp_path / "home" / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "state").write_text("4")
    job = replace(job, checkpoint=True, checkpoint_folder=checkpoint)
    folder = tmp_path / "home" / "cell"
    write_job(folder, "r/1", job)

    root = tmp_path / "node"
    cell = unpack_cell(pack_cell(folder, max_bytes=LIMIT), root)
    runtime_id, there = read_job(cell)
    assert runtime_id == "r/1" and there.script.read_text() == "print(1)" and there.seed == job.seed
    assert (there.input_folder / "deep" / "data").read_bytes() == b"\x00\xff"
    assert there.checkpoint_folder is not None and (there.checkpoint_folder / "state").read_text() == "4"
    assert there.output_folder == root / "out" and list(there.output_folder.iterdir()) == []

    (there.output_folder / "a").mkdir()
    (there.output_folder / "a" / "r").write_text("result")
    (there.output_folder / "link").symlink_to("/etc/passwd")
    (there.checkpoint_folder / "state").write_text("5")
    write_outcome(cell, DONE)
    unpack_answer(pack_answer(root, max_bytes=LIMIT), folder)
    assert read_outcome(folder) == DONE
    assert (job.output_folder / "a" / "r").read_text() == "result"
    assert (job.output_folder / "link").is_symlink() and str((job.output_folder / "link").readlink()) == "nowhere"
    assert (checkpoint / "state").read_text() == "5"


def test_what_is_too_large_does_not_travel(tmp_path: Path) -> None:
    job = job_in(tmp_path / "home", "")
    (job.input_folder / "data").write_bytes(bytes(LIMIT))
    write_job(tmp_path / "home" / "cell", "r/1", job)
    with pytest.raises(HostFailure, match="max_carried_bytes is 1048576"):
        pack_cell(tmp_path / "home" / "cell", max_bytes=LIMIT)


@pytest.mark.parametrize("name", ["../evil", "/evil", "cell/../../evil"])
def test_a_parcel_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(HostFailure, match="cannot be unpacked"):
        unpack_cell(buffer.getvalue(), tmp_path / "node")
    assert not (tmp_path / "evil").exists()


def test_bytes_that_are_no_parcel_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="cannot be unpacked"):
        unpack_cell(b"no tar at all", tmp_path / "node")
