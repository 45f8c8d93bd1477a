"""Scientific Python: numpy, pandas, scipy and scikit-learn give the same bits in every process and on every host.

``science/digests.json`` holds what every machine must get; ``python -m tests.runtime.science_runs FOLDER`` prints it.
"""

from __future__ import annotations

import asyncio
import filecmp
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Limits, Stop
from fairgrid.runtime.wasm.interpreters import find_runtime
from fairgrid.runtime.wasm.sandbox import WasmSandbox
from tests.needs import need
from tests.runtime.modules import module_job
from tests.runtime.oldest_processor import compiled_for_the_oldest, needs_x86_64
from tests.runtime.science_runs import RUNTIME, SCRIPTS, run_scripts

DIGESTS = SCRIPTS / "digests.json"
NAMES = sorted(path.stem for path in SCRIPTS.glob("*.py"))
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(240, func_only=True)


@pytest.fixture(scope="session")
def science() -> WasmSandbox:
    try:
        return find_runtime(RUNTIME).sandbox()
    except HostFailure as error:
        need(None, str(error))
        raise


async def in_another_host(folder: Path, name: str, *, odd: bool) -> list[object]:
    """Run a script below a process of its own, whose machine looks different when ``odd``."""
    command = [sys.executable, "-m", "tests.runtime.science_runs", str(folder), name]
    environment = dict(os.environ)
    if odd:
        environment |= {"LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "12345"}
        environment |= {"OPENBLAS_NUM_THREADS": "3", "HOSTNAME": "elsewhere"}
        if sys.platform == "linux":
            # One processor, and another name where the kernel lets us have one.
            named = 'unshare --uts sh -c \'hostname elsewhere; exec "$@"\' - "$@"'
            command = ["sh", "-c", f'unshare --uts true 2>/dev/null && exec {named}; exec "$@"', "-", *command]
            command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), *command]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    answer, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    found: list[object] = json.loads(answer)[name]
    return found


def test_there_are_twenty_scripts_and_each_package_has_some() -> None:
    assert len(NAMES) >= 20 and {name.split("_")[0] for name in NAMES} == {"numpy", "pandas", "scipy", "sklearn"}


@pytest.mark.parametrize("name", NAMES)
async def test_a_script_gives_the_committed_bits_and_fuel_on_a_host_that_differs(
    science: WasmSandbox, tmp_path: Path, name: str
) -> None:
    expected = json.loads(DIGESTS.read_text())[name]
    assert expected[:2] == ["exited", 0]
    assert await in_another_host(tmp_path, name, odd=True) == expected


@pytest.mark.parametrize("name", ["numpy_random_streams", "scipy_optimise"])
async def test_a_script_gives_them_on_this_host_as_it_is_too(science: WasmSandbox, tmp_path: Path, name: str) -> None:
    assert await in_another_host(tmp_path, name, odd=False) == json.loads(DIGESTS.read_text())[name]


@pytest.fixture(scope="session")
def for_the_oldest(science: WasmSandbox) -> WasmSandbox:
    """The same interpreter in other native code; 150 s of processor time on a machine that has not made it yet."""
    here = find_runtime(RUNTIME)
    old = compiled_for_the_oldest(here)
    assert not filecmp.cmp(old, here.compiled, shallow=False), "this machine's processor is the oldest itself"
    return replace(here, compiled=old).sandbox()


@needs_x86_64
@pytest.mark.slow
@pytest.mark.timeout(900, func_only=True)
async def test_every_script_gives_the_committed_bits_and_fuel_in_code_for_the_oldest_processor(
    for_the_oldest: WasmSandbox, tmp_path: Path
) -> None:
    assert await run_scripts(for_the_oldest, tmp_path, NAMES) == json.loads(DIGESTS.read_text())


async def test_a_job_that_wants_a_thread_a_process_a_socket_or_a_tool_of_its_host_gets_none(
    science: WasmSandbox, tmp_path: Path
) -> None:
    source = """
import os, socket, subprocess, sys, threading
def tried(name, call):
    try:
        call()
    except Exception as error:
        print(name, type(error).__name__)
    else:
        print(name, "worked")
tried("thread", lambda: threading.Thread(target=print).start())
tried("process", lambda: subprocess.run(["ls"]))
tried("socket", lambda: socket.create_connection(("127.0.0.1", 80)))
tried("file", lambda: open("/etc/passwd"))
tried("input", lambda: open("/iexec_in/data.csv", "w"))
tried("library", lambda: open("/usr/local/lib/python315.zip", "a"))
print(sys.argv, sys.path, os.getcwd(), sorted(os.environ), sys.dont_write_bytecode)
"""
    job = module_job(tmp_path / "job", source.encode(), arguments=("a",), inputs={"data.csv": b""}, name="script.py")
    outcome = await science.run(job)
    lines = outcome.stdout.decode().splitlines()
    assert outcome.exit_code == 0, outcome.stderr
    assert not any(line.endswith(" worked") for line in lines) and len(lines) == 7, lines
    assert lines[6] == (
        "['/iexec_app/script.py', 'a'] ['/iexec_app', '/usr/local/lib/python315.zip', '/iexec_in'] /iexec_out "
        "['HOME', 'IEXEC_IN', 'IEXEC_OUT', 'PYTHONTZPATH', 'TMPDIR'] True"
    )


async def test_limits_of_memory_and_fuel_are_agreed_errors(science: WasmSandbox, tmp_path: Path) -> None:
    greedy = b"import numpy\nkept = [numpy.ones(10**7) for _ in range(99)]"
    limits = Limits(fuel=10**11, memory_bytes=256 << 20)
    job = module_job(tmp_path / "greedy", greedy, name="script.py", limits=limits)
    assert (await science.run(job)).stop is Stop.MEMORY
    job = module_job(tmp_path / "endless", b"while True: pass", name="script.py", limits=Limits(fuel=2 * 10**9))
    assert (await science.run(job)).stop is Stop.FUEL


async def test_an_exception_shows_the_scripts_frames_only(science: WasmSandbox, tmp_path: Path) -> None:
    job = module_job(tmp_path / "job", b"import numpy\nnumpy.zeros(3).reshape(2)", name="script.py")
    outcome = await science.run(job)
    assert outcome.exit_code == 1 and outcome.stderr.startswith(
        b'Traceback (most recent call last):\n  File "/iexec_app'
    )
    assert b"prelude" not in outcome.stderr and b"science.py" not in outcome.stderr
