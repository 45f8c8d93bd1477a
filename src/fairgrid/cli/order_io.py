"""Orders of commands: read from a file or from the market, signed, written, published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.cli.money_desk import MoneyDesk
    from fairgrid.market.client import MarketClient
    from fairgrid.protocol.orders import Order
    from fairgrid.wallet.signer import Signer

__all__ = ["find_order", "market_of", "published", "read_order", "write_order"]


def market_of(desk: MoneyDesk) -> MarketClient:
    """The market of the network; use it as an async context manager."""
    from fairgrid.market.client import MarketClient

    network = desk.place.network
    return MarketClient(network.market, network.chain_id, hub=network.hub)


async def published(desk: MoneyDesk, order: Order, signer: Signer) -> str:
    """Put a signed order on the market; gives its hash.

    Raises:
        ServiceRefused, ServiceUnavailable: the market does not take it.
    """
    async with market_of(desk) as market:
        return await market.publish(order, signer)


def write_order(order: Order, out: Path) -> None:
    """Write a signed order into a new file.

    Raises:
        UsageError: it is there already, or cannot be written.
    """
    try:
        with out.open("x", encoding="utf-8") as opened:
            opened.write(json.dumps({"kind": order.KIND, "order": order.to_wire()}, indent=2) + "\n")
    except OSError as error:
        raise UsageError(f"The order was signed, but {out} cannot be written ({error}).") from error


def read_order(file: Path) -> Order:
    """An order of a file: what `sign --out` writes, or an order alone whose fields say its kind.

    Raises:
        UsageError: it cannot be read, or is none.
    """
    from fairgrid.errors import OrderError
    from fairgrid.market.kinds import KINDS

    try:
        document = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"The order {file} cannot be read ({error}).") from error
    if not isinstance(document, dict):
        raise UsageError(f"{file} is no order: it is no JSON object.")
    fields = document.get("order", document)
    for kind in reversed(KINDS.values()):  # A request has an app, too.
        if document.get("kind", kind.name) == kind.name and isinstance(fields, dict) and kind.price_field in fields:
            try:
                return kind.order_class.from_wire(fields)
            except OrderError as error:
                raise UsageError(f"{file} is no order of this program: {error}") from error
    raise UsageError(f"{file} is no order. `fairgrid order sign --out FILE` writes one.")


async def find_order(desk: MoneyDesk, reference: str) -> Order:
    """The order of a file, or the one of that hash on the market.

    Raises:
        UsageError: there is none.
    """
    from fairgrid.client.order_book import find_published
    from fairgrid.protocol.hexes import is_hex32

    if not is_hex32(reference):
        return read_order(Path(reference))
    async with market_of(desk) as market:
        entry = await find_published(market, reference)
    if entry is not None:
        order: Order = entry.order
        return order
    raise UsageError(f"The market {desk.place.network.market} has no order {reference}. Give the file of the order.")
