"""`fairgrid contracts deploy` and `verify`: token, registries, hub and what stands around it, on any EVM chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairgrid.cli.money_desk import MoneyDesk
from fairgrid.cli.output import console, emit_json, run_async
from fairgrid.cli.shared_options import DryRunOption, JsonOption, PasswordFileOption, YesOption, read_password
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.chain.deploy import Deployment, PlannedDeployment
    from fairgrid.chain.verify import Verification
    from fairgrid.wallet.signer import Signer

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Deploy the contracts to a chain, and verify them there."
)

_PRIVATE_KEY_BYTES = 32
_WEI_PER_COIN = 10**18


@app.callback()
def _contracts() -> None:
    """Deploy the contracts to a chain, and verify them there."""


@app.command("deploy")
def deploy_contracts(
    rpc: Annotated[str, typer.Option(metavar="URL", help="JSON-RPC endpoint of a node of the chain.")],
    key: Annotated[
        str | None,
        typer.Option(
            metavar="HEX",
            envvar="FAIRGRID_KEY",
            show_envvar=True,
            help="Private key of the owner, who pays the gas. Others on this machine can see command lines: prefer the "
            "environment variable or --keystore.",
        ),
    ] = None,
    keystore: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keystore (V3, JSON) of the owner, in place of --key.")
    ] = None,
    password_file: PasswordFileOption = None,
    rlc: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Use this RLC token; without it a test token is deployed.")
    ] = None,
    native: Annotated[
        bool,
        typer.Option("--native", help="Escrow the chain's own coin (1 nRLC is 10^9 wei); then there is no token."),
    ] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Deploy token, registries and hub, and leave them ready: names, five categories, owner, base URIs.

    The same key gets the same addresses on every chain. Run it again at any time: what is there stays, what is missing
    is added. The owner owns hub and registries and, unless --rlc names a token, the whole supply of the test token.

    Without a key it deploys to a local chain (31337) only, for the first of its well-known test accounts; there nothing
    is asked. Example:

    fairgrid contracts deploy --rpc https://node.example.org --keystore owner.json --dry-run
    """
    from fairgrid.chain.deploy import LOCAL_CHAIN_ID, deploy, plan_deployment

    signer = _signer(key, keystore, password_file)
    people = console()
    planned = run_async(lambda: plan_deployment(rpc, signer, rlc=rlc, native=native))
    desk = MoneyDesk(yes=yes, dry_run=dry_run, as_json=as_json)
    signs = _sentences(planned)
    for sentence in signs if planned.missing or dry_run else ():
        people.print(sentence, markup=False, soft_wrap=True)
    if dry_run:
        if as_json:
            emit_json({"status": "dry-run", "signs": signs, **planned.to_json()})
        else:
            people.print("Nothing was signed (--dry-run).", markup=False)
        return
    if planned.missing and planned.chain_id != LOCAL_CHAIN_ID:
        desk.agree()

    def tell(line: str) -> None:
        people.print(line, markup=False)

    deployment = run_async(lambda: deploy(rpc, signer, rlc=rlc, native=native, progress=tell))
    if as_json:
        emit_json(deployment.to_json())
    else:
        _show(deployment)


@app.command("verify")
def verify_contracts(
    rpc: Annotated[
        str, typer.Option(metavar="URL", help="JSON-RPC endpoint of a node of the chain; what it says is believed.")
    ],
    hub: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The hub; without it, where this package deploys the owner's.")
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Who should own hub and registries; on a local chain the first well-known test account by default.",
        ),
    ] = None,
    first_owner: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Whom it was deployed for, if that is not the owner any more.")
    ] = None,
    rlc: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The RLC token that it was deployed with; needed only without --hub."),
    ] = None,
    native: Annotated[
        bool,
        typer.Option("--native", help="It escrows the chain's own coin and no token; needed only without --hub."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a live deployment against this package: code, owners, categories, domain, registries, token.

    Code must be what this package's creation code leaves at that address; the node works that out in a call that
    changes nothing. Nothing is signed or sent.

    Exit code 0 if every check holds, 5 if one does not, 4 if no node answers.

    Example: `fairgrid contracts verify --rpc https://node.example.org --hub
    0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf`.
    """
    from fairgrid.chain.verify import verify

    found = run_async(lambda: verify(rpc, hub=hub, owner=owner, first_owner=first_owner, rlc=rlc, native=native))
    if as_json:
        emit_json(found.to_json())
    else:
        _show_checks(found)
    if not found.ok:
        raise typer.Exit(found.exit_code)


def _sentences(planned: PlannedDeployment) -> list[str]:
    if not planned.missing:
        return [f"All contracts of {planned.owner} are on chain {planned.chain_id}; what is not set there yet is set."]
    creates = (
        f"{planned.owner} creates {len(planned.missing)} contract(s) on chain {planned.chain_id}, sets their names and "
        f"registries, and owns them; the hub is {planned.hub}."
    )
    costs = (
        f"Gas: about {planned.gas:,} units for all but the hub and the settings, which cannot be foreseen; it holds "
        f"{planned.balance_wei / _WEI_PER_COIN:.6g} coins."
    )
    return [creates, f"Missing: {', '.join(planned.missing)}.", costs]


def _show_checks(found: Verification) -> None:
    typer.echo(f"Hub {found.hub} on chain {found.chain_id}, owner {found.owner}")
    for check in found.checks:
        typer.echo(f"  {'ok  ' if check.ok else 'FAIL'}  {check.name:<30} {check.detail}")
    failed = sum(not check.ok for check in found.checks)
    total = len(found.checks)
    typer.echo(f"All {total} checks hold." if found.ok else f"{failed} of {total} checks FAILED.")


def _signer(key: str | None, keystore: Path | None, password_file: Path | None) -> Signer | None:
    """The owner's key, from whichever option names it; None for none.

    Raises:
        UsageError: two options name one, or it cannot be used.
    """
    from fairgrid.wallet.keys import KeySigner
    from fairgrid.wallet.keystore import load_keystore

    if keystore is None:
        if password_file is not None:
            raise UsageError("--password-file opens a keystore: name it with --keystore.")
        return None if key is None else KeySigner(_key_bytes(key))
    if key is not None:
        raise UsageError("Both --key and --keystore name an owner. Give one of them.")
    return load_keystore(keystore, read_password(password_file))


def _key_bytes(key: str) -> bytes:
    try:
        private_key = bytes.fromhex(key.strip().removeprefix("0x"))
    except ValueError:
        private_key = b""
    if len(private_key) != _PRIVATE_KEY_BYTES:
        raise UsageError("--key is not a private key: write 64 hexadecimal digits.")
    return private_key


def _show(deployment: Deployment) -> None:
    rows = [
        ("chain", str(deployment.chain_id)),
        ("owner", deployment.owner),
        ("flavour", deployment.flavour),
        ("hub", deployment.hub),
        ("RLC token", deployment.rlc),
        ("app registry", deployment.app_registry),
        ("dataset registry", deployment.dataset_registry),
        ("workerpool registry", deployment.workerpool_registry),
        ("role accounts", deployment.role_accounts),
        ("deposit addresses", deployment.deposit_addresses),
        ("groups", deployment.groups),
        *deployment.facets.items(),
        ("hub code hash", deployment.hub_code_hash),
        ("gas used", f"{sum(deployment.gas_used.values()):,}"),
    ]
    typer.echo("Already deployed; nothing to do." if deployment.already_deployed else "Deployed.")
    for label, value in rows:
        typer.echo(f"  {label:<20} {value}")
