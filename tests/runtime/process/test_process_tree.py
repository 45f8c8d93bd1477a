"""Where there are no cgroups: a family of processes as `/proc` shows it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairgrid.runtime.cgroups.interface import Caps
from fairgrid.runtime.process.process_tree import ProcessTrees, below


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A process with a child that keeps 40 MiB."""
    child = "b = bytearray(40 << 20); print('ready', flush=True); import time; time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
    finally:
        for pid in below(process.pid):
            os.kill(pid, 9)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_without_cgroups_the_whole_family_is_metered_stopped_and_found(family: subprocess.Popen[str]) -> None:
    group = ProcessTrees().new_group("any", Caps(20 << 20, 10, 1))
    group.add(family.pid)
    assert len(group.pids()) == 2
    reading = group.read()
    assert reading.peak_memory_bytes > 40 << 20 and reading.out_of_memory and reading.cpu_s > 0
    group.suspend()
    while [state_of(pid) for pid in group.pids()] != ["T", "T"]:
        time.sleep(0.01)
    group.resume()
    group.kill()
    assert family.wait(10) == -9
    group.remove()
    assert group.pids() == []
