"""`fairgrid wallet` and `fairgrid network` as they are typed, without any network."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.chain.network import save_network
from fairgrid.cli.completion import network_names, wallet_names
from fairgrid.seams.config_file import config_file
from fairgrid.wallet import wallets as room
from fairgrid.wallet.keys import dev_signer
from fairgrid.wallet.keystore import load_keystore, save_keystore
from tests.chain.test_network_names import NETWORK
from tests.cli.shell import Shell

FAST = 1 << 10


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("FAIRGRID_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FAIRGRID_DIR", str(tmp_path / "local"))
    monkeypatch.delenv("FAIRGRID_NETWORK", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(room, "_SCRYPT_N", FAST)
    return Shell(capsys, tmp_path)


def test_a_wallet_from_its_making_to_its_end(shell: Shell) -> None:
    made = shell("wallet", "create", "ann", "--password-file", shell.secret)
    assert (made["name"], made["password"], made["inUse"]) == ("ann", "file", True)
    listed = shell("wallet", "list")["wallets"]
    assert [{"status": "ok"} | row for row in listed] == [shell("wallet", "show", "ann")]
    assert made["address"] in shell.tell("wallet", "list") and made["address"] in shell.tell("wallet", "show", "ann")
    assert "already" in shell("wallet", "create", "ann", "--password-file", shell.secret, code=2)["message"]

    copy = shell.folder / "copy.json"
    assert shell("wallet", "export", "ann", "--out", copy)["address"] == made["address"]
    assert copy.stat().st_mode & 0o777 == 0o600 and load_keystore(copy, "sesame").address == made["address"]
    assert "cannot be written" in shell("wallet", "export", "ann", "--out", copy, code=2)["message"]

    assert "--yes" in shell("wallet", "remove", "ann", "--for-good", code=2)["message"]
    kept = Path(shell("wallet", "remove", "ann")["keptAs"])
    again = shell(
        "wallet", "import", "ann", kept, "--source-password-file", shell.secret, "--password-file", shell.secret
    )
    assert again["address"] == made["address"]
    assert shell("wallet", "remove", "ann", "--for-good", "--yes")["keptAs"] is None
    assert "no wallet 'ann'" in shell("wallet", "show", "ann", code=2)["message"]


def test_keys_of_other_forms_are_imported(shell: Shell) -> None:
    signer, options = dev_signer(3), ("--password-file", shell.secret)
    (shell.folder / "hex").write_text(signer.private_key.hex() + "\n")
    save_keystore(signer, shell.folder / "v3.json", "sesame", scrypt_n=FAST)
    made = [
        shell("wallet", "import", "one", shell.folder / "hex", *options),
        shell("wallet", "import", "two", shell.folder / "v3.json", "--source-password-file", shell.secret, *options),
    ]
    assert {row["address"] for row in made} == {signer.address}
    (shell.folder / "short").write_text("abcd")
    assert (
        "neither a keystore nor" in shell("wallet", "import", "x", shell.folder / "short", *options, code=2)["message"]
    )
    assert "cannot be read" in shell("wallet", "import", "x", shell.folder / "gone", *options, code=2)["message"]
    assert "keystore.json" in shell("wallet", "import", "x", shell.folder, *options, code=2)["message"]
    assert shell("wallet", "use", "two")["inUse"] and wallet_names("t") == ["two"]


def test_a_password_is_asked_for_in_a_terminal_only_and_is_not_empty(shell: Shell) -> None:
    assert "--password-file" in shell("wallet", "create", "ann", code=2)["message"]
    shell.secret.write_text("\n")
    assert "empty" in shell("wallet", "create", "ann", "--password-file", shell.secret, code=2)["message"]
    both = shell("wallet", "create", "ann", "--password-file", shell.secret, "--keyring", code=2)
    assert "not both" in both["message"] and not config_file().exists()


def test_a_network_from_its_adding_to_its_end(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAIRGRID_DIR")
    monkeypatch.setenv("HOME", str(shell.folder))
    file = shell.folder / "far.json"
    save_network(NETWORK, file)
    added = shell("network", "add", "test", file, "--rpc", "http://127.0.0.1:9/", "--use")
    assert (added["name"], added["inUse"], added["checked"]) == ("test", True, False)
    assert "does not answer" in added["problem"] and added["network"]["rpc"] == "http://127.0.0.1:9"
    rows = shell("network", "list")["networks"]
    assert [(row["name"], row["inUse"]) for row in rows] == [("local", False), ("test", True)]
    assert rows[0]["network"] is None and NETWORK.hub in shell.tell("network", "list")
    assert "already" in shell("network", "add", "test", file, code=2)["message"]
    assert shell("network", "use", "local")["inUse"] == "local"
    monkeypatch.setenv("FAIRGRID_NETWORK", "other")
    assert "counts before it" in shell.tell("network", "use", "test")
    assert shell("network", "remove", "test")["wasInUse"]
    assert "There is no network 'test'" in shell("network", "show", "test", code=2)["message"]
    assert network_names("l") == ["local"]


@pytest.mark.parametrize(
    ("source", "says"),
    [("gone.json", "There is no network at"), ("http://127.0.0.1:9", "does not answer")],
)
def test_a_network_that_cannot_be_read_is_not_kept(shell: Shell, source: str, says: str) -> None:
    code = 2 if source.endswith("json") else 4
    assert says in shell("network", "add", "test", source, "--yes", code=code)["message"]
    assert not config_file().exists()
