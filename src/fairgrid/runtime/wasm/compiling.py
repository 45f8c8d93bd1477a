"""Compiling a large interpreter in a process of its own: with limits, and with a word now and then."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.wasm.compiler import INTERPRETER
from fairgrid.runtime.wasm.engine import EngineClass

__all__ = ["compile_interpreter"]

_THREADS: Final = 4
"""More would be faster, and take more memory: each thread holds a function's intermediate form."""
_WALL_S: Final = 3600.0
_WORD_EVERY_S: Final = 15.0


def compile_interpreter(wasm: Path, target: Path, engine_class: EngineClass, tell: Callable[[str], None]) -> None:
    """Compile a pinned interpreter into the new file ``target``; ``tell`` hears of it every quarter of a minute.

    Raises:
        HostFailure: it failed, for lack of memory as a rule, or took an hour.
    """
    command = [sys.executable, "-I", "-B", "-X", "utf8", "-m", "fairgrid.runtime.wasm.compiler", engine_class]
    threads = str(min(_THREADS, os.cpu_count() or 1))
    started = time.monotonic()
    with wasm.open("rb") as source, target.open("wb") as output:
        process = subprocess.Popen(
            [*command, INTERPRETER],
            stdin=source,
            stdout=output,
            stderr=subprocess.PIPE,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "RAYON_NUM_THREADS": threads},
        )
        try:
            while True:
                try:
                    _, said = process.communicate(timeout=_WORD_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    spent = time.monotonic() - started
                    if spent > _WALL_S:
                        raise HostFailure(f"Compiling the interpreter took longer than {_WALL_S:.0f} s.") from None
                    tell(f"Still compiling ({spent:.0f} s so far)")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        raise HostFailure(
            f"Compiling the interpreter ended with status {process.returncode}: "
            f"{said.decode(errors='replace').strip()[-500:] or 'no words; as a rule there is not enough memory'}. "
            f"It needs about 3 GB; close something and run `fairgrid runtime install` again."
        )
