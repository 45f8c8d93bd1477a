"""A mistyped policy is refused; a changed one counts at once; a broken or vanished one changes nothing and is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairgrid.errors import UsageError
from fairgrid.protocol.hexes import checksum
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.owner.policy_file import PolicyFile, load_policy
from fairgrid.worker.setup.containers import container_settings

APP, OTHER = (checksum("0x" + digits * 20) for digits in ("a1", "c3"))
RUNTIME = "wasmtime-49/py312/deterministic"


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


def test_graphics_processors_are_given_by_number_and_not_beside_an_engine(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("gpus = [1, 0, 1]\ngpu_jobs = 2\n")
    assert (load_policy(path).gpus, load_policy(path).gpu_jobs) == ((0, 1), 2)
    for text in ("gpus = 1", "gpus = [-1]", "gpus = [true]", 'gpus = ["0"]', "gpu_jobs = 0"):
        path.write_text(text)
        with pytest.raises(UsageError, match="gpu"):
            load_policy(path)
    path.write_text('gpus = [0]\n[engine]\nkind = "slurm"\n')
    with pytest.raises(UsageError, match=r"table \[engine\]"):
        load_policy(path)


def test_a_worker_does_not_start_with_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("unknown = 1")
    with pytest.raises(UsageError, match="unknown"):
        PolicyFile(path)


def test_a_policy_file_is_read_whole_and_a_missing_one_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    assert load_policy(path) == WorkerPolicy()
    path.write_text(
        f'max_stake = 5_000\nmin_worker_share = 50\nmin_finalize_percent = 80\nruntimes = ["{RUNTIME}"]\n'
        f'apps = ["{APP.lower()}"]\nrefused_apps = []\nrefused_requesters = ["{OTHER}"]\n'
        f"max_input_bytes = 10\ncache_bytes = 20\n"
    )
    assert load_policy(path) == WorkerPolicy(
        max_stake=5_000,
        min_worker_share=50,
        min_finalize_percent=80,
        runtimes=(RUNTIME,),
        apps=(APP,),
        refused_requesters=(OTHER,),
        max_input_bytes=10,
        cache_bytes=20,
    )


@pytest.mark.parametrize(
    "text",
    [
        "max_steak = 5",
        "max_stake = -1",
        "max_stake = 1.5",
        "max_stake = true",
        'max_stake = "5"',
        "min_worker_share = 101",
        'apps = "0x"',
        'apps = ["0x12"]',
        "apps = [1]",
        "not toml",
    ],
)
def test_a_mistyped_policy_is_refused_and_never_guessed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match="policy"):
        load_policy(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("only_when_idle = 1", "true or false"),
        ('hours = ["mon 9-17"]', "no window of time"),
        ('time_zone = "Mars/Olympus"', "no time zone"),
        ("time_zone = 2", "time_zone must be a text"),
        ('levels = ["bare"]', "levels are of"),
        ('container_engine = "nerdctl"', "neither podman, docker"),
        ("container_engine = 1", "not a text"),
        ('container_registries = ["https://docker.io"]', "not a registry"),
        ("container_cache_bytes = -1", "at least 0"),
        ("slots = 0", "from 1 to 1024"),
        ("max_other_load_percent = 101", "from 0 to 100"),
        ("download_bytes_per_s = 0", "at least 1"),
    ],
)
def test_a_mistyped_rule_is_refused_and_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=reason):
        load_policy(path)


def test_what_the_owner_says_of_containers_reaches_their_level(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('container_engine = "docker"\ncontainer_registries = ["docker.io"]\ncontainer_cache_bytes = 5\n')
    settings = container_settings(load_policy(path), insecure_loopback=True)
    assert (settings.engine, settings.registries, settings.cache_bytes) == ("docker", ("docker.io",), 5)
    assert settings.insecure_loopback and not container_settings(load_policy(path)).insecure_loopback
