"""Programs in several languages: JavaScript in QuickJS, C by clang, and CPython without metering."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fairgrid.runtime.interface import Limits, Outcome, Stop
from fairgrid.runtime.wasm.interpreters import find_runtime, install_interpreter
from fairgrid.runtime.wasm.sandbox import WasmSandbox
from tests.needs import need
from tests.runtime.modules import module_job, module_sandbox

C_SOURCE = r"""
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **arguments) {
    for (int number = 0; number < count; number++) printf("%s\n", arguments[number]);
    char text[16] = {0};
    FILE *given = fopen("/iexec_in/given.txt", "r");
    fread(text, 1, 15, given);
    FILE *made = fopen("made.txt", "w");
    fprintf(made, "%s!", text);
    fclose(made);
    printf("%d %d\n", fopen("/etc/passwd", "r") != NULL, fopen("/iexec_in/given.txt", "w") != NULL);
    unsigned random;
    getentropy(&random, sizeof random);
    long before = time(NULL);
    sleep(5);
    printf("%ld %ld %u %s\n", before, (long)time(NULL), random, getenv("IEXEC_IN"));
    return 7;
}
"""

JS_SOURCE = """
import * as std from "qjs:std";
import * as os from "qjs:os";
import { twice } from "/iexec_in/lib.mjs";
const file = std.open("made.txt", "w");
file.puts(String(twice(21)));
file.close();
console.log(scriptArgs.join(" "), std.loadFile("/iexec_in/given.txt"), Date.now(), Math.random());
console.log(os.readdir("/iexec_in")[0].sort().join(" "), std.open("/etc/passwd", "r"));
"""


@pytest.fixture
def c_program(tmp_path: Path) -> bytes:
    clang = shutil.which("clang")
    need(clang and Path("/usr/lib/wasm32-wasi").exists(), "clang with wasi-libc: make system-deps")
    (tmp_path / "program.c").write_text(C_SOURCE)
    command = [str(clang), "--target=wasm32-wasi", "-O2", "-o", "program.wasm", "program.c"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    return (tmp_path / "program.wasm").read_bytes()


@pytest.fixture(scope="session")
def quickjs() -> WasmSandbox:
    return install_interpreter("wasmtime-49/quickjs/deterministic").sandbox()


@pytest.fixture(scope="session")
def fast_python() -> WasmSandbox:
    return install_interpreter("wasmtime-49/py312/fast").sandbox()


@pytest.mark.timeout(240, func_only=True)
async def test_c_by_clang_runs_alike_twice_and_sees_only_what_it_was_given(c_program: bytes, tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    for number in range(2):
        job = module_job(tmp_path / f"job{number}", c_program, arguments=("a", "b c"), inputs={"given.txt": b"text"})
        outcomes.append(await module_sandbox(tmp_path / "cache").run(job))
        assert (job.output_folder / "made.txt").read_text() == "text!"
    first, second = outcomes
    assert (first.stop, first.exit_code) == (Stop.EXITED, 7), first
    lines = first.stdout.decode().splitlines()
    assert lines[:4] == ["/iexec_app/program.wasm", "a", "b c", "0 0"]
    assert lines[4].startswith("1700000000 1700000005 ") and lines[4].endswith(" /iexec_in")
    assert (first.stdout, first.fuel_used) == (second.stdout, second.fuel_used)


async def test_javascript_reads_writes_imports_and_agrees_with_itself(quickjs: WasmSandbox, tmp_path: Path) -> None:
    inputs = {"given.txt": b"text", "lib.mjs": b"export const twice = (n) => 2 * n;"}
    outcomes: list[Outcome] = []
    for number in range(2):
        source = JS_SOURCE.encode()
        job = module_job(tmp_path / str(number), source, arguments=("a",), inputs=inputs, name="script.js")
        outcomes.append(await quickjs.run(job))
        assert outcomes[-1].exit_code == 0, outcomes[-1].stderr
        assert (job.output_folder / "made.txt").read_text() == "42"
    first, second = outcomes
    lines = first.stdout.decode().splitlines()
    assert lines[0].startswith("/iexec_app/script.js a text 17000000000") and lines[1] == ". .. given.txt lib.mjs null"
    assert (first.stdout, first.fuel_used) == (second.stdout, second.fuel_used)


async def test_javascript_that_throws_ends_with_code_1_and_its_stack(quickjs: WasmSandbox, tmp_path: Path) -> None:
    job = module_job(tmp_path / "job", b"function f() { throw new TypeError('bad') }\nf()", name="script.js")
    outcome = await quickjs.run(job)
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 1)
    assert "TypeError: bad" in outcome.stderr.decode() and "/iexec_app/script.js:1" in outcome.stderr.decode()


async def test_endless_javascript_stops_by_fuel(quickjs: WasmSandbox, tmp_path: Path) -> None:
    job = module_job(tmp_path / "job", b"for (;;);", name="script.js", limits=Limits(fuel=100_000_000))
    assert (await quickjs.run(job)).stop is Stop.FUEL


@pytest.mark.timeout(240, func_only=True)
async def test_python_without_metering_gives_the_same_and_stops_by_processor_time(
    fast_python: WasmSandbox, tmp_path: Path
) -> None:
    source = b"import random, time\nprint(random.random(), time.time(), 0.1 + 0.2)"
    job = module_job(tmp_path / "job", source, name="script.py")
    outcome = await fast_python.run(job)
    assert (outcome.exit_code, outcome.fuel_used) == (0, 0), outcome.stderr
    metered = (
        await find_runtime("wasmtime-49/py312/deterministic")
        .sandbox()
        .run(module_job(tmp_path / "metered", source, name="script.py"))
    )
    assert metered.stdout == outcome.stdout
    limits = Limits(fuel=1, cpu_s=2.0)
    endless = module_job(tmp_path / "endless", b"while True: pass", name="script.py", limits=limits)
    assert (await fast_python.run(endless)).stop is Stop.CPU
