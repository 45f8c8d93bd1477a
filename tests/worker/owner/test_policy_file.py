"""A changed policy counts at once; a broken or vanished one changes nothing and is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairgrid.errors import UsageError
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.owner.policy_file import PolicyFile


def write(path: Path, text: str, *, at: int) -> None:
    path.write_text(text)
    os.utime(path, (at, at))


def test_a_change_counts_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    file = PolicyFile(path)
    assert file.current() == WorkerPolicy()
    write(path, "max_stake = 1", at=1_000)
    assert file.current().max_stake == 1
    write(path, "max_stake = 2", at=2_000)
    assert file.current().max_stake == 2 and file.problem == ""


def test_a_broken_file_keeps_the_last_good_policy_and_says_so_until_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    write(path, "max_stake = 1", at=1_000)
    file = PolicyFile(path)
    write(path, "max_stake = [", at=2_000)
    assert file.current().max_stake == 1
    assert "cannot be read" in file.problem and "last good policy" in file.problem
    write(path, "max_stake = 3", at=3_000)
    assert file.current().max_stake == 3 and file.problem == ""


def test_a_file_that_went_away_does_not_lift_the_owners_rules(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    write(path, "max_stake = 1", at=1_000)
    file = PolicyFile(path)
    path.unlink()
    assert file.current().max_stake == 1 and "gone" in file.problem


def test_a_worker_does_not_start_with_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("unknown = 1")
    with pytest.raises(UsageError, match="unknown"):
        PolicyFile(path)
