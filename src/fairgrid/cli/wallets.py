"""`fairgrid wallet`: accounts by name. A password is asked for, or in a file, or in the system's keyring."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fairgrid.cli.completion import wallet_names
from fairgrid.cli.output import console, emit_json
from fairgrid.cli.shared_options import JsonOption, PasswordFileOption, YesOption, read_password
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.wallet.keys import KeySigner
    from fairgrid.wallet.wallets import Wallet

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Accounts by name.")

_KEY_BYTES = 32

_NewName = Annotated[str, typer.Argument(metavar="NAME", help="How to call it: lower-case letters, digits, '-'.")]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="The wallet's name.", autocompletion=wallet_names)]
_NewPasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="File with the wallet's password. It is remembered where it lies, so that nothing is asked later.",
    ),
]
_KeyringOption = Annotated[
    bool, typer.Option("--keyring", help="Keep the password in the system's keyring (extra fairgrid[keyring]).")
]
_UseOption = Annotated[bool, typer.Option("--use", help="Let it pay for commands that name no wallet.")]


@app.callback()
def _wallets() -> None:
    """Accounts by name: `--wallet NAME` signs with them, on any network.

    A wallet is a keystore (Web3 Secret Storage 3) in your settings folder, readable by other wallets' programs.
    """


@app.command("create")
def create(
    name: _NewName,
    password_file: _NewPasswordOption = None,
    keyring: _KeyringOption = False,
    use: _UseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a new key, and keep it under a name. Example: `fairgrid wallet create alice`.

    Nobody can restore it: keep a copy (`fairgrid wallet export`) and the password where they survive this machine.
    """
    from fairgrid.wallet.keys import KeySigner

    _added(name, KeySigner.generate(), password_file, keyring=keyring, use=use, as_json=as_json, verb="Made")


@app.command("import")
def import_key(
    name: _NewName,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="A keystore (V3, JSON), the folder of a key, or a file with a private key in hex."
        ),
    ],
    source_password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the password of a keystore SOURCE; asked for without it."),
    ] = None,
    password_file: _NewPasswordOption = None,
    keyring: _KeyringOption = False,
    use: _UseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Keep a key that you have under a name, sealed with a password of its own. SOURCE stays as it is.

    Example: `fairgrid wallet import alice keystore.json`.
    """
    signer = _read(source, source_password_file)
    _added(name, signer, password_file, keyring=keyring, use=use, as_json=as_json, verb="Kept")


@app.command("list")
def list_all(as_json: JsonOption = False) -> None:
    """List the wallets and their addresses; opens none. Example: `fairgrid wallet list`."""
    from fairgrid.wallet.wallets import list_wallets

    wallets = list_wallets()
    if as_json:
        emit_json({"status": "ok", "wallets": [_document(wallet) for wallet in wallets]})
        return
    if not wallets:
        console().print("No wallet is here. `fairgrid wallet create NAME` makes one.", markup=False)
        return
    table = Table("", "wallet", "address", "password", box=None, pad_edge=False)
    for wallet in wallets:
        table.add_row("*" if wallet.in_use else "", wallet.name, wallet.address, _where(wallet))
    console().print(table)


@app.command("show")
def show(name: _Name, as_json: JsonOption = False) -> None:
    """Show one wallet; opens nothing. Example: `fairgrid wallet show alice`."""
    wallet = _found(name)
    if as_json:
        emit_json({"status": "ok", **_document(wallet)})
        return
    screen = console()
    used = ", pays for commands that name no wallet" if wallet.in_use else ""
    screen.print(f"{wallet.name}: {wallet.address}{used}", markup=False)
    screen.print(f"  keystore {wallet.file}", markup=False, soft_wrap=True)
    screen.print(f"  password {_where(wallet)}", markup=False, soft_wrap=True)


@app.command("use")
def use_it(name: _Name, as_json: JsonOption = False) -> None:
    """Let a wallet pay for commands that name none, on every network but local ones, which have keys of their own.

    Example: `fairgrid wallet use alice`.
    """
    from fairgrid.seams.config_file import edit_config, with_key

    wallet = _found(name)
    edit_config(lambda text: with_key(text, "wallet", name))
    if as_json:
        emit_json({"status": "ok", **_document(wallet), "inUse": True})
    else:
        console().print(f"Commands that name no wallet sign with {name} ({wallet.address}) now.", markup=False)


@app.command("export")
def export(
    name: _Name,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the keystore; never replaced.")],
    password_file: PasswordFileOption = None,
    new_password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the password of the copy. Default: it keeps the wallet's."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a copy of a wallet's keystore, for a backup or another wallet's program.

    The password is tried first: a copy that nobody can open is no backup. Example:
    `fairgrid wallet export alice --out alice.json`.
    """
    from fairgrid.wallet.keystore import save_keystore
    from fairgrid.wallet.wallets import open_wallet

    wallet = _found(name)
    ask = partial(read_password, None, question=f"Password of the wallet {name}")
    signer = open_wallet(wallet, ask, password_file=password_file)
    if new_password_file is not None:
        save_keystore(signer, out, read_password(new_password_file))
    else:
        _copy(wallet.file, out)
    if as_json:
        emit_json({"status": "ok", "name": name, "address": wallet.address, "file": str(out)})
    else:
        console().print(f"Wrote {out}. Its password opens it, and the money of {wallet.address}.", markup=False)


@app.command("remove")
def remove(
    name: _Name,
    for_good: Annotated[
        bool, typer.Option("--for-good", help="Delete the keystore. Without a copy its money is lost for ever.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a wallet out of the list; its keystore is kept in a folder `removed`, unless --for-good.

    Example: `fairgrid wallet remove alice`.
    """
    from fairgrid.wallet.wallets import remove_wallet

    wallet = _found(name)
    if for_good and not yes:
        question = f"Delete the only key of {wallet.address} that this list knows? Nobody can bring it back."
        asked = not as_json and sys.stdin.isatty()
        if not (asked and typer.confirm(question, err=True)):
            raise UsageError(f"Nothing was deleted. --yes agrees to deleting the key of {wallet.address}.")
    kept = remove_wallet(wallet, for_good=for_good)
    if as_json:
        document = {"name": name, "address": wallet.address, "keptAs": None if kept is None else str(kept)}
        emit_json({"status": "ok", **document})
    elif kept is None:
        console().print(f"Deleted the wallet {name} ({wallet.address}).", markup=False)
    else:
        console().print(f"Removed {name}. Its keystore is {kept} now.", markup=False, soft_wrap=True)


def _added(
    name: str, signer: KeySigner, password_file: Path | None, *, keyring: bool, use: bool, as_json: bool, verb: str
) -> None:
    from fairgrid.seams.config_file import check_name
    from fairgrid.wallet.wallets import PasswordPlace, add_wallet, find_wallet

    check_name(name, "wallet")
    if find_wallet(name) is not None:
        raise UsageError(f"There is a wallet {name} already, and it may hold money. Choose another name.")
    if keyring and password_file is not None:
        raise UsageError("Either --password-file or --keyring says where the password is, not both. Nothing was made.")
    password = _new_password(password_file)
    place = PasswordPlace.FILE if password_file else PasswordPlace.KEYRING if keyring else PasswordPlace.ASKED
    wallet = add_wallet(name, signer, password, password_place=place, password_file=password_file, use=use)
    if as_json:
        emit_json({"status": "ok", **_document(wallet)})
        return
    screen = console()
    screen.print(f"{verb} the wallet {name}: {wallet.address}", markup=False)
    screen.print(f"  keystore {wallet.file}, password {_where(wallet)}", markup=False, soft_wrap=True)
    screen.print("Whoever has both has its money; without one of them it is lost. Keep a copy of both.", markup=False)


def _new_password(file: Path | None) -> str:
    if file is None:
        if not sys.stdin.isatty():
            raise UsageError("A new password is asked for in a terminal. Elsewhere give --password-file.")
        password = str(typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True))
    else:
        password = read_password(file)
    if not password:
        raise UsageError("The password is empty. Choose one that nobody guesses.")
    return password


def _read(source: Path, password_file: Path | None) -> KeySigner:
    from fairgrid.errors import OrderError
    from fairgrid.protocol.hexes import from_hex
    from fairgrid.wallet.keys import KeySigner
    from fairgrid.wallet.keystore import KEYSTORE_NAME, load_keystore, open_or_create_key

    if source.is_dir():
        if not (source / KEYSTORE_NAME).exists():
            raise UsageError(f"There is no {KEYSTORE_NAME} in {source}.")
        return open_or_create_key(source)
    try:
        text = source.read_text().strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"The key file {source} cannot be read ({error}).") from error
    if text.startswith("{"):
        return load_keystore(source, read_password(password_file))
    try:
        key = from_hex(text if text.startswith("0x") else f"0x{text}")
    except OrderError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise UsageError(f"{source} is neither a keystore nor a private key of 64 hexadecimal digits.")
    return KeySigner(key)


def _copy(file: Path, out: Path) -> None:
    try:
        content = file.read_bytes()
        with open(out, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as opened:
            opened.write(content)
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error}). Nothing is ever replaced.") from error


def _found(name: str) -> Wallet:
    from fairgrid.wallet.wallets import find_wallet, list_wallets

    wallet = find_wallet(name)
    if wallet is None:
        names = ", ".join(known.name for known in list_wallets()) or "none"
        raise UsageError(f"There is no wallet {name!r} (there are: {names}). `fairgrid wallet create` makes one.")
    return wallet


def _where(wallet: Wallet) -> str:
    return {"asked": "is asked for", "keyring": "in the system's keyring"}.get(
        wallet.password, f"in {wallet.password_file}"
    )


def _document(wallet: Wallet) -> dict[str, Any]:
    return {
        "name": wallet.name,
        "address": wallet.address,
        "file": str(wallet.file),
        "password": wallet.password.value,
        "passwordFile": None if wallet.password_file is None else str(wallet.password_file),
        "inUse": wallet.in_use,
    }
