"""Options that several commands have: one name, one word of help, one place to change them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairgrid.errors import OrderError, UsageError

__all__ = [
    "POOL_FOLDER",
    "WORKER_FOLDER",
    "JsonOption",
    "KeyFolderOption",
    "LocalFolderOption",
    "NetworkOption",
    "PasswordFileOption",
    "PoolDatabaseOption",
    "PoolFolderOption",
    "WorkerFolderOption",
    "read_address",
    "read_password",
]

POOL_FOLDER = Path("pool")
"""Where a pool lives if its operator names no other place."""
WORKER_FOLDER = Path("~/.fairgrid/worker")
"""Where a worker lives if its owner names no other place."""

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; progress stays on stderr.")]
NetworkOption = Annotated[
    Path, typer.Option("--network", metavar="FILE", help="The network file, or a folder with network.json.")
]
LocalFolderOption = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="D",
        help="The network's folder (`fairgrid up --dir`). Default: $FAIRGRID_DIR or ~/.fairgrid/local.",
    ),
]
KeyFolderOption = Annotated[
    Path | None,
    typer.Option(
        "--key-folder",
        metavar="FOLDER",
        help="Folder of the requester's key. Default: the network's own requester.",
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
        raise UsageError(f"{text!r} is no address: {error}") from error


def read_password(file: Path | None, *, question: str = "Password of the keystore") -> str:
    """The password in ``file``; without one the user is asked.

    Raises:
        UsageError: the file cannot be read.
    """
    if file is None:
        return str(typer.prompt(question, hide_input=True, err=True))
    try:
        return file.read_text().rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise UsageError(f"The password file {file} cannot be read ({error}).") from error
