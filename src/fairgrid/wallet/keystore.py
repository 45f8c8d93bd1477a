"""Keys at rest: Web3 Secret Storage version 3 files, readable by every Ethereum wallet.

A service keeps its key in one folder: ``keystore.json`` and, beside it, the random ``password`` that opens it. Both are
for the owner of the folder only; whoever can read both holds the key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from fairgrid.errors import UsageError
from fairgrid.protocol.hexes import keccak
from fairgrid.wallet.keys import KeySigner

__all__ = ["KEYSTORE_NAME", "PASSWORD_NAME", "adopt_key", "load_keystore", "open_or_create_key", "save_keystore"]

KEYSTORE_NAME = "keystore.json"
PASSWORD_NAME = "password"

_HUMAN_SCRYPT_N = 1 << 18
# A generated password has 256 bits: stretching it adds nothing but start-up time.
_MACHINE_SCRYPT_N = 1 << 12
_MAX_KEYSTORE_BYTES = 65_536
_MAX_SCRYPT_BYTES = 1 << 30
_MAX_PBKDF2_ROUNDS = 10_000_000


def load_keystore(path: Path, password: str) -> KeySigner:
    """Open a version 3 keystore file, whoever wrote it (scrypt or PBKDF2).

    Raises:
        UsageError: there is no such file, it is not a version 3 keystore, its key derivation would exhaust this
            machine, the password is wrong, or the key is not the one that the file's address names.
    """
    try:
        if path.stat().st_size > _MAX_KEYSTORE_BYTES:
            raise UsageError(f"{path} is too large to be a keystore. Name the keystore's JSON file.")
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"There is no keystore at {path}. Name an existing file, or create a key there.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"The keystore {path} cannot be read ({error}). Restore it from your backup.") from error
    if not isinstance(document, dict) or document.get("version") != 3:
        raise UsageError(
            f"{path} is not a version 3 keystore. Export the key as a keystore (V3, JSON) from your wallet."
        )
    damaged = f"The keystore {path} is damaged (%s). Restore it from your backup."
    _refuse_costly(path, document)
    try:
        key = _decrypt(document, password)
    except _WrongPassword:
        raise UsageError(f"Wrong password for the keystore {path}.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(damaged % f"{type(error).__name__}: {error}") from None
    signer = KeySigner(key)
    named = document.get("address")
    if isinstance(named, str) and named and named.lower().removeprefix("0x") != signer.address.lower()[2:]:
        raise UsageError(f"The keystore {path} names {named} but holds the key of {signer.address}. Do not use it.")
    return signer


def save_keystore(signer: KeySigner, path: Path, password: str, *, scrypt_n: int = _HUMAN_SCRYPT_N) -> None:
    """Write a version 3 keystore (scrypt), mode 0600, in one step; an existing file is never replaced.

    ``scrypt_n`` is the work factor, a power of 2: lower it only for random passwords.

    Raises:
        UsageError: the file exists already, or cannot be written.
    """
    document = _encrypt(signer, password, scrypt_n)
    if not _create_private(path, json.dumps(document, indent=2).encode() + b"\n"):
        raise UsageError(f"{path} exists already and may hold a key with money on it. Name another file.")


def open_or_create_key(folder: Path) -> KeySigner:
    """The key of a service's folder; made on first use (folder 0700, files 0600), the same at every later call.

    Safe to interrupt and to run twice at once: a key that was returned once is on disk, and never changes.

    Raises:
        UsageError: other users may read the files or write the folder, the password file is gone, or the folder cannot
            be written.
    """
    return _kept_key(folder, KeySigner.generate)


def adopt_key(signer: KeySigner, folder: Path) -> KeySigner:
    """Keep a key in a service's folder, as `open_or_create_key` keeps its own; gives the key that the folder has then.

    Raises:
        UsageError: the folder has another key already, or as `open_or_create_key`.
    """
    kept = _kept_key(folder, lambda: signer)
    if kept.address != signer.address:
        raise UsageError(f"{folder} has the key of {kept.address} already, not {signer.address}'s. Name another --dir.")
    return kept


def _kept_key(folder: Path, new: Callable[[], KeySigner]) -> KeySigner:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be made ({error}). Name another --dir.") from error
    _refuse_shared(folder, stat.S_IWGRP | stat.S_IWOTH, "can be written by other users", "go-w")
    keystore, password_file = folder / KEYSTORE_NAME, folder / PASSWORD_NAME
    if not keystore.exists():
        # The password is on disk before the key that it opens: a crash between the two loses nothing.
        _create_private(password_file, secrets.token_hex(32).encode() + b"\n")
        password = _read_password(password_file, keystore)
        try:
            save_keystore(new(), keystore, password, scrypt_n=_MACHINE_SCRYPT_N)
        except UsageError:
            if not keystore.exists():
                raise
    password = _read_password(password_file, keystore)
    _refuse_shared(keystore, 0o077, "can be read by other users", "go-rwx")
    return load_keystore(keystore, password)


class _WrongPassword(Exception):
    """The MAC is that of another password."""


def _encrypt(signer: KeySigner, password: str, scrypt_n: int) -> dict[str, Any]:
    salt, counter = secrets.token_bytes(32), secrets.token_bytes(16)
    derived = Scrypt(salt, length=32, n=scrypt_n, r=8, p=1).derive(password.encode())
    ciphertext = _aes_128_ctr(derived[:16], counter, signer.private_key)
    return {
        "version": 3,
        "id": str(uuid.uuid4()),
        "address": signer.address[2:].lower(),
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": counter.hex()},
            "ciphertext": ciphertext.hex(),
            "kdf": "scrypt",
            "kdfparams": {"dklen": 32, "n": scrypt_n, "r": 8, "p": 1, "salt": salt.hex()},
            "mac": keccak(derived[16:32] + ciphertext).hex(),
        },
    }


def _decrypt(document: dict[str, Any], password: str) -> bytes:
    crypto: dict[str, Any] = document["crypto"] if "crypto" in document else document["Crypto"]
    parameters = crypto["kdfparams"]
    salt = bytes.fromhex(parameters["salt"])
    if crypto["cipher"] != "aes-128-ctr" or parameters["dklen"] != 32:
        raise ValueError("its cipher is not AES-128-CTR")
    if crypto["kdf"] == "scrypt":
        scrypt = Scrypt(salt, length=32, n=parameters["n"], r=parameters["r"], p=parameters["p"])
        derived = scrypt.derive(password.encode())
    elif crypto["kdf"] == "pbkdf2" and parameters["prf"] == "hmac-sha256":
        derived = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, parameters["c"])
    else:
        raise ValueError("its key derivation is neither scrypt nor PBKDF2 with SHA-256")
    ciphertext = bytes.fromhex(crypto["ciphertext"])
    if not hmac.compare_digest(keccak(derived[16:32] + ciphertext), bytes.fromhex(crypto["mac"])):
        raise _WrongPassword
    return _aes_128_ctr(derived[:16], bytes.fromhex(crypto["cipherparams"]["iv"]).rjust(16, b"\0"), ciphertext)


def _aes_128_ctr(key: bytes, counter: bytes, data: bytes) -> bytes:
    # Encrypting and decrypting are the same in counter mode.
    encryptor = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _read_password(password_file: Path, keystore: Path) -> str:
    if not password_file.exists():
        raise UsageError(
            f"The password file {password_file} is gone, so the key in {keystore} cannot be opened. Restore it from "
            f"your backup; or, if no money is on that key, move the keystore away and start again."
        )
    _refuse_shared(password_file, 0o077, "can be read by other users", "go-rwx")
    try:
        return password_file.read_text().strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"The password file {password_file} cannot be read ({error}).") from error


def _refuse_shared(path: Path, forbidden: int, what: str, remedy: str) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & forbidden:
        raise UsageError(
            f"{path} {what} (mode {mode:04o}), so its key may not be yours alone. Run `chmod {remedy} {path}`, and "
            f"move the money to a new key if others use this machine."
        )


def _create_private(path: Path, content: bytes) -> bool:
    """Write a new file, whole or not at all, mode 0600; False if it exists already."""
    try:
        descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error}). Name another folder.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error}). Name another folder.") from error
    finally:
        os.unlink(partial)
    return True


def _refuse_costly(path: Path, document: dict[str, Any]) -> None:
    """A stranger's keystore may ask for any amount of memory or time."""
    crypto = document.get("crypto", document.get("Crypto"))
    parameters = crypto.get("kdfparams") if isinstance(crypto, dict) else None
    if not isinstance(parameters, dict):
        raise UsageError(f"The keystore {path} is damaged (it names no key derivation). Restore it from your backup.")
    numbers = [parameters.get(name, 1) for name in ("n", "r", "p", "c")]
    if not all(type(number) is int and number > 0 for number in numbers):
        raise UsageError(f"The keystore {path} is damaged (its key derivation is not numbers).")
    n, r, p, rounds = numbers
    if 128 * n * r * p > _MAX_SCRYPT_BYTES or rounds > _MAX_PBKDF2_ROUNDS:
        raise UsageError(
            f"Opening the keystore {path} would take too much memory or time. Export it anew from your wallet."
        )
