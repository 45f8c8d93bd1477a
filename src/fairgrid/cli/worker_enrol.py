"""`fairgrid worker enrol`: where the owner's key lies, give a worker a role account and the owner's word."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fairgrid.cli.output import console, emit_json, run_async
from fairgrid.cli.shared_options import JsonOption, NetworkOption, PasswordFileOption, read_address, read_password
from fairgrid.errors import UsageError

__all__ = ["enrol_worker"]

_WORKER_ROLE = 1
_LOCAL_CHAIN_ID = 31337


def enrol_worker(
    operator: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="The worker's own key, which `fairgrid worker init` shows."),
    ],
    network: NetworkOption,
    keystore: Annotated[Path, typer.Option(metavar="FILE", help="Keystore (V3, JSON) of the owner.")],
    password_file: PasswordFileOption = None,
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
    as_json: JsonOption = False,
) -> None:
    """Let a worker work in your name while your key stays here: its stakes and earnings are yours.

    Writes owner.json, which holds your signature and no secret. The worker's key can only work; it pays the gas, so
    it needs coins. Deposit stakes for the role account that is shown.
    """
    from fairgrid.chain.network import load_network
    from fairgrid.wallet.keystore import load_keystore
    from fairgrid.worker.onchain.ownership import save_ownership, sign_ownership

    where = load_network(network)
    hot = read_address(operator)
    pool = read_address(workerpool) if workerpool is not None else where.pool_address
    signer = load_keystore(keystore, read_password(password_file, question="Password of the owner's keystore"))
    there, created = run_async(
        lambda: _account(
            where,
            signer,
            hot,
            account=read_address(account) if account else None,
            factory=read_address(factory) if factory else None,
            create=create,
        )
    )
    ownership = sign_ownership(signer, there, pool, chain_id=where.chain_id, hub=where.hub)
    save_ownership(ownership, out)
    if as_json:
        document = {"owner": signer.address, "account": there, "operator": hot, "workerpool": pool, "file": str(out)}
        emit_json({"status": "ok", **document, "created": created})
        return
    screen = console()
    screen.print(f"{'Created' if created else 'Role account'} {there}", style="bold", markup=False)
    screen.print(f"Wrote {out}. Copy it into the worker's folder, then start the worker.", markup=False)
    screen.print(f"Deposit stakes for {there} in the hub; send coins for gas to {hot}.", markup=False)


async def _account(
    where: Any, signer: Any, operator: str, *, account: str | None, factory: str | None, create: bool
) -> tuple[str, bool]:
    """The role account's address, and whether it was created now."""
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.interface import Call
    from fairgrid.protocol.hexes import ZERO32

    async with await JsonRpcChain.connect(where) as chain:
        created = False
        if account is None:
            maker = factory or _local_factory(where.chain_id)
            terms = (signer.address, operator, _WORKER_ROLE, ZERO32)
            account = str(await chain.read("role_accounts", maker, "addressOf", *terms))
            if await chain.view_role_account(account) is None:
                if not create:
                    raise UsageError(
                        f"The role account {account} of {signer.address} and {operator} does not exist yet. "
                        f"Add --create, which costs the gas of one transaction."
                    )
                await chain.transact(Call("role_accounts", maker, "create", terms), signer)
                created = True
        found = await chain.view_role_account(account)
        if found is None:
            raise UsageError(f"There is no role account at {account}.")
        if found.owner != signer.address:
            raise UsageError(f"The role account {account} belongs to {found.owner}, not to {signer.address}.")
        if found.operator != operator or not found.may_work:
            raise UsageError(
                f"The role account {account} has operator {found.operator} with roles {found.roles}. Call "
                f"setOperator({operator}, 1) on it first, or leave --account out."
            )
        if await chain.read("role_account", account, "hub") != where.hub:
            raise UsageError(f"The role account {account} is of another hub than {where.hub}.")
        return account, created


def _local_factory(chain_id: int) -> str:
    from fairgrid.chain.deploy import plan_contracts
    from fairgrid.wallet.keys import dev_signer

    if chain_id != _LOCAL_CHAIN_ID:
        raise UsageError(
            "Which contract makes role accounts on this chain? Give its address with --factory; "
            "`fairgrid contracts deploy --json` calls it roleAccounts."
        )
    return plan_contracts(dev_signer(0).address)["role_accounts"].address
