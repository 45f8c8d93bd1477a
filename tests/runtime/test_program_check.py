"""What is refused before anything is signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.client.job import Job
from fairgrid.errors import UsageError
from fairgrid.runtime.catalogue import runtime_for_program
from tests.runtime.modules import command

RELAXED = "(drop (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0)))"


def job_of(path: Path, runtime_id: str | None = None) -> Job:
    return Job.from_files(path, [], [], runtime_id=runtime_id or runtime_for_program(path).runtime_id)


def test_a_module_that_can_run_becomes_a_job(tmp_path: Path) -> None:
    (tmp_path / "good.wasm").write_bytes(command(""))
    assert job_of(tmp_path / "good.wasm").runtime.runtime_id == "wasmtime-49/wasi/deterministic"


@pytest.mark.parametrize(
    ("wasm", "words"),
    [
        (b"\x7fELF", "it is not WebAssembly"),
        (command("", imports='(import "env" "f" (func))'), r"env\.f"),
        (b"\0asm\1\0\0\0" + command("")[8:-3], "not a valid|refuses"),
    ],
)
def test_a_module_that_nobody_could_run_is_refused_before_anything_is_signed(
    tmp_path: Path, wasm: bytes, words: str
) -> None:
    (tmp_path / "bad.wasm").write_bytes(wasm)
    with pytest.raises(UsageError, match=words) as caught:
        job_of(tmp_path / "bad.wasm")
    assert "Nothing was signed" in str(caught.value)


def test_relaxed_simd_is_refused_where_bits_must_agree_and_taken_where_not(tmp_path: Path) -> None:
    (tmp_path / "relaxed.wasm").write_bytes(command(RELAXED))
    with pytest.raises(UsageError, match="the engine refuses it"):
        job_of(tmp_path / "relaxed.wasm")
    job_of(tmp_path / "relaxed.wasm", "wasmtime-49/wasi/fast")


@pytest.mark.parametrize(
    "source", ["import numpy as np", "import os, pandas.api", "def f():\n    from sklearn import svm"]
)
def test_a_script_for_plain_python_that_needs_numpy_is_told_the_runtime_that_has_it(
    tmp_path: Path, source: str
) -> None:
    (tmp_path / "script.py").write_text(source)
    with pytest.raises(UsageError, match="--runtime wasmtime-49/sci315/deterministic"):
        job_of(tmp_path / "script.py")
    job_of(tmp_path / "script.py", "wasmtime-49/sci315/deterministic")


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    import numpy\nexcept ImportError:\n    numpy = None",
        "from . import numpy",
        "import json",
        "this is no python",
    ],
)
def test_a_script_that_may_do_without_is_taken(tmp_path: Path, source: str) -> None:
    (tmp_path / "script.py").write_text(source)
    job_of(tmp_path / "script.py")


def test_a_module_of_that_name_among_the_inputs_is_what_is_meant(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import numpy")
    (tmp_path / "numpy.py").write_text("")
    Job.from_files(tmp_path / "script.py", [tmp_path / "numpy.py"], [], runtime_id="wasmtime-49/py312/deterministic")
