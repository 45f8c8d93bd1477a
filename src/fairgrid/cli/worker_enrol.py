"""`fairgrid worker enrol`: where the owner's key lies, give a worker a role account and the owner's word."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.money_desk import Act, MoneyDesk, Plan, money_command
from fairgrid.cli.shared_options import read_address
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.interface import Call, Receipt
    from fairgrid.wallet.signer import Signer

__all__ = ["add_enrol"]

_WORKER_ROLE = 1
_LOCAL_CHAIN_ID = 31337


def add_enrol(group: typer.Typer) -> None:
    """Put `enrol` into the group of workers."""
    money_command(group, "enrol", spends=True, for_roles=False)(enrol_worker)


def enrol_worker(
    desk: MoneyDesk,
    operator: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="The worker's own key, which `fairgrid worker init` shows."),
    ],
    account: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A role account of the owner that exists already.")
    ] = None,
    create: Annotated[
        bool,
        typer.Option("--create", help="Create the role account if need be; the owner's key pays the gas."),
    ] = False,
    factory: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="The factory of role accounts (`roleAccounts` of the deployment).",
        ),
    ] = None,
    workerpool: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Another workerpool than the network file's.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write; copy it into the worker's folder.")] = Path(
        "owner.json"
    ),
) -> None:
    """Let a worker work in your name while your key stays here: its stakes and earnings are yours.

    Writes owner.json, which holds your signature and no secret. The worker's key can only work; it pays the gas, so
    it needs coins. Deposit stakes for the role account that is shown. Example:

    fairgrid worker enrol --operator 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --network test --wallet cold.json
    --create
    """
    where, hot = desk.place.network, read_address(operator)
    pool = read_address(workerpool) if workerpool is not None else where.pool_address
    given = read_address(account) if account is not None else None
    maker = read_address(factory) if factory is not None else None

    async def plan(chain: JsonRpcChain) -> Plan:
        there, call = await _account(chain, desk.address, hot, account=given, factory=maker)
        if call is not None and not create:
            raise UsageError(
                f"The role account {there} of {desk.address} and {hot} does not exist yet. Nothing was signed. Add "
                f"--create, which costs the gas of one transaction."
            )
        acts = [] if call is None else [Act(f"Create the role account {there}: you own it, {hot} works for it.", call)]
        acts.append(
            Act(
                f"Sign that {there} works for you on the pool {pool}, and write that to {out}: its stakes and earnings "
                f"are yours, and it is one of your workers to the pool."
            )
        )

        async def then(chain: JsonRpcChain, signer: Signer, receipts: list[Receipt]) -> dict[str, Any]:
            from fairgrid.worker.onchain.ownership import save_ownership, sign_ownership

            await _check_account(chain, there, desk.address, hot)
            ownership = sign_ownership(signer, there, pool, chain_id=where.chain_id, hub=where.hub)
            save_ownership(ownership, out)
            return {"created": call is not None}

        facts = {"owner": desk.address, "roleAccount": there, "operator": hot, "workerpool": pool, "file": str(out)}
        return Plan(acts, {**facts, "created": False}, then, _told)

    desk.carry_out(plan)


def _told(facts: Mapping[str, Any]) -> str:
    return (
        f"{'Created' if facts['created'] else 'Role account'} {facts['roleAccount']}\n"
        f"Wrote {facts['file']}. Copy it into the worker's folder, then start the worker.\n"
        f"Deposit stakes for it: `fairgrid account deposit AMOUNT --to {facts['roleAccount']}`; send coins for gas to "
        f"{facts['operator']}."
    )


async def _account(
    chain: JsonRpcChain, owner: str, operator: str, *, account: str | None, factory: str | None
) -> tuple[str, Call | None]:
    """The role account's address, and the call that creates it if it is not there."""
    from fairgrid.chain.interface import Call
    from fairgrid.protocol.hexes import ZERO32

    if account is None:
        maker = factory or _local_factory(chain.chain_id)
        terms = (owner, operator, _WORKER_ROLE, ZERO32)
        account = str(await chain.read("role_accounts", maker, "addressOf", *terms))
        if await chain.view_role_account(account) is None:
            return account, Call("role_accounts", maker, "create", terms)
    await _check_account(chain, account, owner, operator)
    return account, None


async def _check_account(chain: JsonRpcChain, account: str, owner: str, operator: str) -> None:
    found = await chain.view_role_account(account)
    if found is None:
        raise UsageError(f"There is no role account at {account}.")
    if found.owner != owner:
        raise UsageError(f"The role account {account} belongs to {found.owner}, not to {owner}.")
    if found.operator != operator or not found.may_work:
        raise UsageError(
            f"The role account {account} has operator {found.operator} with roles {found.roles}. Call "
            f"setOperator({operator}, 1) on it first, or leave --account out."
        )
    if await chain.read("role_account", account, "hub") != chain.hub:
        raise UsageError(f"The role account {account} is of another hub than {chain.hub}.")


def _local_factory(chain_id: int) -> str:
    from fairgrid.chain.deploy import plan_contracts
    from fairgrid.wallet.keys import dev_signer

    if chain_id != _LOCAL_CHAIN_ID:
        raise UsageError(
            "Which contract makes role accounts on this chain? Give its address with --factory; "
            "`fairgrid contracts deploy --json` calls it roleAccounts."
        )
    return plan_contracts(dev_signer(0).address)["role_accounts"].address
