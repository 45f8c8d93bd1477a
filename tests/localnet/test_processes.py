from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairgrid.localnet.processes import (
    Guardian,
    ProcessFailed,
    ProcessRecord,
    ProcessSpec,
    end_processes,
    log_tail,
    start_process,
)

SLEEPER = "import time; print('ready http://127.0.0.1:1234'); time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def spec(tmp_path: Path, code: str, *, ready: str | None = "^ready (.*)$", timeout_s: float = 20) -> ProcessSpec:
    return ProcessSpec("sleeper", (sys.executable, "-c", code), tmp_path / "logs" / "s.log", ready, timeout_s=timeout_s)


async def test_a_process_is_ready_when_it_says_so_and_ends_on_request(tmp_path: Path) -> None:
    process = await start_process(spec(tmp_path, SLEEPER))
    assert process.ready == "http://127.0.0.1:1234"
    assert process.record.running()
    assert await process.stop() == -signal.SIGTERM
    assert not process.record.running()


async def test_the_ready_line_of_an_earlier_run_does_not_count(tmp_path: Path) -> None:
    await (await start_process(spec(tmp_path, SLEEPER))).stop()
    with pytest.raises(ProcessFailed, match="it ended with code 0"):
        await start_process(spec(tmp_path, "pass"))
    assert "ready http" in (tmp_path / "logs" / "s.log").read_text()


async def test_a_process_that_ends_at_once_shows_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(
        ProcessFailed, match=r"(?s)ended with code 3\. Its log is .*s\.log.*the port is taken"
    ) as caught:
        await start_process(spec(tmp_path, "import sys; sys.exit(print('the port is taken') or 3)"))
    assert caught.value.name == "sleeper"


async def test_a_process_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    pids: list[int] = []
    with pytest.raises(ProcessFailed, match=r"not ready after 1\.5 s.*It said nothing"):
        await start_process(
            spec(tmp_path, "import time; time.sleep(60)", timeout_s=1.5),
            started=lambda process: pids.append(process.record.pid),
        )
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


async def test_a_program_that_does_not_exist_is_a_clear_error(tmp_path: Path) -> None:
    missing = ProcessSpec("ghost", (str(tmp_path / "nothing"),), tmp_path / "ghost.log")
    with pytest.raises(ProcessFailed, match=r"ghost did not start: .*nothing cannot be run"):
        await start_process(missing)


async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_time(tmp_path: Path) -> None:
    process = await start_process(spec(tmp_path, STUBBORN, ready="ready"))
    begun = time.monotonic()
    await end_processes([process.record], grace_s=0.5)
    assert 0.5 <= time.monotonic() - begun < 40
    assert await process.stop() == -signal.SIGKILL


async def test_a_stranger_that_got_the_pid_is_not_touched(tmp_path: Path) -> None:
    process = await start_process(spec(tmp_path, SLEEPER))
    stranger = ProcessRecord("old", process.record.pid, process.record.started - 3600)
    assert not stranger.running()
    await end_processes([stranger])
    assert process.record.running()
    await process.stop()


async def test_ending_what_is_gone_already_is_no_error(tmp_path: Path) -> None:
    process = await start_process(spec(tmp_path, SLEEPER))
    await process.stop()
    await end_processes([process.record])
    assert process.exit_code() == -signal.SIGTERM


PARENT = """
import asyncio, os, sys
from pathlib import Path
from fairgrid.localnet.processes import Guardian, ProcessSpec, start_process
async def main():
    guardian = Guardian()
    code = "import time; print('ready', flush=True); time.sleep(60)"
    spec = ProcessSpec("child", (sys.executable, "-c", code), Path(sys.argv[1]), "ready")
    child = await start_process(spec, guardian=guardian)
    if sys.argv[2] == "release":
        child.detach()
        guardian.close(release=True)
    print(child.record.pid, child.record.started, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("fate", ["ended", "release"])
def test_children_of_a_killed_parent_end_unless_they_were_released(tmp_path: Path, fate: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log"), fate], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, started = parent.stdout.readline().split()
        child = ProcessRecord("child", int(pid), float(started))
        assert child.running()
        parent.kill()
    deadline = time.monotonic() + (10 if fate == "ended" else 1.5)
    while child.running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert child.running() == (fate == "release")
    child.signal(kill=True)


async def test_a_guardian_that_is_closed_ends_what_still_runs(tmp_path: Path) -> None:
    guardian = Guardian()
    process = await start_process(spec(tmp_path, SLEEPER), guardian=guardian)
    guardian.close()
    assert process.exit_code() == -signal.SIGTERM


def test_the_tail_of_a_log_has_the_last_lines_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(f"line {n}" for n in range(100)))
    assert log_tail(log, lines=2) == "line 98\nline 99"
    assert log_tail(tmp_path / "none") == ""
