"""`fairgrid pool init`: a folder that `pool start` takes; nothing that is there is ever replaced."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fairgrid.chain.network import Network, save_network
from fairgrid.cli.main import main
from fairgrid.pool.processes.pool_file import load_pool_file
from fairgrid.wallet.keys import KeySigner
from fairgrid.wallet.keystore import open_or_create_key, save_keystore

KEY = KeySigner(b"\x11" * 32)

Pool = Callable[..., tuple[int, dict[str, object]]]


def network(folder: Path) -> Path:
    address = KEY.address
    where = Network(
        "n", 31337, "http://127.0.0.1:1", address, "0x00", address, "http://m", "http://s", "http://p", address
    )
    save_network(where, folder / "net.json")
    return folder / "net.json"


@pytest.fixture
def fairgrid(capsys: pytest.CaptureFixture[str]) -> Pool:
    """Exit code and document of `fairgrid pool …`, run in this process."""

    def run(*arguments: object) -> tuple[int, dict[str, object]]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["pool", *map(str, arguments), "--json"])
        assert isinstance(ended.value.code, int)
        return ended.value.code, json.loads(capsys.readouterr().out or "{}")

    return run


def start(*arguments: object) -> tuple[int, str]:
    """Exit code and what is told of a pool that cannot start."""
    command = [sys.executable, "-m", "fairgrid", "pool", "start", *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)
    return answer.returncode, " ".join(answer.stderr.split())


def test_a_folder_is_made_with_a_key_and_a_file_and_a_second_run_keeps_both(tmp_path: Path, fairgrid: Pool) -> None:
    arguments = ("init", "--dir", tmp_path / "pool", "--network", network(tmp_path))
    code, first = fairgrid(*arguments, "--price", "5 nRLC", "--port", 9000)
    assert code == 0 and first["new"] is True
    read = load_pool_file(tmp_path / "pool" / "pool.toml")
    assert read.offer is not None and read.offer.price_nrlc == 5
    assert (read.start.network, read.start.port) == (str(tmp_path / "net.json"), 9000)
    edited = (tmp_path / "pool" / "pool.toml").read_text().replace("price_nrlc = 5", "price_nrlc = 6")
    (tmp_path / "pool" / "pool.toml").write_text(edited)
    code, second = fairgrid(*arguments, "--price", "7 nRLC")
    assert code == 0 and second["new"] is False and second["owner"] == first["owner"]
    assert (tmp_path / "pool" / "pool.toml").read_text() == edited
    code, text = start("--dir", tmp_path / "pool")
    assert code == 4 and "http://127.0.0.1:1" in text  # it took the network from the file


def test_a_key_is_taken_from_a_keystore_and_never_replaces_another(tmp_path: Path, fairgrid: Pool) -> None:
    save_keystore(KEY, tmp_path / "key.json", "secret", scrypt_n=2)
    (tmp_path / "password").write_text("secret\n")
    taken = ("--keystore", tmp_path / "key.json", "--password-file", tmp_path / "password")
    arguments = ("init", "--network", network(tmp_path), *taken)
    code, first = fairgrid(*arguments, "--dir", tmp_path / "pool")
    assert code == 0 and first["owner"] == KEY.address
    assert open_or_create_key(tmp_path / "pool").address == KEY.address
    assert fairgrid(*arguments, "--dir", tmp_path / "pool")[0] == 0
    other = open_or_create_key(tmp_path / "other")
    code, refused = fairgrid(*arguments, "--dir", tmp_path / "other")
    assert code == 2 and other.address in str(refused["message"])
    assert not (tmp_path / "other" / "pool.toml").exists()


def test_a_pool_without_network_is_told_how_to_get_one(tmp_path: Path, fairgrid: Pool) -> None:
    code, text = start("--dir", tmp_path / "pool")
    assert code == 2 and "fairgrid pool init" in text
    (tmp_path / "pool.toml").write_text("[start]\nport = 70\n[policy]\nmax_fees = 1\n")
    code, refused = fairgrid("policy", "check", tmp_path / "pool.toml")
    assert code == 2 and "max_fees" in str(refused["message"])
    (tmp_path / "pool.toml").write_text("[start]\nport = 70\n[policy]\nmax_fee_gwei = 80\n")
    assert fairgrid("policy", "check", tmp_path / "pool.toml") == (
        0,
        {"status": "ok", "differs": {"max_fee_gwei": 80.0}},
    )
