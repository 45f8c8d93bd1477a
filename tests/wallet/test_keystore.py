from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest
from eth_account import Account

from fairgrid.errors import UsageError
from fairgrid.wallet.keys import KeySigner, dev_signer
from fairgrid.wallet.keystore import load_keystore, open_or_create_key, save_keystore

FIXTURES = Path(__file__).parent / "fixtures"
FAST = 1 << 10


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", ["ea_pbkdf2_262144.json", "mew_v3_8192.json", "mew_v3_pbkdf2.json"])
def test_keystores_of_other_wallets_open_with_their_password(name: str) -> None:
    assert load_keystore(FIXTURES / name, "mew-pass").address == dev_signer(0).address


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
def test_keystores_of_eth_account_open(tmp_path: Path, kdf: Literal["scrypt", "pbkdf2"]) -> None:
    key = KeySigner.generate().private_key
    (tmp_path / "key.json").write_text(json.dumps(Account.encrypt(key, "pässword", kdf=kdf, iterations=FAST)))
    assert load_keystore(tmp_path / "key.json", "pässword").private_key == key


def test_a_wrong_password_is_named_as_such() -> None:
    with pytest.raises(UsageError, match="Wrong password"):
        load_keystore(FIXTURES / "mew_v3_8192.json", "not-it")


def test_a_saved_keystore_opens_here_and_in_eth_account(tmp_path: Path) -> None:
    signer, path = KeySigner.generate(), tmp_path / "key.json"
    save_keystore(signer, path, "pässword", scrypt_n=FAST)
    assert _mode(path) == 0o600
    assert load_keystore(path, "pässword").private_key == signer.private_key
    assert bytes(Account.decrypt(json.loads(path.read_text()), "pässword")) == signer.private_key
    assert signer.private_key.hex() not in path.read_text()


def test_the_default_work_factor_resists_guessing_human_passwords(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    save_keystore(dev_signer(1), path, "short")
    assert json.loads(path.read_text())["crypto"]["kdfparams"]["n"] >= 1 << 17
    assert load_keystore(path, "short").address == dev_signer(1).address


def test_saving_never_replaces_an_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    save_keystore(dev_signer(0), path, "a", scrypt_n=FAST)
    with pytest.raises(UsageError, match="exists already"):
        save_keystore(dev_signer(1), path, "a", scrypt_n=FAST)
    assert load_keystore(path, "a").address == dev_signer(0).address
    assert [file.name for file in tmp_path.iterdir()] == ["key.json"], "no partial file is left behind"


def _damaged(change: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FIXTURES / "mew_v3_8192.json").read_text())
    crypto = document["crypto"]
    for key, value in change.items():
        if key in crypto["kdfparams"]:
            crypto["kdfparams"][key] = value
        elif key in crypto:
            crypto[key] = value
        else:
            document[key] = value
    return document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "version 3"),
        ({"n": 1 << 30}, "too much memory"),
        ({"n": -1}, "damaged"),
        ({"r": "8"}, "damaged"),
        ({"kdfparams": 1}, "damaged"),
        ({"ciphertext": "00" * 32}, "Wrong password"),
        ({"kdf": "rot13"}, "damaged"),
        ({"cipher": "rot13"}, "damaged"),
        ({"mac": "zz"}, "damaged"),
        ({"mac": None}, "damaged"),
        ({"salt": 5}, "damaged"),
        ({"n": 1000}, "damaged"),
        ({"dklen": 16}, "damaged"),
        ({"address": "00" * 20}, "Do not use it"),
    ],
)
def test_a_damaged_or_hostile_keystore_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(_damaged(change)))
    with pytest.raises(UsageError, match=message):
        load_keystore(path, "mew-pass")


@pytest.mark.parametrize("content", ["", "[]", "{", "null", "\x00\x01"])
def test_a_file_that_is_no_keystore_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    with pytest.raises(UsageError):
        load_keystore(path, "x")


def test_a_missing_or_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no keystore"):
        load_keystore(tmp_path / "none.json", "x")
    (tmp_path / "huge.json").write_bytes(b" " * 100_000)
    with pytest.raises(UsageError, match="too large"):
        load_keystore(tmp_path / "huge.json", "x")


def test_a_folder_gets_one_private_key_for_good(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "worker"
    first = open_or_create_key(folder)
    assert (_mode(folder), _mode(folder / "keystore.json"), _mode(folder / "password")) == (0o700, 0o600, 0o600)
    assert open_or_create_key(folder).private_key == first.private_key
    assert sorted(file.name for file in folder.iterdir()) == ["keystore.json", "password"]


def test_a_crash_after_the_password_was_written_is_repaired(tmp_path: Path) -> None:
    folder = tmp_path / "worker"
    open_or_create_key(folder)
    (folder / "keystore.json").unlink()
    again = open_or_create_key(folder)
    assert open_or_create_key(folder).address == again.address


def test_two_starts_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        addresses = {signer.address for signer in threads.map(lambda _: open_or_create_key(tmp_path / "w"), range(8))}
    assert len(addresses) == 1


@pytest.mark.parametrize("name", ["keystore.json", "password"])
def test_files_that_others_can_read_are_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "worker"
    open_or_create_key(folder)
    (folder / name).chmod(0o640)
    with pytest.raises(UsageError, match=r"read by other users.*chmod go-rwx"):
        open_or_create_key(folder)
    (folder / name).chmod(0o600)
    open_or_create_key(folder)


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "worker"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UsageError, match=r"written by other users.*chmod go-w"):
        open_or_create_key(folder)


def test_a_keystore_without_its_password_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "worker"
    open_or_create_key(folder)
    (folder / "password").unlink()
    before = (folder / "keystore.json").read_text()
    with pytest.raises(UsageError, match="password file"):
        open_or_create_key(folder)
    assert (folder / "keystore.json").read_text() == before


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        open_or_create_key(tmp_path / "file" / "worker")
