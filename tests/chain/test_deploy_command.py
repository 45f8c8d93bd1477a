"""`fairgrid contracts deploy`: what it prints, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fairgrid.chain.deploy import plan_contracts
from fairgrid.cli.contracts import app as contracts_app
from fairgrid.cli.main import main
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.wallet.keys import KeySigner, dev_signer
from fairgrid.wallet.keystore import save_keystore

OWNER = dev_signer(0)


def _run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["contracts", "deploy", *arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_command_prints_one_object_and_a_second_run_says_already_deployed(
    anvil: AnvilProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = _run(["--rpc", anvil.rpc_url, "--json"], capsys)
    assert code == 0, err
    first = json.loads(out)
    assert "creating hub at" in err
    around = ("roleAccounts", "depositAddresses", "groups")
    for key in ("hub", "rlc", "appRegistry", "datasetRegistry", "workerpoolRegistry", *around):
        assert anvil.request("eth_getCode", first[key], "latest") != "0x"
    assert (first["chainId"], first["flavour"]) == (31337, "token")
    assert first["alreadyDeployed"] is False

    code, out, err = _run(["--rpc", anvil.rpc_url, "--json"], capsys)
    second = json.loads(out)
    assert (code, err) == (0, "")
    assert second == {**first, "gasUsed": 0, "gas": {}, "alreadyDeployed": True}


def test_command_says_first_what_it_would_create_and_asks_where_money_is_real(
    anvil: AnvilProcess, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = _run(["--rpc", anvil.rpc_url, "--dry-run", "--json"], capsys)
    told = json.loads(out)
    assert (code, told["status"], told["chainId"], told["owner"]) == (0, "dry-run", 31337, OWNER.address)
    assert told["hub"] == plan_contracts(OWNER.address)["hub"].address and "hub" in told["missing"]
    assert told["gas"] > 10_000_000 and told["balanceWei"] > 0 and "creates" in err
    assert anvil.request("eth_getCode", told["hub"], "latest") == "0x"
    anvil.request("anvil_setChainId", 4242)
    save_keystore(OWNER, tmp_path / "owner.json", "secret", scrypt_n=1 << 10)
    (tmp_path / "password").write_text("secret")
    owner = ["--keystore", str(tmp_path / "owner.json"), "--password-file", str(tmp_path / "password")]
    code, out, _ = _run(["--rpc", anvil.rpc_url, *owner, "--json"], capsys)
    assert code == 2 and "Add --yes" in json.loads(out)["message"]
    assert anvil.request("eth_getCode", told["hub"], "latest") == "0x"
    code, out, _ = _run(["--rpc", anvil.rpc_url, *owner, "--yes", "--json"], capsys)
    assert (code, json.loads(out)["chainId"]) == (0, 4242)


def test_command_deploys_the_native_flavour(anvil: AnvilProcess, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(["--rpc", anvil.rpc_url, "--native", "--json"], capsys)
    assert code == 0, err
    told = json.loads(out)
    assert (told["flavour"], told["rlc"]) == ("native", ZERO_ADDRESS)
    assert told["hub"] == plan_contracts(OWNER.address, native=True)["hub"].address
    code, out, _ = _run(["--rpc", anvil.rpc_url, "--native"], capsys)
    assert code == 0
    assert "native" in out


def test_command_for_people_shows_the_addresses(anvil: AnvilProcess, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(["--rpc", anvil.rpc_url], capsys)
    assert code == 0
    assert out.startswith("Deployed.")
    assert plan_contracts(OWNER.address)["hub"].address in out


@pytest.mark.parametrize("way", ["option", "environment", "keystore"])
def test_command_takes_the_key_from_anywhere(
    anvil: AnvilProcess,
    rich_signer: KeySigner,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    way: str,
) -> None:
    key = rich_signer.private_key.hex()
    arguments = ["--rpc", anvil.rpc_url, "--json"]
    if way == "option":
        arguments += ["--key", f"0x{key}"]
    elif way == "environment":
        monkeypatch.setenv("FAIRGRID_KEY", key)
    else:
        save_keystore(rich_signer, tmp_path / "key.json", "sesame", scrypt_n=2)
        (tmp_path / "password").write_text("sesame\n")
        arguments += ["--keystore", str(tmp_path / "key.json"), "--password-file", str(tmp_path / "password")]
    code, out, err = _run(arguments, capsys)
    assert code == 0
    assert json.loads(out)["owner"] == rich_signer.address
    assert key not in out + err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--key", "0x12"], "64 hexadecimal digits"),
        (["--key", "00" * 32], "not a private key"),
        (["--key", "11" * 32, "--keystore", "key.json"], "Give one of them"),
        (["--password-file", "password"], "name it with --keystore"),
        (["--keystore", "missing.json", "--password-file", "missing"], "missing"),
        (["--rlc", "0x12"], "is not an address"),
        (["--native", "--rlc", OWNER.address], "leave --rlc or --native out"),
    ],
)
def test_command_refuses_bad_input_with_exit_code_2(
    module_anvil: AnvilProcess, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, out, err = _run(["--rpc", module_anvil.rpc_url, *arguments], capsys)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_command_ends_with_4_when_no_node_answers_and_3_without_coins(
    module_anvil: AnvilProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = _run(["--rpc", "http://127.0.0.1:1", "--json"], capsys)
    assert (code, json.loads(out)["exitCode"]) == (4, 4)
    code, out, _ = _run(["--rpc", module_anvil.rpc_url, "--json", "--key", "09" * 32], capsys)
    assert (code, json.loads(out)["error"]) == (3, "FundsError")


def test_help_explains_what_a_run_does() -> None:
    answer = CliRunner().invoke(contracts_app, ["deploy", "--help"])
    assert answer.exit_code == 0
    for word in ("--rpc", "--key", "--keystore", "--rlc", "--native", "--json"):
        assert word in answer.output
