"""Wallets by name: nothing is ever replaced or lost, and the password is never where it should not be."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import keyring
import keyring.errors
import pytest
from keyring.backend import KeyringBackend

from fairgrid.errors import UsageError
from fairgrid.seams.config_file import config_file
from fairgrid.wallet import wallets as room
from fairgrid.wallet.accounts import account_address, open_account
from fairgrid.wallet.keys import KeySigner, dev_signer
from fairgrid.wallet.keystore import open_or_create_key, save_keystore
from fairgrid.wallet.wallets import PasswordPlace, add_wallet, find_wallet, list_wallets, open_wallet, remove_wallet

ANN, BOB = dev_signer(1), dev_signer(2)
FAST = 1 << 10


class Memory(KeyringBackend):
    """A keyring for the time of a test, made as its makers say that backends are made."""

    priority = 9
    kept: ClassVar[dict[tuple[str, str], str]] = {}
    locked = False

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise keyring.errors.PasswordSetError("it is locked")
        self.kept[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def delete_password(self, service: str, username: str) -> None:
        if self.kept.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError("not there")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIRGRID_HOME", str(tmp_path))
    monkeypatch.setattr(room, "_SCRYPT_N", FAST)
    return tmp_path


@pytest.fixture
def memory() -> Iterator[Memory]:
    before, made = keyring.get_keyring(), Memory()  # type: ignore[no-untyped-call]
    made.kept.clear()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


def nobody(whose: str = "") -> str:
    raise AssertionError(f"the password of {whose} was asked for")


def test_a_wallet_is_a_private_keystore_and_its_password_is_written_nowhere(home: Path) -> None:
    made = add_wallet("ann", ANN, "sesame")
    assert (made.name, made.address, made.password, made.in_use) == ("ann", ANN.address, PasswordPlace.ASKED, True)
    assert stat.S_IMODE(made.file.stat().st_mode) == 0o600 and made.file.parent == home / "wallets"
    assert open_wallet(made, lambda: "sesame").private_key == ANN.private_key
    with pytest.raises(UsageError, match="Wrong password"):
        open_wallet(made, lambda: "simsalabim")
    assert not [file for file in home.rglob("*") if file.is_file() and "sesame" in file.read_text()]


def test_the_first_wallet_is_in_use_until_another_is_chosen() -> None:
    add_wallet("ann", ANN, "a")
    add_wallet("bob", BOB, "b")
    assert [(wallet.name, wallet.in_use) for wallet in list_wallets()] == [("ann", True), ("bob", False)]
    add_wallet("cyd", dev_signer(3), "c", use=True)
    assert [wallet.name for wallet in list_wallets() if wallet.in_use] == ["cyd"]


def test_nothing_is_ever_replaced() -> None:
    kept = add_wallet("ann", ANN, "a").file.read_bytes()
    with pytest.raises(UsageError, match="may hold money"):
        add_wallet("ann", BOB, "b")
    found = find_wallet("ann")
    assert found is not None and found.file.read_bytes() == kept
    assert find_wallet("bob") is None


def test_a_password_in_a_file_is_remembered_by_its_place(home: Path) -> None:
    (home / "secret").write_text("sesame\n")
    made = add_wallet("ann", ANN, "sesame", password_place=PasswordPlace.FILE, password_file=home / "secret")
    assert (made.password, made.password_file) == (PasswordPlace.FILE, home / "secret")
    assert open_wallet(made, nobody).address == ANN.address
    assert "sesame" not in config_file().read_text()
    (home / "other").write_text("wrong")
    with pytest.raises(UsageError, match="Wrong password"):
        open_wallet(made, nobody, password_file=home / "other")


def test_a_password_in_the_systems_keyring(memory: Memory) -> None:
    made = add_wallet("ann", ANN, "sesame", password_place=PasswordPlace.KEYRING)
    assert memory.kept == {("fairgrid-wallet", "ann"): "sesame"}
    assert open_wallet(made, nobody).address == ANN.address
    memory.kept.clear()
    with pytest.raises(UsageError, match="has no password of the wallet ann"):
        open_wallet(made, nobody)
    remove_wallet(made, for_good=True)
    assert list_wallets() == [] and "ann" not in config_file().read_text()


def test_a_keyring_that_refuses_leaves_no_key_without_a_password(memory: Memory) -> None:
    memory.locked = True
    with pytest.raises(UsageError, match="keyring does not take the password"):
        add_wallet("ann", ANN, "sesame", password_place=PasswordPlace.KEYRING)
    assert list_wallets() == []


def test_without_the_extra_the_line_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "keyring", None)
    with pytest.raises(UsageError, match=r"pip install 'fairgrid\[keyring\]'"):
        add_wallet("ann", ANN, "sesame", password_place=PasswordPlace.KEYRING)
    assert list_wallets() == []


def test_a_removed_wallet_keeps_its_keystore_as_often_as_it_is_removed(home: Path) -> None:
    for number in range(3):
        made = add_wallet("ann", ANN, "a")
        kept = remove_wallet(made)
        assert kept is not None and kept.parent == home / "wallets" / "removed" and kept.exists(), number
    assert len(list((home / "wallets" / "removed").iterdir())) == 3
    assert list_wallets() == []


def test_a_damaged_wallet_is_named(home: Path) -> None:
    add_wallet("ann", ANN, "a").file.write_text("{}")
    with pytest.raises(UsageError, match=r"ann\.json is damaged"):
        list_wallets()


def test_an_account_is_a_name_a_keystore_or_a_folder(home: Path) -> None:
    add_wallet("ann", ANN, "a")
    save_keystore(BOB, home / "bob.json", "b", scrypt_n=FAST)
    folder = open_or_create_key(home / "service")
    asked: list[str] = []

    def ask(whose: str) -> str:
        asked.append(whose)
        return "a" if "ann" in whose else "b"

    def opened(wanted: str | Path | None, own: Path | None = None) -> KeySigner:
        return open_account(wanted, own=own, ask=ask)

    assert opened("ann").address == opened(None).address == ANN.address
    assert opened(home / "bob.json").address == BOB.address
    assert opened(home / "service").address == opened(None, own=home / "service").address == folder.address
    assert len(asked) == 3
    assert account_address("ann", own=None) == account_address(None, own=None) == ANN.address
    assert account_address(None, own=home / "service") == folder.address


def test_who_names_no_account_or_an_unknown_one_is_told_what_there_is() -> None:
    with pytest.raises(UsageError, match="fairgrid wallet create NAME"):
        open_account(None, own=None, ask=nobody)
    add_wallet("ann", ANN, "a")
    with pytest.raises(UsageError, match=r"no wallet 'bob' \(there are: ann\)"):
        open_account("bob", own=None, ask=nobody)
    config_file().unlink()
    add_wallet("bob", BOB, "b")
    with pytest.raises(UsageError, match="none of the wallets ann, bob is the one in use"):
        open_account(None, own=None, ask=nobody)
