"""`fairgrid group`: a team on chain (ERC-734), that orders and private pools can name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.output import console, emit_json, run_async
from fairgrid.cli.shared_options import JsonOption, NetworkOption
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.wallet.signer import Signer

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A group of accounts for a private pool.")

_PAGE = 256

_Key = Annotated[Path, typer.Option("--key-folder", help="Folder of the group's owner's key, such as the pool's.")]
_Group = Annotated[str, typer.Argument(metavar="GROUP", help="The group's address.")]
_Accounts = Annotated[list[str], typer.Argument(metavar="ACCOUNT...", help="Accounts of people, or owners of workers.")]


@app.callback()
def _group() -> None:
    """Make a group of accounts on chain, and change it. Its owner alone can; everybody can read it."""


@app.command("create")
def create_group(
    name: Annotated[str, typer.Argument(help="What it is called, up to 64 bytes. Names are not unique.")],
    network: NetworkOption,
    key_folder: _Key,
    as_json: JsonOption = False,
) -> None:
    """Make a group that this key owns; prints its address, which is what orders and pools name."""
    if not 0 < len(name.encode()) <= 64:
        raise UsageError("A group's name has 1 to 64 bytes.")

    async def make(chain: JsonRpcChain, signer: Signer) -> str:
        from fairgrid.chain import calls
        from fairgrid.chain.deploy import plan_contracts
        from fairgrid.errors import ContractReverted
        from fairgrid.protocol.hexes import ZERO_ADDRESS

        groups = plan_contracts(ZERO_ADDRESS)["groups"].address
        try:
            group = str(await chain.read("groups", groups, "nextAddressOf", signer.address, name))
        except (ContractReverted, UsageError) as error:
            raise UsageError(
                f"There is no registry of groups at {groups} on this chain. `fairgrid contracts deploy` makes it."
            ) from error
        await chain.transact(calls.create_group(groups, name), signer)
        return group

    group = _on_chain(network, key_folder, make)
    if as_json:
        emit_json({"status": "ok", "group": group, "name": name})
    else:
        console().print(f"Group {group} ({name})", markup=False)


@app.command("add")
def add_members(
    group: _Group, accounts: _Accounts, network: NetworkOption, key_folder: _Key, as_json: JsonOption = False
) -> None:
    """Let accounts in; who is in already stays in."""
    _change(group, accounts, network, key_folder, "add_members", as_json=as_json)


@app.command("remove")
def remove_members(
    group: _Group, accounts: _Accounts, network: NetworkOption, key_folder: _Key, as_json: JsonOption = False
) -> None:
    """Put accounts out: they are in no later deal, and stay in those that were made."""
    _change(group, accounts, network, key_folder, "remove_members", as_json=as_json)


@app.command("show")
def show_group(group: _Group, network: NetworkOption, as_json: JsonOption = False) -> None:
    """Show a group's name, owner and members."""
    _tell(_on_chain(network, None, lambda chain, _: _read(chain, group)), as_json=as_json)


def _change(group: str, accounts: list[str], network: Path, key_folder: Path, builder: str, *, as_json: bool) -> None:
    from fairgrid.chain import calls
    from fairgrid.protocol.hexes import checksum

    wanted = [checksum(account) for account in accounts]

    async def change(chain: JsonRpcChain, signer: Signer) -> dict[str, Any]:
        known = await _read(chain, group)
        if known["owner"] != signer.address:
            raise UsageError(f"The group {group} belongs to {known['owner']}, not to {signer.address}.")
        for start in range(0, len(wanted), _PAGE):
            await chain.transact(getattr(calls, builder)(known["group"], wanted[start : start + _PAGE]), signer)
        return await _read(chain, group)

    _tell(_on_chain(network, key_folder, change), as_json=as_json)


async def _read(chain: JsonRpcChain, group: str) -> dict[str, Any]:
    from fairgrid.errors import ContractReverted
    from fairgrid.protocol.hexes import checksum

    address = checksum(group)
    try:
        name, owner = await chain.read("group", address, "name"), await chain.read("group", address, "owner")
        count = int(await chain.read("group", address, "memberCount"))
        members: list[str] = []
        while len(members) < count and (page := await chain.read("group", address, "members", len(members))):
            members += page
    except (ContractReverted, UsageError) as error:
        raise UsageError(f"There is no group at {address} on this chain ({error}).") from error
    return {"group": address, "name": name, "owner": owner, "members": members}


def _on_chain(network: Path, key_folder: Path | None, work: Callable[[Any, Any], Coroutine[Any, Any, Any]]) -> Any:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.network import load_network
    from fairgrid.wallet.keystore import KEYSTORE_NAME, open_or_create_key

    where = load_network(network)
    if key_folder is not None and not (key_folder / KEYSTORE_NAME).exists():
        raise UsageError(f"There is no key in {key_folder}. Name the folder of the group's owner.")
    signer = None if key_folder is None else open_or_create_key(key_folder)

    async def main() -> Any:
        async with await JsonRpcChain.connect(where) as chain:
            return await work(chain, signer)

    return run_async(main)


def _tell(group: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json({"status": "ok", **group})
        return
    screen = console()
    screen.print(f"Group {group['group']} ({group['name']}), owner {group['owner']}", style="bold", markup=False)
    for member in group["members"]:
        screen.print(f"  {member}", markup=False)
