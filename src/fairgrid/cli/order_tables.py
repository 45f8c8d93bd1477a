"""How orders are shown: rows of a table for people, JSON for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from fairgrid.cli.output import rlc
from fairgrid.client.order_book import price_of
from fairgrid.client.order_desk import Standing, asset_of, describe_order, tag_words
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.orders import Order, RequestOrder, WorkerpoolOrder

if TYPE_CHECKING:
    from fairgrid.market.client import PublishedOrder

__all__ = ["entry_document", "order_document", "print_order", "print_orders"]


def entry_document(entry: PublishedOrder[Any]) -> dict[str, Any]:
    """An order of the market, for ``--json``."""
    order: Order = entry.order
    return {
        "orderHash": entry.order_hash,
        "kind": order.KIND,
        "status": entry.status,
        "remaining": entry.remaining,
        "priceNrlc": price_of(order),
        "signer": entry.signer,
        "published": entry.published.isoformat(),
        "order": order.to_wire(),
    }


def order_document(order: Order, standing: Standing) -> dict[str, Any]:
    """An order and what the chain says of it, for ``--json``."""
    return {
        "orderHash": standing.order_hash,
        "kind": order.KIND,
        "owner": standing.owner,
        "signed": standing.signed,
        "consumed": standing.consumed,
        "remaining": max(order.volume - standing.consumed, 0),
        "problems": list(standing.problems),
        "means": list(describe_order(order)),
        "order": order.to_wire(),
    }


def print_orders(entries: Sequence[PublishedOrder[Any]], screen: Console) -> None:
    """A table; orders that only some may use say whom they are for."""
    if not entries:
        screen.print("No open order fits.", markup=False)
        return
    table = Table("order", "kind", "of", "price", "left", "terms", "only for", box=None, pad_edge=False)
    for entry in entries:
        order = entry.order
        table.add_row(
            entry.order_hash[:12],
            order.KIND,
            asset_of(order),
            rlc(price_of(order)),
            str(entry.remaining),
            _terms(order),
            " ".join(_limits(order)),
        )
    screen.print(table)


def print_order(order: Order, standing: Standing, screen: Console) -> None:
    """Everything of one order."""
    screen.print(f"{order.KIND} order {standing.order_hash}", style="bold", markup=False)
    for sentence in describe_order(order):
        screen.print(f"  {sentence}", markup=False, soft_wrap=True)
    left = max(order.volume - standing.consumed, 0)
    screen.print(f"  {left} of {order.volume} left; its owner is {standing.owner or 'unknown'}.", markup=False)
    for problem in standing.problems:
        screen.print(f"  It makes no deal now: {problem}", style="yellow", markup=False, soft_wrap=True)
    if not standing.problems:
        screen.print("  The hub accepts its signature, and it can make a deal.", markup=False)


def _terms(order: Order) -> str:
    words = []
    if isinstance(order, WorkerpoolOrder | RequestOrder):
        words = [f"category {order.category}", f"trust {order.trust}"]
    if tag := tag_words(order.tag):
        words.append(tag)
    return ", ".join(words)


def _limits(order: Order) -> list[str]:
    names = ("apprestrict", "datasetrestrict", "workerpoolrestrict", "requesterrestrict")
    found = [getattr(order, name, ZERO_ADDRESS) for name in names]
    if isinstance(order, RequestOrder):
        found.append(order.workerpool)
    return [address for address in found if address != ZERO_ADDRESS]
