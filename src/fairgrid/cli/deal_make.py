"""`fairgrid deal make`: match orders that somebody signed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.money_desk import Act, MoneyDesk, Plan, money_command
from fairgrid.cli.order_io import find_order
from fairgrid.cli.output import rlc
from fairgrid.errors import ContractReverted, OrderError

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
        from fairgrid.chain import calls
        from fairgrid.protocol.matching import explain
        from fairgrid.protocol.orders import NULL_DATASET_ORDER

        async def found(reference: str, kind: str) -> Any:
            order: Order = await find_order(desk, reference)
            if order.KIND != kind:
                raise OrderError(f"{reference} is an order of kind {order.KIND}, not {kind}. Nothing was signed.")
            return order

        orders = (
            await found(app, "app"),
            NULL_DATASET_ORDER if dataset is None else await found(dataset, "dataset"),
            await found(workerpool, "workerpool"),
            await found(request, "request"),
        )
        call = calls.match_orders(chain.hub, *orders)
        (estimated,) = await chain.estimate([call], desk.address)
        if isinstance(estimated, ContractReverted):
            raise OrderError(f"These orders make no deal: {explain(estimated.reason)}. Nothing was signed.")
        wanted = orders[3]
        price = orders[0].appprice + orders[1].datasetprice + orders[2].workerpoolprice
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
