"""Burst: when the own pool is full, buy from others under caps that are the requester's own.

A deal names its workerpool, so what was bought cannot move: the split comes before the deals. The own pool says how
many tasks would begin at once (`GET /room`); the rest goes to the cheapest orders of the market that fit, each as a
deal of its own with exactly that pool and that price. The caps are read from a file of the requester: no pool can raise
them. What they do not allow stays with the own pool, and waits there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from fairgrid.chain.interface import Chain
from fairgrid.client.journal import DealRecord
from fairgrid.client.orders import open_to
from fairgrid.errors import FundsError, OrderError, UsageError
from fairgrid.market.client import MarketClient
from fairgrid.pool.client import PoolRoom
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, checksum
from fairgrid.protocol.orders import WorkerpoolOrder
from fairgrid.protocol.tags import covers
from fairgrid.protocol.typed_data import Domain, order_hash

__all__ = [
    "RULES_NAME",
    "BurstOffer",
    "BurstPlan",
    "BurstRules",
    "check_caps",
    "find_burst_offers",
    "load_burst_rules",
    "one_at_a_time",
    "plan_burst",
    "spent_on_burst",
]

RULES_NAME: Final = "burst.toml"
"""Beside the network file, unless another file is named."""

_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstRules:
    """What may be bought elsewhere. Everything is 0 or empty until it is set: nothing is bought by accident."""

    max_price_nrlc: int = 0
    """Most for one task, app and pool together."""
    daily_cap_nrlc: int = 0
    """Most for all tasks that were bought elsewhere in the last 24 hours, by this key on this machine."""
    min_queue_age_s: float = 0.0
    """Go elsewhere only when a task has waited in the own pool for so long; 0: as soon as it is full."""
    pools: tuple[str, ...] = ()
    """Workerpools to buy from; empty: any on the market."""


@dataclass(frozen=True, slots=True)
class BurstOffer:
    """An order of another pool: what one task costs there, app included, and how many it has left."""

    order: WorkerpoolOrder
    price: int
    left: int


@dataclass(frozen=True, slots=True)
class BurstPlan:
    """How a bag is split: so many tasks stay, the others go to these offers, in this order; ``why`` in a sentence."""

    home: int
    away: tuple[tuple[BurstOffer, int], ...]
    why: str

    @property
    def price_away(self) -> int:
        """What all that is bought elsewhere costs (nRLC)."""
        return sum(offer.price * tasks for offer, tasks in self.away)


def load_burst_rules(path: Path) -> BurstRules:
    """Read a file with one table ``[burst]``.

    Raises:
        UsageError: there is none, it is not TOML, or a key is unknown or of the wrong type.
    """
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(
            f"There are no burst rules at {path}. Write a table [burst] with max_price_nrlc and daily_cap_nrlc there: "
            f"what you would pay elsewhere is yours to say."
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"The burst rules {path} cannot be read ({error}). Mend the file; it is TOML.") from error
    table = document.get("burst")
    if not isinstance(table, dict) or len(document) != 1:
        raise UsageError(f"{path} must have one table, [burst].")
    known = {field.name for field in fields(BurstRules)}
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in known:
            raise UsageError(f"{path} has an unknown key {name!r}. Known keys: {', '.join(sorted(known))}.")
        values[name] = _checked(path, name, value)
    rules = BurstRules(**values)
    if not rules.max_price_nrlc or not rules.daily_cap_nrlc:
        raise UsageError(f"{path} must set max_price_nrlc and daily_cap_nrlc: without them nothing may be bought.")
    return rules


def _checked(path: Path, name: str, value: object) -> object:
    if name == "pools":
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f"In {path}, pools must be a list of addresses.")
        try:
            return tuple(checksum(item) for item in value)
        except OrderError as error:
            raise UsageError(f"In {path}, pools names no address: {error}") from error
    whole = name.endswith("_nrlc")
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not value >= 0:
        raise UsageError(f"In {path}, {name} must be a {'whole ' if whole else ''}number, 0 or more.")
    return value


def plan_burst(
    tasks: int, room: PoolRoom, offers: Sequence[BurstOffer], rules: BurstRules, *, spent_nrlc: int
) -> BurstPlan:
    """Split ``tasks``: what begins at home at once stays, the rest goes to the cheapest offers that the rules allow."""
    wanted = max(tasks - room.room, 0)
    if not wanted:
        return BurstPlan(tasks, (), f"the own pool has room for {room.room} tasks")
    if room.oldest_wait_s < rules.min_queue_age_s:
        waits = f"its oldest task has waited {room.oldest_wait_s:.0f} s, less than {rules.min_queue_age_s:.0f} s"
        return BurstPlan(tasks, (), f"the own pool is full, but {waits}")
    budget = rules.daily_cap_nrlc - spent_nrlc
    away: list[tuple[BurstOffer, int]] = []
    for offer in sorted(offers, key=lambda one: (one.price, one.order.workerpool)):
        if rules.pools and offer.order.workerpool not in rules.pools:
            continue
        if offer.price > rules.max_price_nrlc:
            break
        affordable = wanted if not offer.price else max(budget, 0) // offer.price
        share = min(wanted, offer.left, affordable)
        if share > 0:
            away.append((offer, share))
            wanted -= share
            budget -= share * offer.price
    bought = tasks - wanted - min(room.room, tasks)
    why = f"the own pool has room for {room.room} of {tasks} tasks; {bought} are bought elsewhere"
    if wanted:
        why += f", and {wanted} wait, because the rules or the market allow no more"
    return BurstPlan(min(room.room, tasks) + wanted, tuple(away), why)


def check_caps(rules: BurstRules, *, price: int, tasks: int, spent_nrlc: int) -> None:
    """The last look before a signature.

    Raises:
        FundsError: a cap would be passed.
    """
    if price > rules.max_price_nrlc:
        raise FundsError(
            f"A task would cost {price} nRLC elsewhere, more than max_price_nrlc = {rules.max_price_nrlc}. Nothing was "
            f"signed for it."
        )
    if spent_nrlc + price * tasks > rules.daily_cap_nrlc:
        raise FundsError(
            f"{tasks} tasks elsewhere would cost {price * tasks} nRLC, and {spent_nrlc} of the day's "
            f"{rules.daily_cap_nrlc} nRLC are spent. Nothing was signed for them."
        )


def spent_on_burst(records: Sequence[DealRecord], *, now: float) -> int:
    """What was signed for tasks elsewhere in the last 24 hours (nRLC), whatever became of it."""
    return sum(record.price for record in records if record.burst and record.started_at > now - _DAY_S)


async def find_burst_offers(
    market: MarketClient,
    chain: Chain,
    rules: BurstRules,
    *,
    home: str,
    app: str,
    app_price: int,
    category: int,
    trust: int,
    requester: str,
    tag: str = ZERO32,
) -> list[BurstOffer]:
    """Orders of other pools that fit and that the rules allow, each looked at on chain."""
    found = []
    domain = Domain(chain.chain_id, chain.hub)
    for entry in await market.workerpool_orders(category=category, requester="any"):
        order = entry.order
        price = app_price + order.workerpoolprice
        if order.workerpool == home or price > rules.max_price_nrlc or order.trust < trust:
            continue
        if (rules.pools and order.workerpool not in rules.pools) or not covers(order.tag, tag):
            continue
        name = order_hash(order, domain)
        if name != entry.order_hash or order.category != category:
            continue
        if not (
            await open_to(chain, order.apprestrict, app)
            and await open_to(chain, order.datasetrestrict, ZERO_ADDRESS)
            and await open_to(chain, order.requesterrestrict, requester)
        ):
            continue
        left = min(order.volume - await chain.view_consumed(name), await _covered(chain, order))
        if left > 0:
            found.append(BurstOffer(order, price, left))
    return found


async def _covered(chain: Chain, order: WorkerpoolOrder) -> int:
    """How many tasks the pool's free deposit covers: it stakes 30 % of the price of each."""
    stake = order.workerpoolprice * 30 // 100
    if not stake:
        return order.volume
    owner = (await chain.view_workerpool(order.workerpool)).owner
    return (await chain.view_account(owner)).stake // stake


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[float]:
    """Between reading what was spent and signing more no other process of this key does the same; gives the time."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "burst.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError("Another `fairgrid run --burst` of this key is buying right now. Try again.") from None
        yield time.time()
    finally:
        os.close(descriptor)
