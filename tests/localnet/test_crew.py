from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairgrid.localnet.crew import Crew
from fairgrid.localnet.folder import NetworkFolder
from fairgrid.localnet.processes import ProcessFailed, ProcessSpec, start_process

SLEEPER = "import time; print('ready http://127.0.0.1:1234', flush=True); time.sleep(60)"


@pytest.fixture
async def crew(tmp_path: Path) -> AsyncIterator[Crew]:
    crew = Crew(NetworkFolder(tmp_path))
    crew.guard()
    started = []
    for name in ("anvil", "pool"):
        spec = ProcessSpec(
            name, (sys.executable, "-c", SLEEPER), tmp_path / f"{name}.log", "^ready (.*)$", timeout_s=20
        )
        started.append(await start_process(spec, guardian=crew.guardian, started=crew.note))
    yield crew
    for process in started:
        await process.stop()
    await crew.dismiss()


async def test_what_one_program_started_another_one_finds_and_ends(crew: Crew, tmp_path: Path) -> None:
    other = Crew(NetworkFolder(tmp_path))
    assert sorted(other.names()) == ["anvil", "pool"]
    assert other.runs("pool")
    await other.end_all_but("anvil")
    assert crew.names() == other.names() == ["anvil"]
    assert not other.runs("pool")
    assert crew.ended() == {}


async def test_a_killed_process_has_ended_with_its_code_for_its_parent_alone(crew: Crew, tmp_path: Path) -> None:
    crew.kill("pool")
    while not crew.ended():  # noqa: ASYNC110 - nobody could tell
        await asyncio.sleep(0.01)
    assert crew.ended() == {"pool": -signal.SIGKILL}
    assert Crew(NetworkFolder(tmp_path)).ended() == {"pool": None}
    assert sorted(crew.names()) == ["anvil", "pool"]


async def test_a_process_that_runs_is_not_started_again_and_a_bad_command_is_told(crew: Crew) -> None:
    await crew.run("pool", ["no-such-command"], ready_within_s=20)
    with pytest.raises(ProcessFailed, match="no-such-command"):
        await crew.run("market", ["no-such-command"], ready_within_s=20)
