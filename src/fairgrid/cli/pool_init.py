"""`fairgrid pool init`: the folder of a new pool: its key, and a commented pool.toml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.money_desk import MoneyDesk
from fairgrid.cli.output import console, emit_json
from fairgrid.cli.pool import pool_app
from fairgrid.cli.shared_options import (
    DryRunOption,
    JsonOption,
    NetworkOption,
    PasswordFileOption,
    YesOption,
    read_password,
)
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.network import Network
    from fairgrid.wallet.signer import Signer

__all__ = ["pool_app"]

_SENTENCE = "Register the workerpool {!r}, owned by {}; it costs gas, and cannot be undone."


@pool_app.command("init")
def init_pool(
    directory: Annotated[
        Path, typer.Option("--dir", envvar="FAIRGRID_POOL_DIR", help="Folder to make, or to complete.")
    ],
    network: NetworkOption,
    price: Annotated[
        str | None,
        typer.Option(
            "--price", metavar="AMOUNT", help="Offer tasks at this price, e.g. '0.1 RLC'. Default: no offer yet."
        ),
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
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a pool's folder: its key, and pool.toml with every setting explained. Safe to run again.

    A key or file that is there is never replaced. Only --register signs something; it is said, and asked, before.
    Example: `fairgrid pool init --dir pool --network net.json --price "0.1 RLC" --register "My pool"`, then `fairgrid
    pool start --dir pool`.
    """
    from fairgrid.chain.network import load_network, save_network
    from fairgrid.pool.processes.pool_file import POOL_FILE, load_pool_file, pool_toml
    from fairgrid.protocol.amounts import parse_rlc

    where = load_network(network)
    price_nrlc = None if price is None else parse_rlc(price, "--price")
    desk = MoneyDesk(network=network, wallet=str(directory), yes=yes, dry_run=dry_run, as_json=as_json)
    file = directory / POOL_FILE
    there = file.exists()
    if there:
        load_pool_file(file)
    if dry_run:
        _foretell(desk, directory, register, there=there)
        return
    signer = _key(directory, keystore, password_file)
    found = network.resolve()
    if not network.exists():
        found = (directory / "network.json").resolve()
        save_network(where, found)
    if register:
        found = _registered(desk, where, signer, register, directory)
    start: dict[str, Any] = {"network": os.path.relpath(found, directory.resolve()), "host": host, "port": port}
    if database:
        start["database"] = database
    offer: dict[str, Any] = {} if price_nrlc is None else {"price_nrlc": price_nrlc, "category": category}
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


def _foretell(desk: MoneyDesk, directory: Path, register: str, *, there: bool) -> None:
    """What a run without ``--dry-run`` would do."""
    from fairgrid.wallet.keystore import KEYSTORE_NAME

    key = "the key" if (directory / KEYSTORE_NAME).exists() else "a key, which is put"
    signs = [f"{'Keep' if there else 'Write'} pool.toml, and keep {key} in {directory}. That signs nothing."]
    if register:
        signs.append(_SENTENCE.format(register, "that key"))
    if desk.as_json:
        emit_json({"status": "dry-run", "network": desk.place.name, "dir": str(directory), "signs": signs})
        return
    for sentence in signs:
        desk.screen.print(sentence, markup=False, soft_wrap=True)
    desk.screen.print("Nothing was signed (--dry-run).", markup=False)


def _registered(desk: MoneyDesk, where: Network, signer: Signer, description: str, directory: Path) -> Path:
    """A network file in the folder that names the key's own workerpool, registered if need be."""
    from dataclasses import replace

    from fairgrid.chain import calls
    from fairgrid.chain.decode import created_address
    from fairgrid.chain.network import save_network

    arguments = (signer.address, description)

    async def look(chain: JsonRpcChain) -> tuple[str, bool]:
        registry = await chain.registry("workerpool")
        address = str(await chain.read("workerpool_registry", registry, "predictWorkerpool", *arguments))
        return address, await chain.is_registered("workerpool", address)

    async def register(chain: JsonRpcChain) -> str:
        registry = await chain.registry("workerpool")
        receipt = await chain.transact(calls.create_workerpool(registry, *arguments), signer)
        return created_address(receipt, registry)

    address, is_registered = desk.ask(look)
    if not is_registered:
        desk.say([_SENTENCE.format(description, f"{signer.address}, as {address}")])
        desk.agree()
        address = desk.ask(register)
    file = directory / "network.json"
    save_network(replace(where, pool_address=address), file)
    return file.resolve()


def _write_new(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise UsageError(f"{file} cannot be written ({error}).") from error
