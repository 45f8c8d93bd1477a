"""`fairgrid pool offer`: an order of the workerpool, for everybody or for a group alone."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.money_desk import Act, MoneyDesk, Plan
from fairgrid.cli.order_io import published
from fairgrid.cli.output import rlc
from fairgrid.cli.shared_options import (
    DryRunOption,
    JsonOption,
    NetworkOption,
    PoolFolderOption,
    YesOption,
    read_address,
)
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.interface import Receipt
    from fairgrid.wallet.signer import Signer

__all__ = ["offer_tasks"]


def offer_tasks(
    network: NetworkOption,
    directory: PoolFolderOption,
    price: Annotated[str, typer.Option(metavar="AMOUNT", help="For one task, e.g. '0.1 RLC'; '0 RLC' is for nothing.")],
    volume: Annotated[int, typer.Option(min=1, help="So many tasks may be bought with it.")] = 1_000,
    trust: Annotated[int, typer.Option(min=0, help="The highest trust that it offers.")] = 1,
    category: Annotated[int, typer.Option(min=0, help="Category of the tasks.")] = 0,
    only: Annotated[
        str | None, typer.Option("--only", help="Account or group that may buy; nobody else can. Default: everybody.")
    ] = None,
    batch: Annotated[bool, typer.Option("--batch/--no-batch", help="Whether it offers the batch lane.")] = True,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Sign an order of the workerpool and publish it on the market, for a group alone if you say so.

    The chain itself refuses a match by somebody who is not in the group. The owner's deposit must cover the
    scheduler's stake, 30 % of the price of every task that is sold. Example:

    fairgrid pool offer --network net.json --dir pool --price "0.1 RLC" --volume 500 --trust 10 --dry-run
    """
    from fairgrid.protocol.amounts import parse_rlc
    from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, to_hex32
    from fairgrid.protocol.orders import WorkerpoolOrder
    from fairgrid.protocol.tags import LANE_MASK
    from fairgrid.wallet.keystore import KEYSTORE_NAME

    if not (directory / KEYSTORE_NAME).exists():
        raise UsageError(f"There is no key of a pool in {directory}. Name the pool's folder with --dir.")
    desk = MoneyDesk(network=network, wallet=str(directory), yes=yes, dry_run=dry_run, as_json=as_json)
    order = WorkerpoolOrder(
        workerpool=desk.place.network.pool_address,
        workerpoolprice=parse_rlc(price, "--price"),
        volume=volume,
        tag=f"0x{LANE_MASK:064x}" if batch else ZERO32,
        category=category,
        trust=trust,
        requesterrestrict=read_address(only) if only else ZERO_ADDRESS,
        salt=to_hex32(secrets.token_bytes(32)),
    )

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.client.order_desk import describe_order, identity_of, signed_order
        from fairgrid.pool.onchain.ownership import check_ownership

        await check_ownership(chain, order.workerpool, desk.signer)
        name = identity_of(chain, order)

        async def then(chain: JsonRpcChain, signer: Signer, receipts: list[Receipt]) -> dict[str, Any]:
            await published(desk, signed_order(chain, order, signer), signer)
            return {"published": True}

        acts = [Act(sentence) for sentence in describe_order(order)]
        acts.append(Act(f"Put it on the market {desk.place.network.market}, with a log-in that moves no money."))
        whom = "everybody" if order.requesterrestrict == ZERO_ADDRESS else order.requesterrestrict
        facts = {
            "orderHash": name,
            "workerpool": order.workerpool,
            "priceNrlc": order.workerpoolprice,
            "volume": order.volume,
            "onlyFor": None if order.requesterrestrict == ZERO_ADDRESS else order.requesterrestrict,
            "published": False,
        }
        text = f"Published {name}: {volume:,} tasks at {rlc(order.workerpoolprice)} each, for {whom}."
        return Plan(acts, facts, then, lambda _: text)

    desk.carry_out(plan)
