"""`pool.toml`: written with every key explained, read back as it was meant, and refused with what is wrong."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from fairgrid.errors import UsageError
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.processes.pool_file import POOL_FILE, Offer, Start, load_pool_file, policy_keys, pool_toml
from tests.pool.grid import key

GIVEN = {"network": "../net.json", "host": "127.0.0.1", "port": 8460}


def written(folder: Path, text: str) -> Path:
    path = folder / POOL_FILE
    path.write_text(text)
    return path


def test_a_new_file_starts_a_pool_with_the_defaults(tmp_path: Path) -> None:
    read = load_pool_file(written(tmp_path, pool_toml(GIVEN, {})))
    assert read.start == Start(network=str((tmp_path / "../net.json").resolve()), port=8460)
    assert read.offer is None and read.policy == Policy()


def test_every_key_is_there_with_its_default_and_what_it_means(tmp_path: Path) -> None:
    text = pool_toml(GIVEN, {})
    assert max(map(len, text.splitlines())) <= 120
    for kind in (Start, Offer, Policy):
        for field in fields(kind):
            found = re.search(rf"((?:^# .*\n)+)^(?:# )?{field.name} = ", text, re.MULTILINE)
            assert found is not None and len(found[1]) > 20, field.name
    _, _, policy = text.partition("[policy]\n")
    keys = re.findall(r"^# (\w+ = .+)$", policy, re.MULTILINE)
    plain = [line for line in keys if not line.startswith("app_labels")]
    document = tomllib.loads("\n".join(plain))
    assert len(document) == len(fields(Policy)) - 1
    path = written(tmp_path, "[policy]\n" + "\n".join(plain))
    assert load_pool_file(path).policy == Policy()


def test_what_is_written_in_it_counts(tmp_path: Path) -> None:
    app = key("app").address
    text = pool_toml(GIVEN | {"database": "postgresql:///pool"}, {"price_nrlc": 7, "requester": key("r").address})
    text = text.replace("# max_fee_gwei = 500.0", "max_fee_gwei = 80")
    text = text.replace('# app_labels = { "0xAPP"', f'app_labels = {{ "{app.lower()}"')
    read = load_pool_file(written(tmp_path, text))
    assert read.start.database == "postgresql:///pool"
    assert read.offer == Offer(price_nrlc=7, requester=key("r").address)
    assert read.policy == Policy(max_fee_gwei=80.0, app_labels=((app, ("gpu", "lab-2")),))
    assert read.policy.labels_of_app(app) == ("gpu", "lab-2") and read.policy.labels_of_app(key("b").address) == ()


def test_keys_of_a_plain_policy_file_and_of_a_pool_file_are_found(tmp_path: Path) -> None:
    plain = tmp_path / "policy.toml"
    plain.write_text("max_claims = 3\n")
    assert policy_keys(plain) == {"max_claims": 3}
    assert policy_keys(written(tmp_path, "[start]\nport = 1\n[policy]\nmax_claims = 4\n")) == {"max_claims": 4}
    assert policy_keys(written(tmp_path, "[start]\nport = 1\n")) == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[begin]\n", "unknown table 'begin'"),
        ("[start]\nportt = 1\n", "unknown key 'portt'"),
        ('[start]\nport = "1"\n', "port must be a whole number"),
        ("[start]\nport = true\n", "port must be a whole number"),
        ("[start]\nhost = 1\n", "host must be a text in quotes"),
        ("start = 1\n", "must be a table"),
        ("[offer]\ncategory = 1\n", "lacks price_nrlc"),
        ("[offer]\nprice_nrlc = -1\n", "cannot be negative"),
        ("[offer]\nprice_nrlc = 1\nvolume = 0\n", "at least 1"),
        ('[offer]\nprice_nrlc = 1\nrequester = "0x12"\n', "requester names no address"),
        ("[policy]\nmax_fees = 1\n", r"unknown key 'max_fees'"),
        ("[policy]\nheartbeat_s = 0\n", "heartbeat_s must be more than 0"),
        ("[policy\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_what_is_wrong(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        load_pool_file(written(tmp_path, text))


def test_a_file_that_is_not_there_names_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fairgrid pool init"):
        load_pool_file(tmp_path / POOL_FILE)
