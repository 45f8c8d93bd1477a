"""Other processors: code that was made for the oldest x86-64 gives the same bits and fuel as code made for this one."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Outcome
from fairgrid.runtime.wasm.compiling import compile_interpreter
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.interpreters import InstalledRuntime, install_interpreter
from fairgrid.runtime.wasm.launch import GuestProgram, Launch
from fairgrid.runtime.wasm.sandbox import WasmSandbox
from tests.runtime.modules import module_job
from tests.runtime.oldest_processor import compiled_for_the_oldest, needs_x86_64

FLOATS = """
const results = [];
for (let n = 1; n < 2000; n++) {
  const x = n / 7 - 100;
  results.push(Math.sin(x), Math.exp(x / 50), Math.pow(Math.abs(x), 1.3), Math.floor(x), Math.round(x));
  results.push(Math.sqrt(x), x % 3, Math.fround(x), Math.cbrt(x), Math.atan2(x, n));
}
console.log(JSON.stringify(results));
"""


@pytest.fixture
def quickjs() -> InstalledRuntime:
    return install_interpreter("wasmtime-49/quickjs/deterministic")


async def run(compiled: Path, quickjs: InstalledRuntime, folder: Path) -> Outcome:
    program = GuestProgram(compiled, Launch.QUICKJS, EngineClass.DETERMINISTIC)
    job = module_job(folder, FLOATS.encode(), name="floats.js")
    return await WasmSandbox(quickjs.wasm, program, "id").run(job)


@needs_x86_64
@pytest.mark.timeout(240, func_only=True)
async def test_code_for_the_oldest_processor_gives_the_same_bits_and_fuel(
    quickjs: InstalledRuntime, tmp_path: Path
) -> None:
    old = await asyncio.to_thread(compiled_for_the_oldest, quickjs)
    assert old.read_bytes() != quickjs.compiled.read_bytes(), "this machine's processor is the oldest itself"
    there = await run(old, quickjs, tmp_path / "old")
    here = await run(quickjs.compiled, quickjs, tmp_path / "here")
    assert (here.exit_code, len(json.loads(here.stdout))) == (0, 19_990), here.stderr
    assert (there.stdout, there.fuel_used) == (here.stdout, here.fuel_used)


@pytest.mark.timeout(240, func_only=True)
async def test_an_interpreter_compiled_apart_is_the_same_interpreter(quickjs: InstalledRuntime, tmp_path: Path) -> None:
    made, words = tmp_path / "made.cwasm", list[str]()
    await asyncio.to_thread(compile_interpreter, quickjs.wasm, made, EngineClass.DETERMINISTIC, words.append)
    made.chmod(0o400)
    outcomes = [await run(path, quickjs, tmp_path / path.stem) for path in (made, quickjs.compiled)]
    assert outcomes[0].stdout == outcomes[1].stdout and outcomes[0].exit_code == 0


def test_a_file_that_is_no_interpreter_says_so_when_it_is_compiled_apart(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(os.urandom(100))
    with pytest.raises(HostFailure, match="ended with status"):
        compile_interpreter(tmp_path / "bad", tmp_path / "made", EngineClass.DETERMINISTIC, lambda _: None)
