"""`fairgrid secret`: an account's named secrets, encrypted at rest; jobs get them with `fairgrid run --secret`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairgrid.cli.output import console, emit_json
from fairgrid.cli.shared_options import JsonOption, KeyFolderOption, PasswordFileOption, PlaceOption, signer_of
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.wallet.secret_store import SecretStore

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Secrets of an account, for its jobs.")

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The secret's name: lower-case letters, digits and '-'.")]


@app.command("set")
def set_secret(
    name: _Name,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="The file with the value, without its last line end. Else asked."),
    ] = None,
    directory: PlaceOption = None,
    key_folder: KeyFolderOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a secret under a name, encrypted for the account. The value is never an argument.

    Example: `fairgrid secret set api-token --file token.txt`, then `fairgrid run job.py --secret api-token`.
    """
    from fairgrid.chain.network_names import find_network
    from fairgrid.wallet.secret_store import SecretStore

    value = _value(name, file)
    signer = signer_of(find_network(directory), key_folder, password_file)
    store = SecretStore(signer.address, signer.sign_message)
    store.set(name, value)
    if as_json:
        emit_json({"status": "ok", "name": name, "account": signer.address, "file": str(store.file)})
        return
    console().print(f"Kept {name} for {signer.address} in {store.file}, encrypted.", markup=False, soft_wrap=True)


@app.command("list")
def list_secrets(
    directory: PlaceOption = None,
    key_folder: KeyFolderOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the names of an account's secrets; opens none. Example: `fairgrid secret list`."""
    store, address = _store(directory, key_folder, password_file)
    names = store.names()
    if as_json:
        emit_json({"status": "ok", "account": address, "secrets": names})
        return
    text = "\n".join(names) or f"{address} has no secrets. `fairgrid secret set NAME` keeps one."
    console().print(text, markup=False)


@app.command("remove")
def remove_secret(
    name: _Name,
    directory: PlaceOption = None,
    key_folder: KeyFolderOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget a secret. Jobs that have it keep it. Example: `fairgrid secret remove api-token`."""
    store, address = _store(directory, key_folder, password_file)
    if not store.remove(name):
        raise UsageError(f"The account {address} has no secret {name!r}. `fairgrid secret list` shows them.")
    if as_json:
        emit_json({"status": "ok", "name": name, "account": address})
        return
    console().print(f"Forgot {name}.", markup=False)


def _value(name: str, file: Path | None) -> str:
    if file is None:
        if not sys.stdin.isatty():
            raise UsageError(f"Nobody can be asked for the value of {name}. Give it in a file, with --file.")
        return str(typer.prompt(f"Value of {name}", hide_input=True, err=True))
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The value of {name} cannot be read from {file} ({error}). Nothing was kept.") from error


def _store(directory: Path | None, key_folder: Path | None, password_file: Path | None) -> tuple[SecretStore, str]:
    """The store of an account, which is opened only to know its address, and that address."""
    from fairgrid.chain.network_names import find_network
    from fairgrid.localnet.paths import own_key_folder
    from fairgrid.wallet.accounts import account_address
    from fairgrid.wallet.secret_store import SecretStore

    place = find_network(directory)
    if password_file is not None:
        address = signer_of(place, key_folder, password_file).address
    else:
        address = account_address(key_folder, own=own_key_folder(place))

    def no_signature(message: bytes) -> str:
        raise UsageError("Listing and removing secrets opens none.")

    return SecretStore(address, no_signature), address
