"""The level ``wasm`` in the escape suite: what a module can ask for at all. `tests/runtime/test_lockdown.py` tries the
rest from inside a job's process, as if the module had taken it over."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from fairgrid.runtime.interface import Limits, Sandbox, Stop
from tests.needs import need
from tests.runtime.modules import module_sandbox
from tests.sandbox.attacks import LevelUnderTest

__all__ = ["level"]

_SOURCE = Path(__file__).with_name("attacks_wasi.c")
_FUEL = 2_000_000_000
_NO_CALL = "WASI has no call for it; the module's process has given it up, too: `tests/runtime/test_lockdown.py`"
_NOT_HERE = ("fork-bomb", "fork-for-ever", "become-root", "trace", "mounts", "kernel", "signals", "orphans")
_REFUSED = frozenset({Stop.EXITED, Stop.MEMORY})
_FULL = frozenset({Stop.EXITED, Stop.OUTPUT, Stop.MEMORY})


def level() -> LevelUnderTest:
    """Modules of the deterministic class, which fuel ends."""
    return LevelUnderTest(
        "wasm",
        _sandbox,
        _program,
        not_here=dict.fromkeys(_NOT_HERE, _NO_CALL),
        stops={
            "log-bomb": frozenset({Stop.FUEL}),
            "scratch-bomb": _FULL,
            "hidden-bomb": _FULL,
            "memory-bomb": _REFUSED,
        },
        tighter=_with_fuel,
    )


def _with_fuel(limits: Limits) -> Limits:
    # Fuel is what ends a module; the wall clock is only the last resort.
    return replace(limits, fuel=_FUEL, wall_s=limits.wall_s + 100)


def _sandbox() -> Sandbox:
    return module_sandbox(_folder() / "compiled")


def _program(executable: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    return Path(shutil.copyfile(_folder() / "attack.wasm", folder / "attack.wasm"))


@cache
def _folder() -> Path:
    clang = shutil.which("clang")
    need(clang and Path("/usr/lib/wasm32-wasi").exists(), "clang with wasi-libc: make system-deps")
    folder = Path(tempfile.mkdtemp(prefix="fairgrid-wasi-"))
    command = [str(clang), "--target=wasm32-wasi", "-O1", "-o", str(folder / "attack.wasm"), str(_SOURCE)]
    subprocess.run(command, check=True, capture_output=True)
    return folder
