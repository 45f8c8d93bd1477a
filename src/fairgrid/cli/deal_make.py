"""`fairgrid deal make`: match orders that somebody signed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.money_desk import Act, MoneyDesk, Plan, money_command
from fairgrid.cli.order_io import find_order
from fairgrid.cli.output import rlc
from fairgrid.errors import OrderError

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.protocol.orders import Order

__all__ = ["add_make"]

_Order = "A file with the order, or its hash if the market has it."


def add_make(group: typer.Typer) -> None:
    """Put `make` into the group of deals."""
    money_command(group, "make", spends=True)(make_deal)


def make_deal(
    desk: MoneyDesk,
    app: Annotated[str, typer.Option(metavar="ORDER", help=f"The app's. {_Order}")],
    workerpool: Annotated[str, typer.Option(metavar="ORDER", help="The pool's.")],
    request: Annotated[str, typer.Option(metavar="ORDER", help="The request.")],
    dataset: Annotated[
        str | None, typer.Option(metavar="ORDER", help="The data set's, if the request has one.")
    ] = None,
) -> None:
    """Match signed orders: the deal is made, and its money locked. Anybody may, for the gas.

    `fairgrid run` does this by itself for a job of yours. Example: `fairgrid deal make --app app.json --workerpool
    pool.json --request request.json`.
    """

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.client.deal_desk import match_of

        async def found(reference: str, kind: str) -> Any:
            order: Order = await find_order(desk, reference)
            if order.KIND != kind:
                raise OrderError(f"{reference} is an order of kind {order.KIND}, not {kind}. Nothing was signed.")
            return order

        sold = await found(app, "app")
        data = None if dataset is None else await found(dataset, "dataset")
        pool = await found(workerpool, "workerpool")
        wanted = await found(request, "request")
        call, price = await match_of(chain, desk.address, sold, data, pool, wanted)
        sentence = (
            f"Match these orders into a deal of up to {wanted.volume} task(s): {rlc(price)} a task are locked in the "
            f"escrow of {wanted.requester}, and the pool's stake in its owner's."
        )
        facts = {"dealId": None, "requester": wanted.requester, "priceNrlc": price, "tasks": None}
        return Plan(
            [Act(sentence, call)], facts, _after, lambda facts: f"Deal {facts['dealId']}, {facts['tasks']} task(s)."
        )

    desk.carry_out(plan)


async def _after(chain: JsonRpcChain, signer: Any, receipts: Any) -> dict[str, Any]:
    (event,) = [event for event in receipts[0].events if event.name == "OrdersMatched"]
    return {"dealId": event.arguments["dealid"], "tasks": event.arguments["volume"]}
