"""Speed of WebAssembly against native code: the example `align` in C, and a script in CPython.

``python -m bench.wasm_speed`` needs clang with wasi-libc (``make system-deps``) and prints processor seconds, medians
of runs by turns. Native is clang with the same options, and this Python.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.interface import Limits, SandboxJob, Stop
from fairgrid.runtime.wasm.provider import provider

__all__ = ["main"]

_RUNS = 5
_SOURCES = Path(__file__).parents[1] / "examples" / "webassembly"
_SCRIPT = """
import math
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
words = {}
for number in range(200_000): words[str(number % 977)] = words.get(str(number % 977), 0) + number
print(fib(24), sum(math.sin(x) for x in range(200_000)), len(words))
"""

Run = Callable[[], Awaitable[float]]


def _fasta() -> str:
    letters = random.Random(1)
    return "".join(f">s{n}\n{''.join(letters.choices('ACGT', k=1500))}\n" for n in range(12))


def _native(command: list[str], folder: Path) -> Run:
    async def run() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)  # noqa: ASYNC221
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return run


def _sandboxed(runtime_id: str, program: Path, arguments: tuple[str, ...], inputs: Path, folder: Path) -> Run:
    sandbox = provider(CATALOGUE[runtime_id]).sandbox()
    numbers = iter(range(1_000))

    async def run() -> float:
        out = folder / f"{runtime_id.replace('/', '-')}-{next(numbers)}" / "out"
        out.mkdir(parents=True)
        limits = Limits(fuel=10**13, wall_s=300.0)
        outcome = await sandbox.run(SandboxJob(program, arguments, inputs, out, {}, bytes(32), limits))
        assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), outcome
        return outcome.cpu_s

    return run


def _contests(folder: Path) -> dict[str, list[tuple[str, Run]]]:
    inputs = folder / "in"
    inputs.mkdir()
    (inputs / "genes.fa").write_text(_fasta())
    sources = [str(_SOURCES / "align.c"), str(_SOURCES / "align_main.c")]
    subprocess.run(["clang", "-O2", "-o", folder / "align", *sources], check=True)
    subprocess.run(["clang", "--target=wasm32-wasi", "-O2", "-o", folder / "align.wasm", *sources], check=True)
    script = folder / "script.py"
    script.write_text(_SCRIPT)
    module, given = folder / "align.wasm", ("/iexec_in/genes.fa",)
    return {
        "`align` in C": [
            ("native", _native([str(folder / "align"), str(inputs / "genes.fa")], folder)),
            ("deterministic", _sandboxed("wasmtime-49/wasi/deterministic", module, given, inputs, folder)),
            ("fast", _sandboxed("wasmtime-49/wasi/fast", module, given, inputs, folder)),
        ],
        "a script in CPython": [
            ("native", _native([sys.executable, "-I", str(script)], folder)),
            ("deterministic", _sandboxed("wasmtime-49/py312/deterministic", script, (), inputs, folder)),
        ],
    }


async def _measured(runs: list[tuple[str, Run]]) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name, _ in runs}
    for _, run in runs:
        # The first one of a module compiles it.
        await run()
    for _ in range(_RUNS):
        for name, run in runs:
            found[name].append(await run())
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    """The command."""
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs, {_RUNS} runs each, by turns")
    print("| program | native | WebAssembly, processor seconds (times native) |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="fairgrid-bench-") as folder:
        for program, runs in _contests(Path(folder)).items():
            found = asyncio.run(_measured(runs))
            native = found.pop("native")
            words = ", ".join(f"{name} {spent:.2f} s ({spent / native:.1f})" for name, spent in found.items())
            print(f"| {program} | {native:.2f} s | {words} |")


if __name__ == "__main__":
    main()
