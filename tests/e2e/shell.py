"""Lines of a page, run by a shell as its reader would: in a folder of theirs, with a home of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["reader_environment", "run_line"]

_OURS = {"FAIRGRID_DIR", "FAIRGRID_EXECUTOR", "FAIRGRID_KEY", "PYTHONPATH", "VIRTUAL_ENV"}


def reader_environment(home: Path, programs: Path | None = None) -> dict[str, str]:
    """The environment of a reader whose programs lie in ``programs`` (None: beside this Python).

    What this machine has fetched already stays in its cache: anvil, interpreters.
    """
    folder = programs or Path(sys.executable).parent
    return {
        **{name: value for name, value in os.environ.items() if name not in _OURS},
        "HOME": str(home),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
    }


def run_line(command: str, folder: Path, home: Path, *, programs: Path | None = None, timeout_s: float = 240) -> str:
    """Run one line of a shell block to its end; gives what it said on stdout.

    Raises:
        AssertionError: it failed.
    """
    done = subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env=reader_environment(home, programs),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
