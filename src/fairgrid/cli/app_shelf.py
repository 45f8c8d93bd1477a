"""`fairgrid app list` and `unlist`: what an account has published, at what price; and taking it off the market."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fairgrid.cli.money_desk import Act, MoneyDesk, Plan, money_command
from fairgrid.cli.order_io import market_of
from fairgrid.cli.order_tables import entry_document
from fairgrid.cli.output import rlc
from fairgrid.cli.shared_options import read_address
from fairgrid.client.order_book import open_orders_of, price_of
from fairgrid.client.order_desk import identity_of
from fairgrid.errors import ServiceRefused, UsageError

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.interface import Receipt
    from fairgrid.market.client import PublishedOrder
    from fairgrid.protocol.orders import AppOrder
    from fairgrid.wallet.signer import Signer

__all__ = ["add_shelf"]

_CLOSED = "Each is closed on chain, where no copy of it counts any more."


def add_shelf(group: typer.Typer) -> None:
    """Put `list` and `unlist` into the group of apps."""
    money_command(group, "list")(list_apps)
    money_command(group, "unlist", spends=True)(unlist_app)


def list_apps(
    desk: MoneyDesk,
    of: Annotated[
        str | None, typer.Option("--of", metavar="ADDRESS", help="Anybody's; no key is needed for it. Default: yours.")
    ] = None,
    from_block: Annotated[
        int | None,
        typer.Option(
            "--from-block",
            min=0,
            metavar="N",
            help="Look for apps that became the account's from this block on. Default: on a local chain all, elsewhere "
            "those that are for sale.",
        ),
    ] = None,
) -> None:
    """List the apps of an account, with their prices and open orders. Example: `fairgrid app list`."""
    owner = read_address(of) if of is not None else desk.address
    since = 0 if from_block is None and desk.has_play_money else from_block
    rows = desk.ask(lambda chain: _rows(desk, chain, owner, since))

    def people() -> None:
        table = Table("app", "name", "type", "price", "left", "orders", box=None, pad_edge=False)
        for row in rows:
            prices = sorted({order["priceNrlc"] for order in row["orders"]})
            table.add_row(
                row["address"],
                row["name"].replace("[", r"\["),
                row["type"].replace("[", r"\["),
                ", ".join(rlc(price) for price in prices) or "not for sale",
                str(sum(order["remaining"] for order in row["orders"])),
                " ".join(order["orderHash"][:12] for order in row["orders"]),
            )
        desk.screen.print(
            table if rows else f"{owner} has no app here that is for sale; --from-block looks for others."
        )

    desk.show({"account": owner, "apps": rows}, people)


def unlist_app(
    desk: MoneyDesk,
    app: Annotated[str, typer.Argument(metavar="ADDRESS", help="The app's address.")],
    market_only: Annotated[
        bool,
        typer.Option("--market-only", help="Only take its orders off the market, without gas: copies stay good."),
    ] = False,
) -> None:
    """Sell an app no more: cancel its open orders, on chain and on the market. Its entry on chain stays.

    Deals that were made of them go on. `fairgrid app publish` offers it again. Example: `fairgrid app unlist
    0x8dF2aCE5b0D9a7Cd4a0A1cD6D1b0d4e2F3a4b5C6 --dry-run`.
    """
    address = read_address(app)

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.chain import calls

        if not await chain.is_registered("app", address):
            raise UsageError(f"There is no app {address} in the registry of this network. Nothing was signed.")
        owner = (await chain.view_app(address)).owner
        if owner != desk.address:
            raise UsageError(
                f"The app {address} belongs to {owner}, not to {desk.address}. Nothing was signed. Name the owner's "
                f"account with --wallet."
            )
        entries = [entry for entry in await _for_sale(desk, chain, owner) if entry.order.app == address]
        facts = {"address": address, "orders": [entry.order_hash for entry in entries], "onChain": not market_only}
        if not entries:
            return Plan([], facts, done=lambda _: f"The app {address} is not for sale on this market.")
        acts = []
        for entry in entries:
            terms = f"the order {entry.order_hash}, {entry.remaining} run(s) at {rlc(price_of(entry.order))} each"
            call = None if market_only else calls.manage_order(chain.hub, entry.order, calls.CLOSE)
            acts.append(Act(f"Cancel {terms}." if call is not None else f"Take off the market {terms}.", call))
        copies = "Whoever has a copy can still use it: only a cancellation on chain ends that."
        acts.append(Act(copies if market_only else _CLOSED))

        async def then(chain: JsonRpcChain, signer: Signer, receipts: list[Receipt]) -> dict[str, Any]:
            async with market_of(desk) as market:
                for entry in entries:
                    try:
                        await market.unpublish("app", entry.order_hash, signer)
                    except ServiceRefused:
                        continue  # The market saw the cancellation first.
            return {}

        return Plan(acts, facts, then, lambda _: f"The app {address} is for sale no more.")

    desk.carry_out(plan)


async def _rows(desk: MoneyDesk, chain: JsonRpcChain, owner: str, since: int | None) -> list[dict[str, Any]]:
    from fairgrid.protocol.terminal import sanitise_terminal

    entries = await _for_sale(desk, chain, owner)
    became = await chain.entries_of("app", owner, from_block=since) if since is not None else ()
    addresses = list(dict.fromkeys([*became, *(entry.order.app for entry in entries)]))
    infos = await asyncio.gather(*(chain.view_app(address) for address in addresses))
    return [
        {
            "address": address,
            "name": sanitise_terminal(info.name),
            "type": sanitise_terminal(info.type),
            "orders": [entry_document(entry) for entry in entries if entry.order.app == address],
        }
        for address, info in zip(addresses, infos, strict=True)
        if info.owner == owner  # It may have been given away since.
    ]


async def _for_sale(desk: MoneyDesk, chain: JsonRpcChain, owner: str) -> list[PublishedOrder[AppOrder]]:
    """The open orders of an owner; the market is not believed what their hashes are."""
    async with market_of(desk) as market:
        found = await open_orders_of(market, "app", owner)
    return [entry for entry in found if entry.order_hash == identity_of(chain, entry.order)]
