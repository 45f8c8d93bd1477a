"""`--dry-run` of `fairgrid run` and `claim`: what would be signed and sent, and what it would cost."""

from __future__ import annotations

from typing import Any

from fairgrid.chain.interface import Chain
from fairgrid.cli.output import console, emit_json, rlc
from fairgrid.client.claims import claim_calls
from fairgrid.client.client import Client, Quote
from fairgrid.client.funds import events_until_now, read_deal
from fairgrid.client.journal import DealRecord
from fairgrid.protocol.rewards import task_price

__all__ = ["foresee_claim", "tell_claim", "tell_quote"]

_NOTHING = "Nothing was signed (--dry-run)."


def tell_quote(quote: Quote, client: Client, *, as_json: bool) -> None:
    """Print what `fairgrid run` would sign for this quote."""
    missing = max(quote.price - quote.stake, 0)
    lane = "settled in runs" if quote.batch else "settled one by one"
    signs = [f"Deposit {rlc(missing)} from your wallet into your escrow (two transactions)."] if missing else []
    signs.append(
        f"Make a deal of {quote.tasks} task(s) at {rlc(quote.offer.price)} each, {rlc(quote.price)} in all, on the "
        f"pool {quote.offer.workerpool.workerpool}, at trust {quote.trust}, {lane}. What comes to no result comes back."
    )
    if as_json:
        emit_json(
            {
                "status": "dry-run",
                "network": client.network.name,
                "account": client.address,
                "signs": signs,
                "priceNrlc": quote.price,
                "taskPriceNrlc": quote.offer.price,
                "depositNrlc": missing,
                "taskCount": quote.tasks,
                "trust": quote.trust,
                "category": quote.category,
                "batchLane": quote.batch,
                "exitCode": 0,
            }
        )
        return
    _print(client.address, signs)


async def foresee_claim(chain: Chain, record: DealRecord) -> dict[str, Any]:
    """What `fairgrid claim` would take back.

    Raises:
        UsageError: the deadline has not passed, or nothing is left.
    """
    events = await events_until_now(chain, record.block_number) if record.batch else []
    state = await read_deal(chain, record.deal_id, events)
    deal = state.deal
    each = task_price(deal.app.price, deal.dataset.price, deal.workerpool.price)
    return {
        "dealId": record.deal_id,
        "refundedTasks": state.open_tasks,
        "amountNrlc": each * state.open_tasks,
        "transactionCount": len(claim_calls(chain.hub, state)),
    }


def tell_claim(found: dict[str, Any], client: Client, *, as_json: bool) -> None:
    """Print what `foresee_claim` found."""
    sentence = (
        f"Claim {found['refundedTasks']} task(s) of deal {found['dealId']}: {rlc(found['amountNrlc'])} come back, for "
        f"the gas of {found['transactionCount']} transaction(s) or a few more."
    )
    if as_json:
        account = {"network": client.network.name, "account": client.address}
        emit_json({"status": "dry-run", **account, "signs": [sentence], **found, "exitCode": 0})
        return
    _print(client.address, [sentence])


def _print(address: str, signs: list[str]) -> None:
    screen = console()
    screen.print(f"{address} would sign:", style="bold", markup=False)
    for sentence in signs:
        screen.print(f"  {sentence}", markup=False, soft_wrap=True)
    screen.print(_NOTHING, markup=False)
