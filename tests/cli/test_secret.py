"""`fairgrid secret` as it is typed, without any network."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.chain.network import save_network
from fairgrid.wallet import wallets as room
from tests.chain.test_network_names import NETWORK
from tests.cli.shell import Shell


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("FAIRGRID_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FAIRGRID_DIR", str(tmp_path / "local"))
    monkeypatch.delenv("FAIRGRID_NETWORK", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "local").mkdir()
    save_network(NETWORK, tmp_path / "local" / "network.json")
    monkeypatch.setattr(room, "_SCRYPT_N", 1 << 10)
    return Shell(capsys, tmp_path)


def test_secrets_from_their_keeping_to_their_end(shell: Shell) -> None:
    shell("wallet", "create", "ann", "--password-file", shell.secret)
    value = shell.folder / "token.txt"
    value.write_text("pass-4711\n")
    kept = shell("secret", "set", "api-token", "--file", value, "--wallet", "ann")
    assert kept["name"] == "api-token"
    assert "pass-4711" not in Path(kept["file"]).read_text()
    assert shell("secret", "list", "--wallet", "ann")["secrets"] == ["api-token"]
    assert "api-token" in shell.tell("secret", "list", "--wallet", "ann")
    assert "Forgot" in shell.tell("secret", "remove", "api-token", "--wallet", "ann")
    assert "has no secret" in shell("secret", "remove", "api-token", "--wallet", "ann", code=2)["message"]
    assert "has no secrets" in shell.tell("secret", "list", "--wallet", "ann")


def test_a_value_that_nobody_can_be_asked_for_is_refused(shell: Shell) -> None:
    shell("wallet", "create", "ann", "--password-file", shell.secret)
    assert "--file" in shell("secret", "set", "token", "--wallet", "ann", code=2)["message"]
    missing = shell("secret", "set", "token", "--file", shell.folder / "no.txt", "--wallet", "ann", code=2)
    assert "cannot be read" in missing["message"]
    assert shell("secret", "list", "--wallet", "ann")["secrets"] == []
