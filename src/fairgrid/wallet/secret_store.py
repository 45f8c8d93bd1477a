"""Named secrets of an account: at rest they are encrypted for the account's own encryption key, one file an account.

Whoever can open the account's keystore (by its password, which may be in the system's keyring) reads them, and nobody
else. The names are readable.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import rfc8785

from fairgrid.errors import UsageError, VerificationError
from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.sealing import EncryptionKey, encryption_key_of, seal_for
from fairgrid.seams.config_file import check_name, config_folder

__all__ = ["MAX_SECRET_BYTES", "SecretStore"]

MAX_SECRET_BYTES: Final = 16 << 10
"""The longest secret, in bytes of UTF-8."""
_FORMAT: Final = "secrets/1"


class SecretStore:
    """The secrets of one account, in ``folder`` (default: below the settings' folder)."""

    def __init__(self, address: str, sign_message: Callable[[bytes], str], *, folder: Path | None = None) -> None:
        """``sign_message`` is the account's EIP-191 signature; it is asked for when a secret is kept or read."""
        self._address = checksum(address)
        self._sign = sign_message
        self._file = (folder or config_folder() / "secrets") / f"{self._address}.json"
        self._own: EncryptionKey | None = None

    def __repr__(self) -> str:
        return f"SecretStore({self._address!r})"

    @property
    def file(self) -> Path:
        """Where they lie."""
        return self._file

    def names(self) -> list[str]:
        """Their names, in order; opens none.

        Raises:
            UsageError: the file cannot be read.
        """
        return sorted(self._read())

    def set(self, name: str, value: str) -> None:
        """Keep a secret, in the place of an older one of that name.

        Raises:
            UsageError: name or value cannot be one, or the file cannot be written.
        """
        check_name(name, "secret")
        if not value or "\0" in value or len(value.encode(errors="surrogatepass")) > MAX_SECRET_BYTES:
            raise UsageError(
                f"A secret is text of 1 to {MAX_SECRET_BYTES} bytes without a NUL character. Nothing was kept."
            )
        try:
            content = value.encode()
        except UnicodeEncodeError:
            raise UsageError("A secret is valid Unicode text. Nothing was kept.") from None
        sealed = seal_for(self._key().public, content, self._context(name))
        self._write(self._read() | {name: base64.b64encode(sealed).decode()})

    def get(self, name: str) -> str:
        """The value of a secret.

        Raises:
            UsageError: there is none of that name, or the file cannot be read.
            VerificationError: it was changed, or is not of this account.
        """
        kept = self._read()
        if name not in kept:
            names = ", ".join(sorted(kept)) or "none"
            raise UsageError(
                f"The account {self._address} has no secret {name!r} (it has: {names}). `fairgrid secret set {name}` "
                f"keeps one."
            )
        try:
            return self._key().open(base64.b64decode(kept[name], validate=True), self._context(name)).decode()
        except (ValueError, VerificationError):
            raise VerificationError(
                f"The secret {name!r} in {self._file} was changed, or is of another account. Set it again."
            ) from None

    def remove(self, name: str) -> bool:
        """Forget a secret; False if there was none.

        Raises:
            UsageError: the file cannot be read or written.
        """
        kept = self._read()
        if kept.pop(name, None) is None:
            return False
        self._write(kept)
        return True

    def _key(self) -> EncryptionKey:
        if self._own is None:
            self._own = encryption_key_of(self._sign)
        return self._own

    def _context(self, name: str) -> bytes:
        return rfc8785.dumps({"fairgrid": _FORMAT, "account": self._address, "name": name})

    def _read(self) -> dict[str, str]:
        try:
            document: Any = json.loads(self._file.read_text(encoding="utf-8"))
            found: dict[str, Any] = document["secrets"]
            if document["fairgrid"] != _FORMAT or not all(isinstance(value, str) for value in found.values()):
                raise ValueError("it is of another format")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"The secrets in {self._file} cannot be read ({error}). Move the file away.") from error
        return found

    def _write(self, kept: dict[str, str]) -> None:
        data = json.dumps({"fairgrid": _FORMAT, "account": self._address, "secrets": kept}, indent=2).encode()
        partial = self._file.with_suffix(f".{secrets.token_hex(4)}")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.replace(partial, self._file)
        except OSError as error:
            raise UsageError(f"The secrets cannot be kept in {self._file} ({error}). Make room for them.") from error
