from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from fairgrid.errors import UsageError
from fairgrid.pool.core.policy import Policy, load_policy
from tests.pool.fakes import address


def _written(folder: Path, text: str) -> Path:
    file = folder / "policy.toml"
    file.write_text(text)
    return file


def test_an_empty_file_is_the_default_policy(tmp_path: Path) -> None:
    assert load_policy(_written(tmp_path, "")) == Policy()


def test_values_are_read_and_addresses_checksummed(tmp_path: Path) -> None:
    worker = address("worker")
    text = f'first_round_replicas = 6\nauthorisation_order = ["{worker.lower()}"]\nupload_timeout_s = 5\n'
    policy = load_policy(_written(tmp_path, text))
    assert policy == Policy(first_round_replicas=6, authorisation_order=(worker,), upload_timeout_s=5.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("first_round_replica = 6", "unknown key 'first_round_replica'"),
        ('first_round_replicas = "6"', "must be a number"),
        ("first_round_replicas = true", "must be a number"),
        ("first_round_replicas = 1.5", "whole number"),
        ("first_round_replicas = 0", "at least 1"),
        ("heartbeat_s = 0", "more than 0"),
        ("heartbeat_s = nan", "cannot be negative"),
        ("upload_timeout_s = -1", "cannot be negative"),
        ('authorisation_order = "0x"', "list of addresses"),
        ('authorisation_order = ["0x12"]', "names no address"),
        ("= broken", "it is TOML"),
    ],
)
def test_what_cannot_be_used_is_refused_and_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        load_policy(_written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        load_policy(tmp_path / "nowhere.toml")


def test_every_field_is_explained() -> None:
    room = Path(__file__).parents[3] / "src/fairgrid/pool/core"
    lines = [line for name in ("policy.py", "trust_policy.py") for line in (room / name).read_text().splitlines()]
    for field in fields(Policy):
        (number,) = [number for number, line in enumerate(lines) if line.startswith(f"    {field.name}:")]
        assert lines[number + 1].strip().startswith('"""'), field.name
