"""Secrets at rest: what is kept is encrypted for one account, and nothing else opens it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairgrid.errors import UsageError, VerificationError
from fairgrid.wallet.keys import KeySigner, dev_signer
from fairgrid.wallet.secret_store import MAX_SECRET_BYTES, SecretStore

ANN, BOB = dev_signer(1), dev_signer(2)


def store(folder: Path, signer: KeySigner = ANN) -> SecretStore:
    return SecretStore(signer.address, signer.sign_message, folder=folder / "secrets")


def test_a_secret_is_kept_encrypted_for_its_owner_and_comes_back(tmp_path: Path) -> None:
    kept = store(tmp_path)
    assert kept.names() == []
    kept.set("token", "s3cret Grüße")
    kept.set("another", "x")
    kept.set("token", "newer s3cret")
    again = store(tmp_path)
    assert (again.names(), again.get("token")) == (["another", "token"], "newer s3cret")
    content = kept.file.read_bytes()
    assert b"s3cret" not in content and b"s3cret".hex().encode() not in content
    assert kept.file.stat().st_mode & 0o777 == 0o600 and kept.file.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in kept.file.parent.iterdir()] == [f"{ANN.address}.json"]
    assert store(tmp_path, BOB).names() == []
    assert again.remove("token") and not again.remove("token")
    assert store(tmp_path).names() == ["another"]
    with pytest.raises(UsageError, match="has no secret 'token' \\(it has: another\\)"):
        again.get("token")


def test_a_secret_of_another_account_name_or_time_does_not_open(tmp_path: Path) -> None:
    kept, other = store(tmp_path), store(tmp_path, BOB)
    kept.set("token", "one")
    other.set("token", "two")
    document = json.loads(kept.file.read_text())
    theirs = json.loads(other.file.read_text())["secrets"]["token"]
    for changed in (theirs, document["secrets"]["token"][:-8] + "AAAAAAA=", "no base64", ""):
        kept.file.write_text(json.dumps(document | {"secrets": {"token": changed}}))
        with pytest.raises(VerificationError, match="was changed, or is of another account"):
            kept.get("token")
    kept.file.write_text(json.dumps(document | {"secrets": {"renamed": document["secrets"]["token"]}}))
    with pytest.raises(VerificationError, match="'renamed'"):
        kept.get("renamed")


@pytest.mark.parametrize("value", ["", "a\0b", "x" * (MAX_SECRET_BYTES + 1), "\ud800"])
def test_what_cannot_be_a_secret_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match="A secret is"):
        store(tmp_path).set("token", value)
    assert store(tmp_path).names() == []


def test_a_name_that_is_none_and_a_damaged_file_are_told(tmp_path: Path) -> None:
    kept = store(tmp_path)
    with pytest.raises(UsageError, match="cannot name a secret"):
        kept.set("../token", "x")
    kept.set("token", "x")
    for damage in ("", "[]", '{"fairgrid":"secrets/9","secrets":{}}', '{"fairgrid":"secrets/1","secrets":{"a":1}}'):
        kept.file.write_text(damage)
        with pytest.raises(UsageError, match="cannot be read"):
            kept.names()


def test_listing_and_removing_ask_for_no_signature(tmp_path: Path) -> None:
    store(tmp_path).set("token", "x")

    def refuse(message: bytes) -> str:
        raise AssertionError("nobody is asked")

    blind = SecretStore(ANN.address, refuse, folder=tmp_path / "secrets")
    assert blind.names() == ["token"] and blind.remove("token")
    assert "token" not in repr(blind)
