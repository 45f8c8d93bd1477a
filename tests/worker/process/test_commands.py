"""What `fairgrid worker` refuses to start with, and its commands that end by themselves, on a real chain."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain.network import Network, save_network
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.wallet.keystore import open_or_create_key, save_keystore
from fairgrid.worker.records.store import WorkerStore
from fairgrid.worker.setup.opening import DATABASE_NAME, NETWORK_NAME, exclusive
from tests.worker.machine_kit import TO_CONTRIBUTED, fed, record
from tests.worker.process.place import OWNER, network_file, run_worker


def test_a_lie_is_refused_before_anything_is_opened_on_a_real_chain(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--network", network_file(network, tmp_path, chain_id=1), "--dir", str(tmp_path / "w"))
    code, out, error = run_worker(capsys, "start", *options, "--misbehave", "flip-byte")
    assert (code, out) == (2, "") and "local test chain" in error
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        ({"chain_id": 1}, 2, "is on chain 31337"),
        ({"hub_code_hash": "0x" + "00" * 32}, 5, "not what the network"),
        ({"hub": ZERO_ADDRESS}, 2, "no contract"),
        ({"pool": "pool"}, 2, "not a pool's address"),
    ],
)
def test_a_network_file_that_does_not_hold_is_refused(
    network: Network,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    code: int,
    word: str,
) -> None:
    options = ("--network", network_file(network, tmp_path, **change), "--dir", str(tmp_path / "w"))
    found, out, error = run_worker(capsys, "start", *options)
    assert (found, out) == (code, "") and word in error


def test_a_missing_network_file_a_bad_policy_or_an_open_key_is_refused(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "w"
    code, _, error = run_worker(capsys, "start", "--network", str(tmp_path / "none"), "--dir", str(folder))
    assert code == 2 and "There is no network" in error
    options = ("--network", network_file(network, tmp_path), "--dir", str(folder))
    open_or_create_key(folder)
    (folder / "policy.toml").write_text("max_steak = 1")
    code, _, error = run_worker(capsys, "start", *options)
    assert code == 2 and "max_steak" in error
    (folder / "keystore.json").chmod(0o644)
    code, _, error = run_worker(capsys, "start", *options)
    assert code == 2 and "chmod" in error


def test_a_second_worker_in_the_same_folder_is_refused(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "w"
    with exclusive(folder):
        code, _, error = run_worker(capsys, "start", "--network", network_file(network, tmp_path), "--dir", str(folder))
    assert code == 2 and "Another worker runs" in error


def test_a_folder_of_another_hub_is_refused(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "w"
    address = open_or_create_key(folder).address
    store = WorkerStore.open(folder / DATABASE_NAME)
    store.bind(chain_id=31337, hub=ZERO_ADDRESS, worker=address)
    store.close()
    code, _, error = run_worker(capsys, "start", "--network", network_file(network, tmp_path), "--dir", str(folder))
    assert code == 2 and "belongs to hub" in error


def test_status_shows_what_is_held_and_the_account_on_chain(
    network: Network, module_anvil: AnvilProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = open_or_create_key(tmp_path).address
    module_anvil.request("anvil_setBalance", address, hex(7))
    save_network(network, tmp_path / NETWORK_NAME)
    store = WorkerStore.open(tmp_path / DATABASE_NAME)
    store.apply([record(fed(TO_CONTRIBUTED))])
    store.close()
    code, out, _ = run_worker(capsys, "status", "--dir", str(tmp_path), "--json")
    status = json.loads(out)
    assert code == 0
    assert [held["phase"] for held in status["held"]] == ["contributed"]
    assert (status["chain"]["gasWei"], status["chain"]["stake"], status["chain"]["score"]) == (7, 0, 0)
    assert "contributed" in run_worker(capsys, "status", "--dir", str(tmp_path))[2]


def test_status_of_a_chain_that_is_down_shows_the_rest(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = open_or_create_key(tmp_path).address
    save_network(replace(network, rpc="http://127.0.0.1:9"), tmp_path / NETWORK_NAME)
    code, out, _ = run_worker(capsys, "status", "--dir", str(tmp_path), "--json")
    status = json.loads(out)
    assert code == 0
    assert (status["address"], status["chain"]) == (address, None) and "does not answer" in status["chainMessage"]


def test_status_without_a_worker_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = run_worker(capsys, "status", "--dir", str(tmp_path))
    assert (code, out) == (2, "") and "worker init" in error
    assert os.listdir(tmp_path) == []


def test_init_twice_shows_the_same_address_and_what_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run_worker(capsys, "init", "--dir", str(tmp_path / "w"), "--json")
    document = json.loads(out)
    code, _, shown = run_worker(capsys, "init", "--dir", str(tmp_path / "w"))
    assert code == 0 and document["address"] in shown
    assert document["address"] == open_or_create_key(tmp_path / "w").address and len(document["needs"]) == 3


def test_an_owner_far_away_enrols_a_worker_and_the_worker_takes_only_that_account(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot, folder = open_or_create_key(tmp_path / "w").address, tmp_path / "w"
    save_keystore(OWNER, tmp_path / "cold.json", "secret", scrypt_n=1 << 12)
    (tmp_path / "password").write_text("secret\n")
    out = folder / "owner.json"
    options: tuple[str, ...] = (
        "enrol",
        "--operator",
        hot,
        "--network",
        network_file(network, tmp_path),
        "--out",
        str(out),
    )
    options += (
        "--keystore",
        str(tmp_path / "cold.json"),
        "--password-file",
        str(tmp_path / "password"),
        "--yes",
        "--json",
    )
    code, text, error = run_worker(capsys, *options)
    assert code == 2 and "--create" in (text + error) and not out.exists()
    code, text, _ = run_worker(capsys, *options, "--create")
    first = json.loads(text)
    assert (code, first["created"], first["operator"], first["owner"]) == (0, True, hot, OWNER.address)
    code, text, _ = run_worker(capsys, *options, "--create")
    assert json.loads(text)["roleAccount"] == first["roleAccount"] and json.loads(text)["created"] is False
    start = ("start", "--network", network_file(network, tmp_path), "--dir", str(folder))
    code, _, error = run_worker(capsys, *start, "--owner-account", ZERO_ADDRESS)
    assert code == 2 and first["roleAccount"] in error
    code, text, _ = run_worker(capsys, "status", "--dir", str(folder), "--json")
    status = json.loads(text)
    assert (status["address"], status["key"]) == (first["roleAccount"], hot)
