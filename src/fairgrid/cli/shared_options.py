"""Options that several commands have: one name, one word of help, one place to change them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairgrid.cli.completion import network_names, wallet_names
from fairgrid.errors import OrderError, UsageError
from fairgrid.seams.config_file import is_name, read_config

if TYPE_CHECKING:
    from fairgrid.chain.network_names import NetworkPlace
    from fairgrid.wallet.keys import KeySigner

__all__ = [
    "POOL_FOLDER",
    "WORKER_FOLDER",
    "DryRunOption",
    "JsonOption",
    "KeyFolderOption",
    "LocalFolderOption",
    "NetworkOption",
    "OutOption",
    "PasswordFileOption",
    "PlaceOption",
    "PoolDatabaseOption",
    "PoolFolderOption",
    "WorkerFolderOption",
    "YesOption",
    "kept_network",
    "read_address",
    "read_password",
    "signer_of",
]

POOL_FOLDER = Path("pool")
"""Where a pool lives if its operator names no other place."""
WORKER_FOLDER = Path("~/.fairgrid/worker")
"""Where a worker lives if its owner names no other place."""

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; progress stays on stderr.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for the result. Default: results/<deal>.")]
NetworkOption = Annotated[
    Path,
    typer.Option(
        "--network",
        metavar="NETWORK",
        envvar="FAIRGRID_NETWORK",
        autocompletion=network_names,
        help="Its name (`fairgrid network list`), its network file, or a folder with network.json.",
    ),
]
PlaceOption = Annotated[
    Path | None,
    typer.Option(
        "--network",
        "--dir",
        metavar="NETWORK",
        autocompletion=network_names,
        help="Its name (`fairgrid network list`), its folder or network file. Default: $FAIRGRID_NETWORK; `local` if "
        "$FAIRGRID_DIR is set; what `fairgrid network use` said; `local`.",
    ),
]
LocalFolderOption = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="D",
        help="The network's folder (`fairgrid up --dir`). Default: $FAIRGRID_DIR or ~/.fairgrid/local.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Agree beforehand: nothing is asked.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be signed and sent, and what it would cost; sign nothing.")
]
KeyFolderOption = Annotated[
    Path | None,
    typer.Option(
        "--wallet",
        "--key-folder",
        metavar="WALLET",
        autocompletion=wallet_names,
        help="Who signs and pays: a wallet's name, a keystore file, or the folder of a key. Default: a local network's "
        "own requester; elsewhere the wallet in use.",
    ),
]
WorkerFolderOption = Annotated[
    Path, typer.Option("--dir", metavar="D", help="The worker's own folder: key, policy.toml, database, cache.")
]
PoolFolderOption = Annotated[
    Path,
    typer.Option(
        "--dir", envvar="FAIRGRID_POOL_DIR", metavar="D", help="The pool's folder: owner's key, pool.toml, database."
    ),
]
PoolDatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar="FAIRGRID_POOL_DATABASE",
        help="Where the pool's state lies: postgresql://USER@HOST/NAME, or a path for SQLite. Default: DIR/pool.db.",
    ),
]
PasswordFileOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File with the keystore's password; asked for without it.")
]


def read_address(text: str) -> str:
    """The address that a user wrote, with its checksum.

    Raises:
        UsageError: it is none.
    """
    from fairgrid.protocol.hexes import checksum

    try:
        return checksum(text)
    except OrderError as error:
        # What is wrong with a whole address is its checksum; anything else is none.
        wrong = str(error) if "checksum" in str(error) else "write 0x and 40 hexadecimal digits."
        raise UsageError(f"{text!r} is no address: {wrong}") from error


def kept_network(network: Path) -> str:
    """What a file may keep to find the network again from anywhere: its name as it is, a path made absolute."""
    from fairgrid.chain.network import LOCAL

    text = str(network)
    named = text == LOCAL or (is_name(text) and text in read_config().networks)
    return text if named else str(network.expanduser().absolute())


def signer_of(place: NetworkPlace, wallet: str | Path | None, password_file: Path | None = None) -> KeySigner:
    """The key that ``--wallet`` names, or that signs on this network if it names none.

    Raises:
        UsageError: there is none, or its password is wrong, or nobody can be asked for it.
    """
    from fairgrid.localnet.paths import own_key_folder
    from fairgrid.wallet.accounts import open_account

    def ask(whose: str) -> str:
        if not sys.stdin.isatty():
            raise UsageError(f"The password of {whose} is asked for in a terminal. Elsewhere give --password-file.")
        return read_password(None, question=f"Password of {whose}")

    return open_account(wallet, own=own_key_folder(place), ask=ask, password_file=password_file)


def read_password(file: Path | None, *, question: str = "Password of the keystore") -> str:
    """The password in ``file``; without one the user is asked.

    Raises:
        UsageError: the file cannot be read.
    """
    if file is None:
        return str(typer.prompt(question, hide_input=True, err=True))
    from fairgrid.wallet.wallets import password_in

    return password_in(file)
