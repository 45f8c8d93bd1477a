"""Programs of strangers are compiled once per machine, within limits, and told of; a kill leaves nothing half made."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Preparing, Stop
from fairgrid.runtime.wasm import programs as compiled_programs
from fairgrid.runtime.wasm.compiler import COMPILE_MEMORY_BYTES
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.programs import CompiledPrograms
from tests.runtime.modules import command, module_job, module_sandbox

PROGRAM = """\
import asyncio, sys
from pathlib import Path
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.programs import CompiledPrograms
asyncio.run(CompiledPrograms(Path(sys.argv[1]), EngineClass.DETERMINISTIC).compiled(Path(sys.argv[2])))
"""


def slow_module(functions: int) -> bytes:
    """Some seconds of work for each thousand functions."""
    body = "(block " * 900 + ")" * 900
    return command("", more="".join(f'(func (export "f{number}") {body})' for number in range(functions)))


def memory_bomb() -> bytes:
    """One function of 0.3 MB with more values alive at once than a compiler can hold in little memory."""
    steps = (
        f"(if (local.get {n % 900}) (then (local.set {n * 7 % 900} (i32.add (local.get {n % 900}) (i32.const {n})))))"
        for n in range(20_000)
    )
    return command("", more=f'(func (export "g") (param {"i32 " * 900}) {"".join(steps)})')


def stored(path: Path, program: bytes) -> Path:
    path.write_bytes(program)
    return path


async def until(condition: Callable[[], object]) -> None:
    """Look until it is true: what happens in other processes tells nobody."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def compilers_of(parent: int) -> list[int]:
    """Processes that a process started to compile."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"fairgrid.runtime.wasm.compiler" in place.read_bytes():
                facts = place.with_name("stat").read_text().rpartition(")")[2].split()
                found += [int(place.parent.name)] if int(facts[1]) == parent else []
        except OSError:
            continue
    return found


async def test_a_program_is_prepared_ahead_of_its_job_and_the_owner_hears_of_it_once(tmp_path: Path) -> None:
    sandbox = module_sandbox(tmp_path / "cache")
    assert isinstance(sandbox, Preparing)
    job, told = module_job(tmp_path / "job", command("")), list[str]()
    assert not await sandbox.is_prepared(job.script)
    await sandbox.prepare(job.script, told.append)
    began, ended = told
    assert re.fullmatch(r"compiling its program of 0\.0 MB, new here, since \d\d:\d\d:\d\d UTC", began)
    assert re.fullmatch(r"compiled its program in \d+\.\d s", ended)
    assert await sandbox.is_prepared(job.script)
    await sandbox.prepare(job.script, told.append)
    assert len(told) == 2 and (await sandbox.run(job)).stop is Stop.EXITED


async def test_what_is_no_program_is_prepared_by_being_known_as_such_and_refused_when_it_is_run(tmp_path: Path) -> None:
    sandbox = module_sandbox(tmp_path / "cache")
    job = module_job(tmp_path / "job", b"\0asm\1\0\0\0")
    await sandbox.prepare(job.script, lambda text: None)
    assert await sandbox.is_prepared(job.script)
    outcome = await sandbox.run(job)
    assert outcome.exit_code == 126 and b"does not export the function _start" in outcome.stderr


async def test_tasks_that_want_one_program_wait_for_one_compilation_and_other_programs_for_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, at_once, most, count = compiled_programs._run_compiler, 0, 0, 0
    let_go = asyncio.Event()

    async def held(module: Path, output: int, engine_class: EngineClass) -> tuple[int, str]:
        nonlocal at_once, most, count
        at_once, count = at_once + 1, count + 1
        most = max(most, at_once)
        await let_go.wait()
        answer = await real(module, output, engine_class)
        at_once -= 1
        return answer

    monkeypatch.setattr(compiled_programs, "_run_compiler", held)
    one = stored(tmp_path / "one.wasm", command(""))
    other = stored(tmp_path / "other.wasm", command("", memory="2"))
    told: list[list[str]] = [[], [], []]

    def new_cache() -> CompiledPrograms:
        return CompiledPrograms(tmp_path / "cache", EngineClass.DETERMINISTIC)

    tasks = [asyncio.create_task(new_cache().compiled(one, told[0].append))]
    await until(lambda: told[0])
    tasks += [
        asyncio.create_task(new_cache().compiled(program, told[number].append))
        for number, program in ((1, one), (2, other))
    ]
    await until(lambda: told[1] and told[2])
    let_go.set()
    first, same, another = await asyncio.gather(*tasks)
    assert first == same != another and (most, count) == (1, 2)
    assert told[1] == ["waits: another task compiles the same program here"]
    assert told[2][0] == "waits: another program is compiled here first" and len(told[2]) == 3


@pytest.mark.timeout(120)
async def test_a_worker_that_is_killed_while_it_compiles_leaves_nothing_half_made(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    module = stored(tmp_path / "slow.wasm", slow_module(2_000))
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, cache, module), start_new_session=True, stdout=asyncio.subprocess.DEVNULL
    )
    await until(lambda: list(cache.glob("*.part")) and compilers_of(worker.pid))
    places = [Path(f"/proc/{pid}") for pid in compilers_of(worker.pid)]
    worker.send_signal(signal.SIGKILL)
    await worker.wait()
    await until(lambda: not any(place.exists() for place in places))
    assert not list(cache.glob("*.cwasm"))
    (left,) = cache.glob("*.part")
    os.utime(left, (time.time() - 3_600,) * 2)
    small = await CompiledPrograms(cache, EngineClass.DETERMINISTIC).compiled(stored(tmp_path / "a.wasm", command("")))
    assert small.exists() and not left.exists()


@pytest.mark.timeout(180)
async def test_a_module_that_is_a_memory_bomb_for_the_compiler_is_refused_within_the_limit(tmp_path: Path) -> None:
    peak = 0

    async def watch() -> None:
        nonlocal peak
        while True:
            for pid in compilers_of(os.getpid()):
                try:
                    words = Path(f"/proc/{pid}/status").read_text().split()
                    peak = max(peak, int(words[words.index("VmHWM:") + 1]) << 10)
                except (OSError, ValueError):
                    continue
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    try:
        with pytest.raises(HostFailure, match="more time or memory than this machine gives"):
            await module_sandbox(tmp_path / "cache").run(module_job(tmp_path / "job", memory_bomb()))
    finally:
        watching.cancel()
    assert 0 < peak <= COMPILE_MEMORY_BYTES + (256 << 20)
    assert not list((tmp_path / "cache").glob("*.cwasm"))
