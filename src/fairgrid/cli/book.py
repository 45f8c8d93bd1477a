"""`fairgrid book`: the open orders of a network's market."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fairgrid.cli.money_desk import MoneyDesk, money_command
from fairgrid.cli.order_tables import entry_document, price_of, print_orders
from fairgrid.cli.orders import OrderKind
from fairgrid.cli.output import console, run_async
from fairgrid.cli.shared_options import read_address

__all__ = ["app"]

app = typer.Typer(add_completion=False, help="The open orders of a network's market.")

_Address = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Only orders of this one, or of requests for it.")
]


@money_command(app, "book")
def book(
    desk: MoneyDesk,
    kind: Annotated[
        OrderKind, typer.Argument(metavar="[KIND]", help="app, dataset, workerpool (the default) or request.")
    ] = OrderKind.WORKERPOOL,
    category: Annotated[int | None, typer.Option(min=0, help="Of pools and requests: only this size class.")] = None,
    trust: Annotated[
        int | None, typer.Option(min=1, help="Pools that offer this trust or more; requests that ask for no more.")
    ] = None,
    tag: Annotated[str, typer.Option(metavar="TAG", help="Only with these words (tee,batch) or bits (0x…).")] = "",
    max_price: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Only orders that cost this or less a task, e.g. '0.1 RLC'.")
    ] = None,
    min_volume: Annotated[int | None, typer.Option(min=1, help="Only orders with so many tasks left.")] = None,
    app_: Annotated[
        str | None, typer.Option("--app", metavar="ADDRESS", help="Only orders of, or for, this app.")
    ] = None,
    dataset: _Address = None,
    workerpool: _Address = None,
    restricted: Annotated[bool, typer.Option("--restricted", help="Show orders that only some may use, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many to show.")] = 50,
) -> None:
    """Show the order book: the cheapest first, of requests the best paid. Every hash is checked against its order.

    What a market says is not believed before money depends on it: `fairgrid order show HASH` asks the chain.

    Example: `fairgrid book workerpool --category 0 --trust 10 --max-price "0.2 RLC"`.
    """
    from fairgrid.client.order_desk import parse_tag
    from fairgrid.market.client import MarketClient
    from fairgrid.protocol.amounts import parse_rlc

    network = desk.place.network
    most = None if max_price is None else parse_rlc(max_price, "The price")
    assets = {"app": app_, "dataset": dataset, "workerpool": workerpool}
    chosen = {name: read_address(value) for name, value in assets.items() if value is not None}
    filters: dict[str, Any] = {"min_volume": min_volume}
    if tag:
        filters["min_tag"] = parse_tag(tag)
    if restricted:
        filters |= {name: "any" for name in ("app", "dataset", "workerpool", "requester") if name != kind.value}
    if kind is OrderKind.REQUEST:
        filters |= {"max_trust": trust, "app": "any", "dataset": "any"}
    filters |= chosen

    async def ask() -> Sequence[Any]:
        async with MarketClient(network.market, network.chain_id, hub=network.hub) as market:
            if kind is OrderKind.APP:
                return await market.app_orders(filters.pop("app", "any"), **filters)
            if kind is OrderKind.DATASET:
                return await market.dataset_orders(filters.pop("dataset", "any"), **filters)
            if kind is OrderKind.WORKERPOOL:
                return await market.workerpool_orders(category=category, min_trust=trust, **filters)
            filters.pop("requester", None)
            return await market.request_orders(category=category, **filters)

    found = [entry for entry in run_async(ask) if most is None or price_of(entry.order) <= most]
    wanted = int(filters.get("min_tag", "0x0"), 16)
    found = [entry for entry in found if int(entry.order.tag, 16) & wanted == wanted][:limit]
    rows = [entry_document(entry) for entry in found]
    desk.show({"kind": kind.value, "orders": rows}, lambda: print_orders(found, console()))
