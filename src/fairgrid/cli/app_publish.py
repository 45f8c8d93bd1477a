"""`fairgrid app publish`: upload, registration, listing and order of an app in one go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.network import Network
from fairgrid.cli.money_desk import MoneyDesk, money_command
from fairgrid.cli.output import emit_json, rlc, run_async
from fairgrid.client.apps.building import build_program, is_built
from fairgrid.client.apps.project import AppProject, find_project, read_project
from fairgrid.client.apps.publishing import Publication, Shop, plan_publication, publish
from fairgrid.errors import UsageError
from fairgrid.market.client import MarketClient
from fairgrid.protocol.amounts import parse_rlc
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.signer import Signer

__all__ = ["add_publish"]


def add_publish(group: typer.Typer) -> None:
    """Put `publish` into the group of apps."""
    money_command(group, "publish", spends=True, for_roles=False)(publish_app)


def publish_app(
    desk: MoneyDesk,
    folder: Annotated[Path | None, typer.Argument(help="The project's folder. Default: here.")] = None,
    price: Annotated[
        str | None, typer.Option("--price", help="For one task, with its unit: '0.5 RLC'. Default: the project's.")
    ] = None,
    volume: Annotated[
        int | None, typer.Option("--volume", min=1, help="Tasks that the listing sells. Default: the project's.")
    ] = None,
) -> None:
    """Put an app on the network: upload its files, register it on chain, and offer it for sale.

    For the project of an app (`fairgrid app init`) that others run with `fairgrid run --app`; `fairgrid app register`
    only makes an entry on chain, for content that is elsewhere or that other programs than this run.

    It may be run again at any time: what is done is found by its content and not done twice, and a new price replaces
    the old listing. A changed program is a new app with a new address. Example:

    fairgrid app publish --price "0.001 RLC" --volume 1000
    """
    project = _project(folder)
    terms = replace(
        project.sale,
        price=parse_rlc(price, "--price") if price is not None else project.sale.price,
        volume=volume or project.sale.volume,
    )
    screen = desk.screen
    if not is_built(project):
        build_program(project, lambda text: screen.print(text, markup=False))
    network, owner = desk.place.network, desk.signer

    async def main() -> tuple[Publication, str]:
        async with _shop(network, owner) as shop:
            plan = await plan_publication(shop, project, price=terms.price, volume=terms.volume)
            desk.say(_sentences(plan, network, shop.owner.address), plan.gas)
            if desk.dry_run or plan.is_done:
                return plan, ""
            desk.agree()
            return plan, await publish(shop, plan, lambda text: screen.print(text, markup=False))

    plan, listing = run_async(main)
    if desk.as_json:
        emit_json(_row(plan, network, listing, dry_run=desk.dry_run))
        return
    if desk.dry_run:
        screen.print("Nothing was signed (--dry-run).", markup=False)
    else:
        screen.print(f"{plan.document.name} is at {plan.address}.", markup=False)
        screen.print(f"Anybody runs it with `fairgrid run --app {plan.address}`.", markup=False)


def _project(folder: Path | None) -> AppProject:
    found = find_project(folder)
    if found is None:
        raise UsageError(f"{folder} is no project's folder. `fairgrid app init NAME` makes one.")
    return read_project(found)


@asynccontextmanager
async def _shop(network: Network, owner: Signer) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        chain = await stack.enter_async_context(await JsonRpcChain.connect(network))
        market = await stack.enter_async_context(MarketClient(network.market, network.chain_id, hub=network.hub))
        storage = await stack.enter_async_context(StorageClient(network.storage))
        yield Shop(chain, market, storage, owner)


def _sentences(plan: Publication, network: Network, owner: str) -> list[str]:
    """What each step does, and what each signature means, for people."""
    size = sum(reference.size for reference in plan.missing)
    steps = [
        f"Storage has the program and its {len(plan.document.inputs)} file(s)."
        if not plan.missing
        else f"Upload {len(plan.missing)} file(s), {size} bytes, to {network.storage}. Anybody who knows the CIDs can "
        f"read them.",
        f"The app is registered at {plan.address}."
        if plan.is_registered
        else f"Signature: a transaction that registers {plan.document.name!r} on chain {network.chain_id} for {owner}, "
        f"at {plan.address}. It names exactly this program, costs gas, and cannot be undone.",
    ]
    if plan.document.reach:
        steps.append(
            f"Every run of it connects to {', '.join(plan.document.reach)}, and nowhere else: only workers whose "
            f"owners allow that take it, and buyers are told."
        )
    steps += [
        f"Signature: a transaction that closes your listing at {rlc(old.appprice)}, so nobody buys at it any more."
        for old in plan.outdated
    ]
    offer = f"{plan.order.volume} tasks at {rlc(plan.order.appprice)} each"
    steps.append(
        f"It is for sale: {offer}."
        if plan.is_listed
        else f"Signature: an order that offers {offer} to anybody. It costs no gas; a buyer pays you when a task is "
        f"done."
    )
    return steps


def _row(plan: Publication, network: Network, listing: str, *, dry_run: bool) -> dict[str, Any]:
    return {
        "status": "dry-run" if dry_run else "ok",
        "name": plan.document.name,
        "app": plan.address,
        "chainId": network.chain_id,
        "runtime": plan.document.runtime,
        "documentCid": plan.document.cid(),
        "checksum": plan.document.checksum(),
        "programCid": plan.document.program.cid,
        "reach": list(plan.document.reach),
        "price": plan.order.appprice,
        "volume": plan.order.volume,
        "orderHash": listing,
        "gas": plan.gas,
        "wasThere": {
            "files": not plan.missing and plan.has_document,
            "registered": plan.is_registered,
            "listed": plan.is_listed,
        },
        "closed": len(plan.outdated),
        "run": f"fairgrid run --app {plan.address}",
    }
