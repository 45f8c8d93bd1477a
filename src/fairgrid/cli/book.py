"""`fairgrid book`: the open orders of a network's market."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fairgrid.cli.money_desk import MoneyDesk, money_command
from fairgrid.cli.order_io import market_of
from fairgrid.cli.order_tables import entry_document, print_orders
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
    from fairgrid.client.order_book import search_book
    from fairgrid.client.order_desk import parse_tag
    from fairgrid.protocol.amounts import parse_rlc

    most = None if max_price is None else parse_rlc(max_price, "The price")
    wanted = parse_tag(tag) if tag else None
    assets = {"app": app_, "dataset": dataset, "workerpool": workerpool}
    chosen = {name: read_address(value) for name, value in assets.items() if value is not None}

    async def ask() -> list[Any]:
        async with market_of(desk) as market:
            return await search_book(
                market,
                kind.value,
                category=category,
                trust=trust,
                tag=wanted,
                max_price=most,
                min_volume=min_volume,
                restricted=restricted,
                limit=limit,
                **chosen,
            )

    found = run_async(ask)
    rows = [entry_document(entry) for entry in found]
    desk.show({"kind": kind.value, "orders": rows}, lambda: print_orders(found, console()))
