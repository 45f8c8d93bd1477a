"""Which account signs: a wallet by name, a keystore file, a folder with a key, or what a network has of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fairgrid.errors import UsageError
from fairgrid.seams.config_file import is_name
from fairgrid.wallet.keys import KeySigner
from fairgrid.wallet.keystore import KEYSTORE_NAME, load_keystore, open_or_create_key
from fairgrid.wallet.wallets import Wallet, find_wallet, list_wallets, open_wallet, password_in

__all__ = ["account_address", "open_account"]


def open_account(
    wanted: str | Path | None, *, own: Path | None, ask: Callable[[str], str], password_file: Path | None = None
) -> KeySigner:
    """The key of the account that ``wanted`` names: a wallet, a keystore file, or the folder of a key.

    None takes the key in the folder ``own``, made if it is not there; without such a folder the wallet in use, or the
    only one. ``ask`` gets whose password is needed.

    Raises:
        UsageError: there is no such account, its password is wrong or not to be had, or it is damaged.
    """
    if wanted is None and own is not None:
        return open_or_create_key(own)
    if wanted is None:
        wallet = _usual()
        return open_wallet(wallet, lambda: ask(f"the wallet {wallet.name}"), password_file=password_file)
    text, path = str(wanted), Path(wanted).expanduser()
    named = find_wallet(text) if is_name(text) else None
    if named is not None:
        return open_wallet(named, lambda: ask(f"the wallet {named.name}"), password_file=password_file)
    if path.is_file():
        password = ask(f"the keystore {path}") if password_file is None else password_in(password_file)
        return load_keystore(path, password)
    if is_name(text) and not (path / KEYSTORE_NAME).exists():
        raise _unknown(text)
    return open_or_create_key(path)


def account_address(wanted: str | Path | None, *, own: Path | None) -> str:
    """The address of an account as `open_account` finds it, without its password if that is not at hand.

    Raises:
        UsageError: there is no such account, or it is damaged.
    """
    text = "" if wanted is None else str(wanted)
    wallet = find_wallet(text) if is_name(text) else _usual() if wanted is None and own is None else None
    if wallet is not None:
        return wallet.address

    def no_password(whose: str) -> str:
        raise UsageError(f"To know the address of {whose}, give the address itself.")

    return open_account(wanted, own=own, ask=no_password).address


def _usual() -> Wallet:
    wallets = list_wallets()
    used = [wallet for wallet in wallets if wallet.in_use] or wallets
    if len(used) == 1:
        return used[0]
    if not wallets:
        raise UsageError(
            "No account is named, and there is no wallet. Make one with `fairgrid wallet create NAME`, or name a "
            "keystore file or the folder of a key with --wallet."
        )
    names = ", ".join(wallet.name for wallet in wallets)
    raise UsageError(
        f"No account is named, and none of the wallets {names} is the one in use. Name one with --wallet, or choose "
        f"one with `fairgrid wallet use NAME`."
    )


def _unknown(name: str) -> UsageError:
    names = ", ".join(wallet.name for wallet in list_wallets()) or "none"
    return UsageError(
        f"There is no wallet {name!r} (there are: {names}), and no folder of that name with a key. `fairgrid wallet "
        f"create {name}` makes one."
    )
