"""Each attack on each level: refused, told, and the next job goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Set
from pathlib import Path

import psutil
import pytest

from fairgrid.errors import VerificationError
from fairgrid.protocol.archive import write_archive
from fairgrid.protocol.digest import entries_of_folder
from fairgrid.runtime.interface import Sandbox, Stop
from tests.sandbox.attacks import ATTACKS, LIMITS, MIB, SECRET, Attack, Bait, LevelUnderTest, job_for, told

_AGENT_GROWTH = 64 * MIB


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_attack_is_refused_and_the_next_job_goes_on(
    attack: Attack, level: LevelUnderTest, executable: Path, bait: Bait, tmp_path: Path
) -> None:
    if attack.name in level.not_here:
        assert level.not_here[attack.name], "say why it is no attack on this level"
        return
    sandbox = level.sandbox()
    program = level.program(executable, tmp_path / "program")
    before = _agent_memory()
    disk = shutil.disk_usage(tmp_path).free
    other = asyncio.ensure_future(_hold_a_secret(sandbox, level, program, tmp_path / "other"))
    try:
        arguments = [word for word in attack.arguments(bait) if word not in level.own_paths]
        job = job_for(program, tmp_path / "job", level.tighter(attack.limits), attack.name, *arguments)
        outcome = await sandbox.run(job)
    finally:
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
    expected: Set[Stop] = level.stops.get(attack.name, attack.stops)
    assert outcome.stop in expected, told(outcome)
    if outcome.stop is Stop.EXITED and not level.own_machine:
        assert outcome.exit_code == 0 and b"ESCAPED" not in outcome.stdout, told(outcome)
    assert SECRET.encode() not in outcome.stdout + outcome.stderr
    assert bait.arrived == []
    assert len(outcome.stdout) <= attack.limits.log_bytes + 200
    assert _agent_memory() - before < _AGENT_GROWTH
    assert disk - shutil.disk_usage(tmp_path).free < 2048 * MIB
    assert (job.input_folder / "input.txt").read_text() == "untouched\n"
    _results_hold_nothing_of_others(job.output_folder, tmp_path)
    good = job_for(program, tmp_path / "good", level.tighter(LIMITS), "good")
    after = await sandbox.run(good)
    assert (after.stop, after.exit_code) == (Stop.EXITED, 0), told(after)
    assert (good.output_folder / "good.txt").read_text() == "good\n"


async def _hold_a_secret(sandbox: Sandbox, level: LevelUnderTest, program: Path, folder: Path) -> None:
    """Another requester's job that runs meanwhile, with a secret in arguments, environment and inputs."""
    job = job_for(program, folder, level.tighter(LIMITS), "sleep", "50", SECRET)
    job.environment["SECRET"] = SECRET
    (job.input_folder / "secret.txt").write_text(SECRET)
    await sandbox.run(job)


def _agent_memory() -> int:
    return int(psutil.Process().memory_info().rss)


def _results_hold_nothing_of_others(output: Path, tmp_path: Path) -> None:
    """What is collected is refused, or an archive with nothing of this machine; whoever collects can read it all."""
    for folder, names, files in os.walk(output):
        for name in (*names, *files):
            place = Path(folder) / name
            about = place.lstat()
            assert about.st_uid == os.geteuid()
            assert not about.st_mode & 0o6000 or place.is_symlink(), f"{name!r} keeps the right of its owner"
    try:
        entries_of_folder(output)
        write_archive(output, tmp_path / "result.zip")
    except VerificationError:
        return
    assert SECRET.encode() not in (tmp_path / "result.zip").read_bytes()
