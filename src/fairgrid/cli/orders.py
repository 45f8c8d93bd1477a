"""`fairgrid order`: sign, publish, cancel, list and show orders of every kind."""

from __future__ import annotations

import secrets
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.money_desk import Act, MoneyDesk, Plan, money_command
from fairgrid.cli.order_io import find_order, market_of, published, read_order, write_order
from fairgrid.cli.order_tables import entry_document, order_document, print_order, print_orders
from fairgrid.cli.output import console
from fairgrid.cli.shared_options import read_address
from fairgrid.errors import ServiceRefused, UsageError

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.protocol.orders import Order

__all__ = ["OrderKind", "app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Sign, publish, cancel, list and show orders.")


class OrderKind(StrEnum):
    """The four kinds of orders that a deal is made of."""

    APP = "app"
    DATASET = "dataset"
    WORKERPOOL = "workerpool"
    REQUEST = "request"


_Reference = Annotated[
    str, typer.Argument(metavar="ORDER", help="A file with the order, or its hash if the market has it.")
]
_Kind = Annotated[OrderKind, typer.Argument(metavar="KIND", help="app, dataset, workerpool or request.")]
_Restriction = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only with this one, or members of a group.")]


@app.callback()
def _orders() -> None:
    """Sign, publish, cancel, list and show orders. A deal is made of an app's, a pool's and a request's order.

    A signed order is a promise that others can use: read what a signature does before you agree. `fairgrid run` makes
    requests by itself.
    """


@money_command(app, "sign", spends=True)
def sign_order(
    desk: MoneyDesk,
    kind: _Kind,
    asset: Annotated[
        str, typer.Argument(metavar="ASSET", help="Address of the app, dataset or pool; of the app to run.")
    ],
    volume: Annotated[int, typer.Option(min=1, help="How many tasks it is good for.")] = 1,
    price: Annotated[
        str, typer.Option(metavar="AMOUNT", help="Price of one use or task, e.g. '0.1 RLC'; of a request: of the pool.")
    ] = "0 RLC",
    app_price: Annotated[
        str, typer.Option(metavar="AMOUNT", help="Of a request: the most that the app may cost a task.")
    ] = "0 RLC",
    dataset: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Of a request: the dataset.")] = None,
    dataset_price: Annotated[
        str, typer.Option(metavar="AMOUNT", help="Of a request: the most that the dataset may cost a task.")
    ] = "0 RLC",
    category: Annotated[int, typer.Option(min=0, help="Of a pool or request: the size class.")] = 0,
    trust: Annotated[
        str, typer.Option(metavar="TRUST", help="Of a pool or request: the chain's number, or a confidence as 0.99.")
    ] = "1",
    tag: Annotated[str, typer.Option(metavar="TAG", help="Words as tee,batch, or 0x and 64 digits.")] = "",
    for_app: _Restriction = None,
    for_dataset: _Restriction = None,
    for_workerpool: _Restriction = None,
    for_requester: _Restriction = None,
    params: Annotated[str, typer.Option(metavar="JSON", help="Of a request: its params.")] = "",
    beneficiary: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Of a request. Default: you.")] = None,
    callback: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a request: a contract that is called with the result.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the signed order there; never replaced.")
    ] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Put it on the network's market, too.")] = False,
) -> None:
    """Sign an order of any kind. Costs no gas; what it promises is said first.

    Example: `fairgrid order sign app 0x8dF2aCE5b0D9a7Cd4a0A1cD6D1b0d4e2F3a4b5C6 --price "0.1 RLC" --volume 100
    --publish`.
    """
    given = {
        "asset": read_address(asset),
        "volume": volume,
        "price": price,
        "app_price": app_price,
        "dataset": dataset,
        "dataset_price": dataset_price,
        "category": category,
        "trust": trust,
        "tag": tag,
        "apprestrict": for_app,
        "datasetrestrict": for_dataset,
        "workerpoolrestrict": for_workerpool,
        "requesterrestrict": for_requester,
        "params": params,
        "beneficiary": beneficiary,
        "callback": callback,
    }
    order = _made(kind, desk, given)
    if out is not None and out.exists():
        raise UsageError(f"{out} is there already. Nothing was signed. Name another file with --out.")

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.client.order_desk import check_signer, describe_order, identity_of, signed_order

        await check_signer(chain, order, desk.address)
        acts = [Act(sentence) for sentence in describe_order(order)]
        if publish:
            acts.append(Act(f"Put it on the market {desk.place.network.market}, with a log-in that moves no money."))

        async def then(chain: JsonRpcChain, signer: Any, receipts: Any) -> dict[str, Any]:
            made = signed_order(chain, order, signer)
            if out is not None:
                write_order(made, out)
            if publish:
                await published(desk, made, signer)
            return {"order": made.to_wire(), "orderHash": identity_of(chain, made), "published": publish}

        unsigned = {"order": order.to_wire(), "orderHash": identity_of(chain, order), "published": False}
        return Plan(acts, unsigned, then, lambda facts: _told(facts, out))

    desk.carry_out(plan)


@money_command(app, "publish", spends=True)
def publish_order(
    desk: MoneyDesk,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A signed order, as `sign --out` writes.")],
) -> None:
    """Put a signed order on the network's market. Example: `fairgrid order publish order.json`."""
    order = read_order(file)

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.client.order_desk import describe_order, standing_of

        standing = await standing_of(chain, order)
        if standing.problems:
            raise UsageError(f"The order in {file} makes no deal: {' '.join(standing.problems)} It was not published.")
        acts = [Act(f"Publish what is signed: {sentence}") for sentence in describe_order(order)[:1]]
        acts.append(Act(f"Log in at the market {desk.place.network.market} with a signature that moves no money."))

        async def then(chain: JsonRpcChain, signer: Any, receipts: Any) -> dict[str, Any]:
            return {"orderHash": await published(desk, order, signer), "published": True}

        facts = {"order": order.to_wire(), "orderHash": standing.order_hash, "published": False}
        return Plan(acts, facts, then, lambda facts: _told(facts, None))

    desk.carry_out(plan)


@money_command(app, "cancel", spends=True)
def cancel_order(
    desk: MoneyDesk,
    reference: _Reference,
    market_only: Annotated[
        bool,
        typer.Option("--market-only", help="Only take it off the market, without gas: copies of it stay good."),
    ] = False,
) -> None:
    """Cancel an order for good: on chain, where no copy of it counts any more, and off the market.

    Deals that were made of it go on. Example: `fairgrid order cancel order.json`.
    """

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.chain import calls
        from fairgrid.client.order_desk import check_signer, identity_of

        order = await find_order(desk, reference)
        await check_signer(chain, order, desk.address)
        identity = identity_of(chain, order)
        left = order.volume - await chain.view_consumed(identity)
        if left <= 0:
            raise UsageError(f"Order {identity} is used up, or cancelled already. Nothing was signed.")
        off = Act(f"Take the {order.KIND} order {identity} off the market, with a log-in that moves no money.")
        if market_only:
            acts = [off, Act("Whoever has a copy can still use it: only a cancellation on chain ends that.")]
        else:
            close = (
                f"Cancel the {order.KIND} order {identity} on chain: the {left} that are left of it can never be used."
            )
            acts = [Act(close, calls.manage_order(chain.hub, order, calls.CLOSE)), off]

        async def then(chain: JsonRpcChain, signer: Any, receipts: Any) -> dict[str, Any]:
            async with market_of(desk) as market:
                try:
                    await market.unpublish(order.KIND, identity, signer)
                except ServiceRefused:
                    return {"offMarket": False}  # It never was there, or the market saw the cancellation first.
                return {"offMarket": True}

        facts = {"orderHash": identity, "kind": order.KIND, "onChain": not market_only}
        where = "off the market" if market_only else "for good"
        return Plan(acts, facts, then, lambda _: f"Cancelled {identity} {where}.")

    desk.carry_out(plan)


@money_command(app, "list")
def list_orders(
    desk: MoneyDesk,
    kind: Annotated[OrderKind | None, typer.Argument(metavar="[KIND]", help="Only this kind. Default: all.")] = None,
    of: Annotated[str | None, typer.Option("--of", metavar="ADDRESS", help="Anybody's. Default: your own.")] = None,
) -> None:
    """List the open orders of an account on the market. Example: `fairgrid order list app`."""
    address = read_address(of) if of is not None else desk.address

    async def ask(chain: JsonRpcChain) -> list[Any]:
        from fairgrid.client.order_book import open_orders_of

        kinds = [kind] if kind is not None else list(OrderKind)
        async with market_of(desk) as market:
            return [entry for one in kinds for entry in await open_orders_of(market, one.value, address)]

    found = desk.ask(ask)
    rows = [entry_document(entry) for entry in found]
    desk.show({"account": address, "orders": rows}, lambda: print_orders(found, console()))


@money_command(app, "show")
def show_order(desk: MoneyDesk, reference: _Reference) -> None:
    """Show an order, what its signature means, and what the chain says of it: may it make a deal now?

    Example: `fairgrid order show order.json`.
    """

    async def ask(chain: JsonRpcChain) -> tuple[Any, Any]:
        from fairgrid.client.order_desk import standing_of

        order = await find_order(desk, reference)
        return order, await standing_of(chain, order)

    order, standing = desk.ask(ask)
    desk.show(order_document(order, standing), lambda: print_order(order, standing, console()))


def _made(kind: OrderKind, desk: MoneyDesk, given: dict[str, Any]) -> Order:
    from fairgrid.client.order_desk import parse_tag, parse_trust
    from fairgrid.protocol.amounts import parse_rlc
    from fairgrid.protocol.hexes import ZERO_ADDRESS
    from fairgrid.protocol.orders import AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder

    def address(name: str) -> str:
        return ZERO_ADDRESS if given[name] is None else read_address(given[name])

    own = f"{kind}restrict" if kind is not OrderKind.REQUEST else ""
    request_only = ("dataset", "params", "beneficiary", "callback")
    wrong = [name for name in request_only if given[name]] if kind is not OrderKind.REQUEST else []
    names = ("apprestrict", "datasetrestrict", "workerpoolrestrict", "requesterrestrict")
    allowed = {"workerpoolrestrict"} if kind is OrderKind.REQUEST else {*names} - {own}
    wrong += [f"for-{name.removesuffix('restrict')}" for name in names if given[name] and name not in allowed]
    if wrong:
        raise UsageError(f"An order of kind {kind} has no --{wrong[0]}. Nothing was signed.")
    price = parse_rlc(given["price"], "The price")
    common: dict[str, Any] = {
        "volume": given["volume"],
        "tag": parse_tag(given["tag"]),
        "salt": "0x" + secrets.token_hex(32),
    }
    limits: dict[str, Any] = {name: address(name) for name in names if name in allowed}
    terms: dict[str, Any] = {"category": given["category"], "trust": parse_trust(given["trust"])}
    if kind is OrderKind.APP:
        return AppOrder(app=given["asset"], appprice=price, **common, **limits)
    if kind is OrderKind.DATASET:
        return DatasetOrder(dataset=given["asset"], datasetprice=price, **common, **limits)
    if kind is OrderKind.WORKERPOOL:
        return WorkerpoolOrder(workerpool=given["asset"], workerpoolprice=price, **common, **terms, **limits)
    return RequestOrder(
        app=given["asset"],
        appmaxprice=parse_rlc(given["app_price"], "The price"),
        dataset=address("dataset"),
        datasetmaxprice=parse_rlc(given["dataset_price"], "The price"),
        workerpool=address("workerpoolrestrict"),
        workerpoolmaxprice=price,
        requester=desk.address,
        **common,
        **terms,
        beneficiary=desk.address if given["beneficiary"] is None else address("beneficiary"),
        callback=address("callback"),
        params=given["params"],
    )


def _told(facts: Any, out: Path | None) -> str:
    where = f" It is in {out}." if out is not None else ""
    if facts["published"]:
        return f"Order {facts['orderHash']} is on the market.{where}"
    return f"Signed order {facts['orderHash']}.{where or ' --out FILE keeps it, --publish puts it on the market.'}"
