"""`fairgrid group`: a team on chain (ERC-734), that orders and private pools can name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.money_desk import Act, MoneyDesk, Plan, money_command
from fairgrid.cli.shared_options import read_address
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.interface import Receipt
    from fairgrid.wallet.signer import Signer

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A group of accounts for a private pool.")

_PAGE = 256

_Group = Annotated[str, typer.Argument(metavar="GROUP", help="The group's address.")]
_Accounts = Annotated[list[str], typer.Argument(metavar="ACCOUNT...", help="Accounts of people, or owners of workers.")]


@app.callback()
def _group() -> None:
    """Make a group of accounts on chain, and change it. Its owner alone can; everybody can read it."""


@money_command(app, "create", spends=True)
def create_group(
    desk: MoneyDesk,
    name: Annotated[str, typer.Argument(help="What it is called, up to 64 bytes. Names are not unique.")],
) -> None:
    """Make a group that this account owns; prints its address, which is what orders and pools name.

    Example: `fairgrid group create "our lab"`.
    """
    if not 0 < len(name.encode()) <= 64:
        raise UsageError("A group's name has 1 to 64 bytes. Nothing was signed.")

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.chain import calls
        from fairgrid.chain.deploy import plan_contracts
        from fairgrid.errors import ContractReverted
        from fairgrid.protocol.hexes import ZERO_ADDRESS

        groups = plan_contracts(ZERO_ADDRESS)["groups"].address
        try:
            group = str(await chain.read("groups", groups, "nextAddressOf", desk.address, name))
        except (ContractReverted, UsageError) as error:
            raise UsageError(
                f"There is no registry of groups at {groups} on this chain. Nothing was signed. `fairgrid contracts "
                f"deploy` makes it."
            ) from error
        act = Act(f"Make the group {name!r}, owned by {desk.address}, as {group}.", calls.create_group(groups, name))
        return Plan([act], {"group": group, "name": name}, done=lambda _: f"Group {group} ({name})")

    desk.carry_out(plan)


@money_command(app, "add", spends=True)
def add_members(desk: MoneyDesk, group: _Group, accounts: _Accounts) -> None:
    """Let accounts in; who is in already stays in.

    Example: `fairgrid group add 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf 0x8dF2aCE5b0D9a7Cd4a0A1cD6D1b0d4e2F3a4b5C6`.
    """
    _change(desk, group, accounts, "add_members", "Let {} account(s) into the group {}, for deals from now on.")


@money_command(app, "remove", spends=True)
def remove_members(desk: MoneyDesk, group: _Group, accounts: _Accounts) -> None:
    """Put accounts out: they are in no later deal, and stay in those that were made.

    Example: `fairgrid group remove 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf
    0x8dF2aCE5b0D9a7Cd4a0A1cD6D1b0d4e2F3a4b5C6`.
    """
    _change(desk, group, accounts, "remove_members", "Put {} account(s) out of the group {}, for deals from now on.")


@money_command(app, "show")
def show_group(desk: MoneyDesk, group: _Group) -> None:
    """Show a group's name, owner and members. Example: `fairgrid group show
    0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf`.
    """
    found = desk.ask(lambda chain: _read(chain, group))
    desk.show(found, lambda: desk.screen.print(_text(found), markup=False))


def _change(desk: MoneyDesk, group: str, accounts: list[str], builder: str, sentence: str) -> None:
    wanted = [read_address(account) for account in accounts]

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.chain import calls

        known = await _read(chain, group)
        if known["owner"] != desk.address:
            raise UsageError(
                f"The group {group} belongs to {known['owner']}, not to {desk.address}. Nothing was signed. Name the "
                f"owner's account with --wallet."
            )
        parts = [wanted[start : start + _PAGE] for start in range(0, len(wanted), _PAGE)]
        make = getattr(calls, builder)
        acts = [Act(sentence.format(len(part), known["group"]), make(known["group"], part)) for part in parts]

        async def then(chain: JsonRpcChain, signer: Signer, receipts: list[Receipt]) -> dict[str, Any]:
            return await _read(chain, group)

        return Plan(acts, known, then, _text)

    desk.carry_out(plan)


async def _read(chain: JsonRpcChain, group: str) -> dict[str, Any]:
    from fairgrid.errors import ContractReverted

    address = read_address(group)
    try:
        name, owner = await chain.read("group", address, "name"), await chain.read("group", address, "owner")
        count = int(await chain.read("group", address, "memberCount"))
        members: list[str] = []
        while len(members) < count and (page := await chain.read("group", address, "members", len(members))):
            members += page
    except (ContractReverted, UsageError) as error:
        raise UsageError(f"There is no group at {address} on this chain ({error}).") from error
    return {"group": address, "name": name, "owner": owner, "members": members}


def _text(group: Mapping[str, Any]) -> str:
    head = f"Group {group['group']} ({group['name']}), owner {group['owner']}"
    return "\n".join([head, *(f"  {member}" for member in group["members"])])
