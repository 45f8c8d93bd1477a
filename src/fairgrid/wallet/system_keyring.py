"""Passwords in the system's keyring (macOS Keychain, Secret Service, Windows Credential Locker): an optional extra."""

from __future__ import annotations

from typing import Any, Final

from fairgrid.errors import UsageError

__all__ = ["forget_password", "keep_password", "kept_password"]

_SERVICE: Final = "fairgrid-wallet"
_REMEDY: Final = "Keep the password in a file instead (--password-file), or have it asked for."


def keep_password(wallet: str, password: str) -> None:
    """Put a wallet's password into the keyring.

    Raises:
        UsageError: there is no keyring here, or it refuses.
    """
    keyring = _keyring()
    try:
        keyring.set_password(_SERVICE, wallet, password)
    except Exception as error:
        raise UsageError(f"The system's keyring does not take the password ({error}). {_REMEDY}") from error


def kept_password(wallet: str) -> str:
    """The password of a wallet.

    Raises:
        UsageError: there is no keyring here, it refuses, or does not have it.
    """
    keyring = _keyring()
    try:
        found = keyring.get_password(_SERVICE, wallet)
    except Exception as error:
        raise UsageError(f"The system's keyring does not give the password of {wallet} ({error}).") from error
    if not isinstance(found, str):
        raise UsageError(
            f"The system's keyring has no password of the wallet {wallet}. Give it with --password-file, or remove "
            f"`keyring = true` from [wallets.{wallet}] in the config file to be asked."
        )
    return found


def forget_password(wallet: str) -> None:
    """Take a wallet's password out of the keyring, if it is there.

    Raises:
        UsageError: there is no keyring here.
    """
    keyring = _keyring()
    try:
        keyring.delete_password(_SERVICE, wallet)
    except keyring.errors.PasswordDeleteError:
        return
    except Exception as error:
        raise UsageError(f"The system's keyring does not forget the password ({error}).") from error


def _keyring() -> Any:
    try:
        import keyring
        import keyring.errors
    except ImportError:
        raise UsageError(f"The system's keyring needs an extra: pip install 'fairgrid[keyring]'. {_REMEDY}") from None
    return keyring
