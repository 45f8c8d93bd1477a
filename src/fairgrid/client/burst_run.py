"""One run, several deals: the part that the own pool can do now, and what is bought elsewhere under the rules."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fairgrid.client.burst import (
    BurstOffer,
    BurstPlan,
    BurstRules,
    check_caps,
    find_burst_offers,
    one_at_a_time,
    plan_burst,
    spent_on_burst,
)
from fairgrid.client.client import Client
from fairgrid.client.deal_making import RunPart
from fairgrid.client.job import Job
from fairgrid.client.journal import DealRecord
from fairgrid.client.orders import find_app_order, offer_of
from fairgrid.client.progress import OnProgress, Phase, Progress, ignore_progress
from fairgrid.client.quotes import BATCH_TAG, DEFAULT_CATEGORY, LaneWish, Quote, TrustWish, wants_batch
from fairgrid.errors import FundsError, UsageError
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.orders import AppOrder
from fairgrid.protocol.tags import covers
from fairgrid.protocol.trust import FRESH_WEIGHT, trust_for_workers, trust_from_confidence

__all__ = ["SplitRun", "buy_run"]


@dataclass(frozen=True, slots=True)
class SplitRun:
    """A run whose deals are all on chain; ``records`` in the order of its tasks."""

    plan: BurstPlan
    records: tuple[DealRecord, ...]

    @property
    def price(self) -> int:
        """What all of it costs (nRLC)."""
        return sum(record.price for record in self.records)


async def buy_run(
    client: Client,
    job: Job,
    wish: TrustWish,
    rules: BurstRules,
    *,
    category: int = DEFAULT_CATEGORY,
    lane: LaneWish = LaneWish.AUTO,
    on_progress: OnProgress = ignore_progress,
) -> SplitRun:
    """Split a job between the own pool and the market, sign and match one deal after the other.

    Every deal is in the journal before it is sent. When it is cut in between, the deals that were made go on, and
    nothing more is bought.

    Raises:
        UsageError: the own pool does not admit this requester, or the job cannot be split.
        FundsError: there is not enough money; what was signed before goes on.
        everything of `Client.sign` and `Client.match`.
    """
    if job.dependencies:
        raise UsageError("A job that reads the results of others cannot be split. Leave --burst or --after out.")
    if job.tasks > 1 and not job.items:
        raise UsageError(
            "--tasks cannot be split: each deal counts its tasks from 0, so two tasks would have the same index. Use "
            "--each, with a line of arguments for each task."
        )
    trust = trust_from_confidence(wish.confidence)
    if wish.workers_at_least > 1:
        trust = max(trust, trust_for_workers([FRESH_WEIGHT] * wish.workers_at_least, wish.workers_at_least))
    on_progress(Progress(Phase.PREPARING, "asking the own pool for room"))
    room = await client.pool.room(trust=trust, requester=client.address)
    if not room.admitted:
        raise UsageError(f"{room.reason} Nothing was signed.")
    app = await find_app_order(
        client.market,
        client.chain,
        runtime=job.runtime,
        requester=client.address,
        tasks=job.tasks,
        app=job.app,
    )
    with one_at_a_time(client.journal.folder) as now:
        spent = spent_on_burst(client.journal.all(), now=now)
        offers = await find_burst_offers(
            client.market,
            client.chain,
            rules,
            home=client.network.pool_address,
            app=app.app,
            app_price=app.appprice,
            category=category,
            trust=trust,
            requester=client.address,
            tag=BATCH_TAG if lane is LaneWish.BATCH else ZERO32,
        )
        plan = plan_burst(job.tasks, room, offers, rules, spent_nrlc=spent)
        on_progress(Progress(Phase.PREPARING, plan.why))
        records: list[DealRecord] = []
        if plan.home:
            quote = await client.quote(
                _part(job, 0, plan.home), wish, category=category, lane=lane, on_progress=on_progress
            )
            signed = await client.sign_quote(_part(job, 0, plan.home), quote, on_progress, part=RunPart(0))
            records.append(await client.match(signed, on_progress))
        first = plan.home
        for offer, tasks in plan.away:
            check_caps(rules, price=offer.price, tasks=tasks, spent_nrlc=spent)
            quote = await _quote_away(client, app, offer, tasks, trust=trust, category=category, lane=lane)
            part = _part(job, first, first + tasks)
            signed = await client.sign_quote(part, quote, on_progress, part=RunPart(first, burst=True))
            spent += signed.price
            first += tasks
            records.append(await client.match(signed, on_progress))
    return SplitRun(plan, tuple(records))


def _part(job: Job, first: int, end: int) -> Job:
    inputs = job.item_inputs[first:end] if job.item_inputs else ()
    return replace(job, items=job.items[first:end], item_inputs=inputs, tasks=end - first)


async def _quote_away(
    client: Client, app: AppOrder, offer: BurstOffer, tasks: int, *, trust: int, category: int, lane: LaneWish
) -> Quote:
    """The quote of a part that another pool computes: at exactly the price that was planned."""
    exact = offer_of(app, offer.order)
    price, account = exact.price * tasks, await client.chain.view_account(client.address)
    wallet = await client.chain.rlc_balance(client.address)
    if account.stake + wallet < price:
        raise FundsError(
            f"{tasks} tasks at workerpool {offer.order.workerpool} cost {price} nRLC, and {client.address} has "
            f"{account.stake} nRLC in escrow and {wallet} nRLC in its wallet. Nothing was signed for them."
        )
    timeref = (await client.chain.view_category(category)).timeref
    batch = wants_batch(lane, tasks) and covers(offer.order.tag, BATCH_TAG)
    return Quote(exact, trust, category, timeref, account.stake, tasks, batch)
