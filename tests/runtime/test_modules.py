"""Programs that are WebAssembly modules: what runs, what is refused with agreed words, what stops them."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Limits, Stop
from fairgrid.runtime.wasm import programs as compiled_programs
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.module_format import MAX_MODULE_BYTES
from fairgrid.runtime.wasm.programs import CompiledPrograms
from tests.runtime.modules import command, module_job, module_sandbox

EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
WRITE = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
FOR_EVER = "(loop $again (br $again))"


async def test_a_module_runs_and_says_what_it_has_to_say(tmp_path: Path) -> None:
    hello = command(
        "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))) (call $exit (i32.const 3))",
        imports=WRITE + EXIT,
        more='(data (i32.const 0) "\\20\\00\\00\\00\\03\\00\\00\\00") (data (i32.const 32) "hi\\n")',
    )
    outcome = await module_sandbox(tmp_path / "cache").run(module_job(tmp_path / "job", hello))
    assert (outcome.stop, outcome.exit_code, outcome.stdout) == (Stop.EXITED, 3, b"hi\n"), outcome
    assert outcome.fuel_used > 200_000


async def test_a_module_that_returns_ended_well(tmp_path: Path) -> None:
    outcome = await module_sandbox(tmp_path / "cache").run(module_job(tmp_path / "job", command("")))
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), outcome


async def test_a_call_imported_twice_as_go_does_is_no_fault(tmp_path: Path) -> None:
    twice = command("(call $exit (i32.const 4))", imports=EXIT + EXIT.replace("$exit", "$again"))
    assert (await module_sandbox(tmp_path / "cache").run(module_job(tmp_path / "job", twice))).exit_code == 4


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"", "it is not WebAssembly"),
        (b"#!/bin/sh\n", "it is not WebAssembly"),
        (b"\0asm\x0d\0\1\0", "it is a component"),
        (b"\0asm\2\0\0\0", "version"),
        (b"\0asm\1\0\0\0\1\x7f", "not a valid WebAssembly module"),
        (command("(i32.const 1)")[:-1], "not a valid"),
        (b"\0asm\1\0\0\0", "does not export the function _start"),
        (command("", imports='(import "env" "system" (func (param i32)))'), "the function env.system"),
        (command("", imports='(import "wasi_snapshot_preview1" "no" (func))'), "wasi_snapshot_preview1.no"),
        (command("", imports='(import "wasi_snapshot_preview1" "fd_close" (func))'), "other parameters"),
        (command("", imports='(import "wasi_snapshot_preview1" "fd_close" (global i32))'), "the global"),
        (bytes(MAX_MODULE_BYTES + 1), "more than"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
async def test_what_is_no_program_is_an_agreed_error_that_says_why(tmp_path: Path, program: bytes, words: str) -> None:
    outcome = await module_sandbox(tmp_path / "cache").run(module_job(tmp_path / "job", program))
    assert (outcome.stop, outcome.exit_code, outcome.fuel_used) == (Stop.EXITED, 126, 0)
    assert words in outcome.stderr.decode() and outcome.stderr.startswith(b"[fairgrid: this program cannot run: ")
    assert list((tmp_path / "cache").glob("*.cwasm")) == []


@pytest.mark.parametrize(
    ("body", "trap"),
    [
        ("unreachable", "UNREACHABLE"),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "INTEGER_DIVISION_BY_ZERO"),
        ("(drop (i32.load (i32.const -4)))", "MEMORY_OUT_OF_BOUNDS"),
    ],
)
async def test_a_trap_is_an_agreed_error(tmp_path: Path, body: str, trap: str) -> None:
    outcome = await module_sandbox(tmp_path / "cache").run(module_job(tmp_path / "job", command(body)))
    assert (outcome.stop, outcome.exit_code, outcome.detail) == (Stop.EXITED, 134, trap)
    assert outcome.stderr == f"\n[fairgrid: the program trapped: {trap}]\n".encode()


async def test_the_native_stack_is_no_result(tmp_path: Path) -> None:
    deep = command("(call $f)", more="(func $f (call $f))")
    outcome = await module_sandbox(tmp_path / "cache").run(module_job(tmp_path / "job", deep))
    assert outcome.stop is Stop.HOST and "stack" in outcome.detail


async def test_an_endless_module_stops_by_fuel_where_it_is_metered_and_by_processor_time_where_not(
    tmp_path: Path,
) -> None:
    job = module_job(tmp_path / "metered", command(FOR_EVER), limits=Limits(fuel=10_000_000))
    outcome = await module_sandbox(tmp_path / "cache").run(job)
    assert (outcome.stop, outcome.fuel_used) == (Stop.FUEL, 10_000_000)
    job = module_job(tmp_path / "fast", command(FOR_EVER), limits=Limits(fuel=1, cpu_s=0.5))
    outcome = await module_sandbox(tmp_path / "cache", EngineClass.FAST).run(job)
    assert (outcome.stop, outcome.fuel_used) == (Stop.CPU, 0) and 0.5 < outcome.cpu_s < 20


async def test_memory_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    greedy = command("", memory="300")
    job = module_job(tmp_path / "job", greedy, limits=Limits(fuel=10**9, memory_bytes=16 << 20))
    assert (await module_sandbox(tmp_path / "cache").run(job)).stop is Stop.MEMORY


async def test_a_program_is_compiled_once_even_when_two_jobs_come_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    real = compiled_programs._run_compiler

    async def counted(module: Path, output: int, engine_class: EngineClass) -> tuple[int, str]:
        nonlocal count
        count += 1
        return await real(module, output, engine_class)

    monkeypatch.setattr(compiled_programs, "_run_compiler", counted)
    sandboxes = [module_sandbox(tmp_path / "cache") for _ in range(3)]
    jobs = [module_job(tmp_path / f"job{number}", command("")) for number in range(3)]
    outcomes = await asyncio.gather(*(sandbox.run(job) for sandbox, job in zip(sandboxes, jobs, strict=True)))
    assert [outcome.stop for outcome in outcomes] == [Stop.EXITED] * 3 and count == 1
    (kept,) = (tmp_path / "cache").glob("*.cwasm")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o400 and stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    await module_sandbox(tmp_path / "cache", EngineClass.FAST).run(module_job(tmp_path / "fast", command("")))
    assert count == 2, "another class of engine is another compiled form"


async def test_a_module_that_burns_the_compiler_costs_a_bounded_time_and_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_programs, "COMPILE_WALL_S", 1.5)
    slow = command("", more="".join(f'(func (export "f{n}") {"(block " * 900}{")" * 900})' for n in range(4000)))
    job = module_job(tmp_path / "job", slow)
    sandbox = module_sandbox(tmp_path / "cache")
    with pytest.raises(HostFailure, match="more time or memory"):
        await sandbox.run(job)
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".failed", ".lock", ".turn"]
    began = asyncio.get_running_loop().time()
    with pytest.raises(HostFailure, match="more time or memory"):
        await sandbox.run(job)
    assert asyncio.get_running_loop().time() - began < 1.0


@pytest.mark.skipif(os.name != "posix", reason="owners and modes of POSIX")
async def test_a_cache_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(HostFailure, match="Others can write"):
        await module_sandbox(tmp_path / "cache").run(module_job(tmp_path / "job", command("")))


async def test_the_cache_keeps_what_was_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = [command("", more=f"(global i32 (i32.const {number}))") for number in range(3)]
    cache = CompiledPrograms(tmp_path / "cache", EngineClass.DETERMINISTIC)
    paths: list[Path] = []
    for number, program in enumerate(programs):
        (tmp_path / f"{number}.wasm").write_bytes(program)
        if number == 2:
            os.utime(paths[0], (1, 1))
            monkeypatch.setattr(compiled_programs, "_KEPT_BYTES", 2 * paths[0].stat().st_size)
        paths.append(await cache.compiled(tmp_path / f"{number}.wasm"))
    assert [path.exists() for path in paths] == [False, True, True]
