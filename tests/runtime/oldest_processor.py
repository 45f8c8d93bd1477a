"""Interpreters in native code for the oldest x86-64 (SSE2 and no more), kept beside the others in the cache folder."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fairgrid.runtime.wasm.interpreters import InstalledRuntime

__all__ = ["compiled_for_the_oldest", "needs_x86_64"]

needs_x86_64 = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="compares kinds of x86-64"
)
_COMPILE_S = 1500
_PROGRAM = """
import sys, wasmtime
import fairgrid.runtime.wasm.engine as engine

def for_the_oldest(config):
    config.target = "x86_64-unknown-linux-gnu"  # no feature beyond SSE2 is looked for
    return made(config)

made, wasmtime.Engine = wasmtime.Engine, for_the_oldest
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as target:
    target.write(engine.compile_module(source.read(), engine.EngineClass(sys.argv[3])))
"""


def compiled_for_the_oldest(runtime: InstalledRuntime) -> Path:
    """The runtime's interpreter, compiled once on this machine; its name changes with engine, version and program.

    Blocking: scientific Python takes minutes of processor time and gigabytes of memory, once.
    """
    import fcntl

    program = hashlib.sha256(_PROGRAM.encode()).hexdigest()[:8]
    target = runtime.compiled.with_name(f"{runtime.compiled.stem}-oldest-{program}.cwasm")
    with open(target.parent / "oldest.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(prefix="compiling-", dir=target.parent) as folder:
                made = Path(folder) / "made"
                words = [str(runtime.wasm), str(made), runtime.spec.engine_class]
                # More threads would take more memory: each holds a function's intermediate form.
                threads = {"RAYON_NUM_THREADS": str(min(4, os.cpu_count() or 1))}
                command = [sys.executable, "-c", _PROGRAM, *words]
                subprocess.run(command, check=True, timeout=_COMPILE_S, env=os.environ | threads)
                made.chmod(0o444)
                os.replace(made, target)
    return target
