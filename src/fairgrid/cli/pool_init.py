"""`fairgrid pool init`: the folder of a new pool: its key, and a commented pool.toml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.output import console, emit_json, run_async
from fairgrid.cli.pool import pool_app
from fairgrid.cli.shared_options import JsonOption, NetworkOption, PasswordFileOption, read_password
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.chain.network import Network
    from fairgrid.wallet.signer import Signer

__all__ = ["pool_app"]


@pool_app.command("init")
def init_pool(
    directory: Annotated[
        Path, typer.Option("--dir", envvar="FAIRGRID_POOL_DIR", help="Folder to make, or to complete.")
    ],
    network: NetworkOption,
    price: Annotated[
        int | None, typer.Option("--price", min=0, help="Offer tasks at this price, in nRLC. Default: no offer yet.")
    ] = None,
    category: Annotated[int, typer.Option(min=0, help="Category of the offer.")] = 0,
    requester: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Offer to this requester, or group, only: a private pool.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8460,
    database: Annotated[str, typer.Option(help="postgresql://USER@HOST/NAME. Default: SQLite in the folder.")] = "",
    keystore: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take the key of this keystore. Default: make a new one.")
    ] = None,
    password_file: PasswordFileOption = None,
    register: Annotated[
        str, typer.Option(metavar="TEXT", help="Register a workerpool with this description; the key pays the gas.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a pool's folder: its key, and pool.toml with every setting explained. Safe to run again.

    A key or file that is there is never replaced. Example: `fairgrid pool init --dir pool --network net.json --price
    100000000 --register "My pool"`, then `fairgrid pool start --dir pool`.
    """
    from fairgrid.chain.network import load_network, save_network
    from fairgrid.pool.processes.pool_file import POOL_FILE, load_pool_file, pool_toml

    where = load_network(network)
    file = directory / POOL_FILE
    there = file.exists()
    if there:
        load_pool_file(file)
    signer = _key(directory, keystore, password_file)
    found = network.resolve()
    if not network.exists():
        found = (directory / "network.json").resolve()
        save_network(where, found)
    if register:
        found = _registered(where, signer, register, directory)
    start: dict[str, Any] = {"network": os.path.relpath(found, directory.resolve()), "host": host, "port": port}
    if database:
        start["database"] = database
    offer: dict[str, Any] = {} if price is None else {"price_nrlc": price, "category": category}
    if offer and requester:
        offer["requester"] = requester
    if not there:
        _write_new(file, pool_toml(start, offer))
        load_pool_file(file)
    owner = signer.address
    if as_json:
        document = {"dir": str(directory), "file": str(file), "owner": owner, "network": str(found), "new": not there}
        emit_json({"status": "ok", **document})
        return
    screen = console()
    screen.print(f"{'Kept' if there else 'Wrote'} {file}. The pool's key is {owner}.", markup=False)
    screen.print(
        f"Send it coins for gas, and deposit RLC for the stake of its deals. It must own the workerpool of the network "
        f"file. Then: fairgrid pool start --dir {directory}",
        markup=False,
        soft_wrap=True,
    )


def _key(directory: Path, keystore: Path | None, password_file: Path | None) -> Signer:
    from fairgrid.wallet.keystore import adopt_key, load_keystore, open_or_create_key

    if keystore is None:
        return open_or_create_key(directory)
    return adopt_key(load_keystore(keystore, read_password(password_file)), directory)


def _registered(where: Network, signer: Signer, description: str, directory: Path) -> Path:
    """A network file in the folder that names the key's own workerpool, registered if need be."""
    from dataclasses import replace

    from fairgrid.chain import calls
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.decode import created_address
    from fairgrid.chain.network import save_network

    async def register() -> str:
        async with await JsonRpcChain.connect(where) as chain:
            registry = await chain.registry("workerpool")
            arguments = (signer.address, description)
            address = str(await chain.read("workerpool_registry", registry, "predictWorkerpool", *arguments))
            if await chain.is_registered("workerpool", address):
                return address
            receipt = await chain.transact(calls.create_workerpool(registry, *arguments), signer)
            return created_address(receipt, registry)

    file = directory / "network.json"
    save_network(replace(where, pool_address=run_async(register)), file)
    return file.resolve()


def _write_new(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise UsageError(f"{file} cannot be written ({error}).") from error
