"""Wallets by name: keystores in one folder of the user, and where the password of each is.

A password is asked for, unless its wallet's table in the config file says that it is in a file or in the system's
keyring (an optional extra). It is never in the config file itself, and never in an environment variable.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from fairgrid.errors import UsageError
from fairgrid.protocol.hexes import checksum
from fairgrid.seams.config_file import (
    check_name,
    config_folder,
    edit_config,
    read_config,
    with_key,
    with_table,
    without_key,
    without_table,
)
from fairgrid.wallet import system_keyring
from fairgrid.wallet.keys import KeySigner
from fairgrid.wallet.keystore import load_keystore, save_keystore

__all__ = [
    "PasswordPlace",
    "Wallet",
    "add_wallet",
    "find_wallet",
    "list_wallets",
    "open_wallet",
    "password_in",
    "remove_wallet",
]

_SCRYPT_N = 1 << 18
_KIND: Final = "wallets"
_REMOVED: Final = "removed"
_FILE_KEY: Final = "password_file"
_KEYRING_KEY: Final = "keyring"


class PasswordPlace(StrEnum):
    """Where the password of a wallet is."""

    ASKED = "asked"
    FILE = "file"
    KEYRING = "keyring"


@dataclass(frozen=True, slots=True)
class Wallet:
    """A keystore by its name. Its ``address`` is what the file claims until it is opened."""

    name: str
    address: str
    file: Path
    password: PasswordPlace
    password_file: Path | None = None
    in_use: bool = False
    """Whether it pays for commands that name no wallet."""


def list_wallets() -> list[Wallet]:
    """Every wallet, by name.

    Raises:
        UsageError: the config file or the folder cannot be read.
    """
    folder = _folder()
    try:
        files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    except OSError as error:
        raise UsageError(f"The wallets' folder {folder} cannot be looked into ({error}).") from error
    return [_wallet(file) for file in files]


def find_wallet(name: str) -> Wallet | None:
    """The wallet of that name; None if there is none.

    Raises:
        UsageError: as `list_wallets`, or its file is damaged.
    """
    return next((wallet for wallet in list_wallets() if wallet.name == name), None)


def add_wallet(
    name: str,
    signer: KeySigner,
    password: str,
    *,
    password_place: PasswordPlace = PasswordPlace.ASKED,
    password_file: Path | None = None,
    use: bool = False,
) -> Wallet:
    """Keep a key under a name, sealed with ``password``. The first wallet is the one in use.

    Raises:
        UsageError: there is a wallet of that name, its name cannot be one, or something cannot be written. Nothing is
            ever replaced.
    """
    check_name(name, "wallet", taken=(_REMOVED,))
    folder = _folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The wallets' folder {folder} cannot be made ({error}).") from error
    file = folder / f"{name}.json"
    if file.exists():
        raise UsageError(f"There is a wallet {name} already, and it may hold money. Choose another name.")
    first = not list_wallets()
    if password_place is PasswordPlace.KEYRING:
        # Before the key: a key whose password was kept nowhere would be lost.
        system_keyring.keep_password(name, password)
    save_keystore(signer, file, password, scrypt_n=_SCRYPT_N)

    def edit(text: str) -> str:
        if password_place is PasswordPlace.FILE and password_file is not None:
            text = with_table(text, _KIND, name, {_FILE_KEY: str(password_file.expanduser().absolute())})
        if password_place is PasswordPlace.KEYRING:
            text = with_table(text, _KIND, name, {_KEYRING_KEY: True})
        return with_key(text, "wallet", name) if use or first else text

    edit_config(edit)
    return _wallet(file)


def open_wallet(wallet: Wallet, ask: Callable[[], str], *, password_file: Path | None = None) -> KeySigner:
    """The key of a wallet. ``password_file`` counts before what the config file says; ``ask`` is the last resort.

    Raises:
        UsageError: the password is wrong or not to be had, or the keystore is damaged.
    """
    file = password_file or wallet.password_file
    if file is not None:
        return load_keystore(wallet.file, password_in(file))
    if wallet.password is PasswordPlace.KEYRING:
        return load_keystore(wallet.file, system_keyring.kept_password(wallet.name))
    return load_keystore(wallet.file, ask())


def remove_wallet(wallet: Wallet, *, for_good: bool = False) -> Path | None:
    """Take a wallet out of the list. Its keystore is moved into a folder ``removed``, whose path is given; ``for_good``
    deletes it, with whatever money only it can move.

    Raises:
        UsageError: it cannot be moved or deleted.
    """
    kept: Path | None = None
    try:
        if for_good:
            wallet.file.unlink()
        else:
            kept = _free_place(_folder() / _REMOVED, wallet)
            wallet.file.rename(kept)
    except OSError as error:
        raise UsageError(f"The wallet {wallet.name} cannot be removed ({error}).") from error

    def edit(text: str) -> str:
        text = without_table(text, _KIND, wallet.name)
        return without_key(text, "wallet") if wallet.in_use else text

    edit_config(edit)
    if for_good and wallet.password is PasswordPlace.KEYRING:
        system_keyring.forget_password(wallet.name)
    return kept


def password_in(file: Path) -> str:
    """The password in a file, without its line end.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return file.expanduser().read_text().rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise UsageError(f"The password file {file} cannot be read ({error}).") from error


def _folder() -> Path:
    return config_folder() / "wallets"


def _free_place(folder: Path, wallet: Wallet) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    names = [f"{wallet.name}-{wallet.address}.json", *(f"{wallet.name}-{n}.json" for n in range(2, 1000))]
    return next(folder / name for name in names if not (folder / name).exists())


def _wallet(file: Path) -> Wallet:
    config = read_config()
    name = file.stem
    try:
        address = checksum("0x" + str(json.loads(file.read_bytes())["address"]).removeprefix("0x"))
    except Exception as error:
        raise UsageError(
            f"The wallet {file} is damaged ({error}). Restore it from your backup, or move it away."
        ) from (error)
    table = config.wallets.get(name, {})
    told = table.get(_FILE_KEY)
    if not isinstance(told, str | None) or not isinstance(table.get(_KEYRING_KEY, False), bool):
        raise UsageError(f'In the config file, [wallets.{name}] has {_FILE_KEY} = "FILE" or {_KEYRING_KEY} = true.')
    in_keyring = table.get(_KEYRING_KEY, False)
    place = PasswordPlace.FILE if told else PasswordPlace.KEYRING if in_keyring else PasswordPlace.ASKED
    return Wallet(name, address, file, place, Path(told) if told else None, config.wallet == name)
