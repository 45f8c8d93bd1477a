"""What `fairgrid run` and `claim` sign, said before they do: to agree to, or with `--dry-run` instead of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairgrid.chain.interface import Chain
from fairgrid.cli.money_desk import MoneyDesk
from fairgrid.cli.output import emit_json, rlc
from fairgrid.client.claims import claim_calls
from fairgrid.client.client import Quote
from fairgrid.client.funds import events_until_now, read_deal
from fairgrid.client.journal import DealRecord
from fairgrid.errors import UsageError
from fairgrid.protocol.rewards import task_price

__all__ = ["agree_to", "claim_sentence", "foresee_claim", "not_above", "quote_sentences", "tell_claim", "tell_quote"]


def quote_sentences(quote: Quote) -> list[str]:
    """What `fairgrid run` signs for this quote."""
    missing = max(quote.price - quote.stake, 0)
    lane = "settled in runs" if quote.batch else "settled one by one"
    signs = [f"Deposit {rlc(missing)} from your wallet into your escrow (two transactions)."] if missing else []
    signs.append(
        f"Make a deal of {quote.tasks} task(s) at {rlc(quote.offer.price)} each, {rlc(quote.price)} in all, on the "
        f"pool {quote.offer.workerpool.workerpool}, at trust {quote.trust}, {lane}. What comes to no result comes back."
    )
    return signs


def tell_quote(quote: Quote, desk: MoneyDesk) -> None:
    """Tell what `fairgrid run --dry-run` would sign for this quote."""
    facts = {
        "priceNrlc": quote.price,
        "taskPriceNrlc": quote.offer.price,
        "depositNrlc": max(quote.price - quote.stake, 0),
        "taskCount": quote.tasks,
        "trust": quote.trust,
        "category": quote.category,
        "batchLane": quote.batch,
    }
    _tell(desk, quote_sentences(quote), facts)


def agree_to(quote: Quote, desk: MoneyDesk) -> None:
    """Say what is signed for this quote, and ask.

    Raises:
        UsageError: nobody agreed.
    """
    desk.say(quote_sentences(quote))
    desk.agree()


def not_above(agreed: Quote) -> Callable[[Quote], None]:
    """Refuses a quote that is dearer than the one that was agreed to: prices may rise while somebody reads."""

    def check(quote: Quote) -> None:
        if quote.price > agreed.price:
            raise UsageError(
                f"The price rose from {rlc(agreed.price)} to {rlc(quote.price)} meanwhile. Nothing was signed. Run it "
                f"again to agree to that."
            )

    return check


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


def claim_sentence(found: dict[str, Any]) -> str:
    """What `fairgrid claim` signs for what `foresee_claim` found."""
    return (
        f"Claim {found['refundedTasks']} task(s) of deal {found['dealId']}: {rlc(found['amountNrlc'])} come back, for "
        f"the gas of {found['transactionCount']} transaction(s) or a few more."
    )


def tell_claim(found: dict[str, Any], desk: MoneyDesk) -> None:
    """Tell what `fairgrid claim --dry-run` would sign."""
    _tell(desk, [claim_sentence(found)], found)


def _tell(desk: MoneyDesk, signs: list[str], facts: dict[str, Any]) -> None:
    if desk.as_json:
        account = {"network": desk.place.name, "account": desk.address}
        emit_json({"status": "dry-run", **account, "signs": signs, **facts, "exitCode": 0})
        return
    desk.say(signs)
    desk.screen.print("Nothing was signed (--dry-run).", markup=False)
