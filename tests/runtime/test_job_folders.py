"""How a job's files lie where it finds them: its own, and the results of other tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure, ManifestError
from fairgrid.protocol.manifest import TaskRef, hashed_name
from fairgrid.protocol.results import error_to_bytes, exit_error, parse_error
from fairgrid.runtime.interface import SandboxJob
from fairgrid.runtime.job import run_job
from fairgrid.runtime.job_result import JobResult
from fairgrid.runtime.twin import FunctionSandbox
from tests.runtime.job_bench import CONTEXT, RUNTIME, Bench, Job, write


async def test_inputs_lie_under_their_own_and_under_their_hashed_names(bench: Bench) -> None:
    found: dict[str, bytes] = {}

    def look(job: SandboxJob) -> bytes:
        for path in job.input_folder.rglob("*"):
            if path.is_file():
                found[str(path.relative_to(job.input_folder))] = path.read_bytes()
        return b""

    contents = {"data.csv": b"1,2", "sub/ü" + "x" * 200: b"deep", "same.csv": b"1,2"}
    manifest = bench.manifest(inputs=contents)
    await bench.run(manifest, FunctionSandbox(look, runtime_id=RUNTIME))
    hashed = {hashed_name(reference.cid): contents[reference.name] for reference in manifest.inputs}
    assert found == contents | hashed and len(hashed) == 2


def other_result(base: Path, files: Mapping[str, str]) -> Path:
    """The folder of another task's result."""
    for name, content in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(content)
    return base


async def run_after(bench: Bench, tmp_path: Path, files: Mapping[str, str], job: Job) -> JobResult:
    """Run a job that depends on a task with these files as its result."""
    task = "0x" + "ab" * 32
    manifest = replace(bench.manifest(inputs={"a.csv": b"1"}), dependencies=(TaskRef("before", task),))
    return await run_job(
        manifest,
        manifest.cid(),
        CONTEXT,
        inputs=bench.files,
        workdir=bench.base / "work",
        sandbox=FunctionSandbox(job, runtime_id=RUNTIME),
        dependencies={task: other_result(tmp_path / "other", files)},
    )


async def test_result_of_another_task_lies_in_the_folder_that_the_manifest_names(bench: Bench, tmp_path: Path) -> None:
    def job(job: SandboxJob) -> bytes:
        assert job.environment["IEXEC_INPUT_FILES_NUMBER"] == "1"
        before = job.input_folder / "before"
        found = sorted(path.relative_to(before).as_posix() for path in before.rglob("*") if path.is_file())
        return write(job, {"found": "\n".join(found), "copy": (before / "deep/x.txt").read_text()})

    result = await run_after(bench, tmp_path, {"out.txt": "1", "deep/x.txt": "two"}, job)
    assert (result.result_folder / "found").read_text() == "deep/x.txt\nout.txt"
    assert (result.result_folder / "copy").read_text() == "two"


async def test_job_after_a_failed_task_is_not_run_and_everybody_agrees_why(bench: Bench, tmp_path: Path) -> None:
    def job(job: SandboxJob) -> bytes:
        raise AssertionError("it ran")

    failed = error_to_bytes(exit_error(1, b"", b"typo")).decode()
    result = await run_after(bench, tmp_path, {"error.json": failed}, job)
    assert result.error == {
        "fairgrid": "error/1",
        "kind": "dependency",
        "message": f"The job depends on task 0x{'ab' * 32} (before), which ended with an error.",
    }
    assert result.covered == ("error.json",)
    assert parse_error((result.result_folder / "error.json").read_bytes()) == result.error


async def test_result_of_another_task_that_was_not_fetched_is_a_host_failure(bench: Bench) -> None:
    manifest = replace(bench.manifest(), dependencies=(TaskRef("before", "0x" + "ab" * 32),))
    with pytest.raises(HostFailure, match="was not fetched"):
        await bench.run(manifest, FunctionSandbox(lambda job: b"", runtime_id=RUNTIME))


async def test_input_that_was_not_fetched_is_a_host_failure(bench: Bench) -> None:
    manifest = bench.manifest(inputs={"data": b"data"})
    del bench.files[manifest.inputs[0].cid]
    with pytest.raises(HostFailure, match="was not fetched"):
        await bench.run(manifest, FunctionSandbox(lambda job: b"", runtime_id=RUNTIME))


async def test_size_that_does_not_fit_the_content_is_the_manifests_fault(bench: Bench) -> None:
    manifest = bench.manifest(inputs={"data": b"data"})
    bench.files[manifest.inputs[0].cid].write_bytes(b"dat")
    with pytest.raises(ManifestError, match="has 3 bytes and the manifest says 4"):
        await bench.run(manifest, FunctionSandbox(lambda job: b"", runtime_id=RUNTIME))


async def test_what_an_earlier_run_left_is_gone(bench: Bench) -> None:
    await bench.run_function(lambda job: write(job, {"old": "old"}))
    result = await bench.run_function(lambda job: write(job, {"new": "new"}))
    assert result.covered == ("new",)
    assert [path.name for path in (bench.base / "work").iterdir()] == ["result"]
    assert bench.files and all(path.exists() for path in bench.files.values()), "the cache keeps its files"
