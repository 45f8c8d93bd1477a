"""Two pools on one network: what the own one cannot begin is computed by the other, under the caps, as one run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain.network import Network
from fairgrid.cli.burst import FinishedRun, run_split
from fairgrid.cli.output import console
from fairgrid.client.burst import BurstRules
from fairgrid.client.client import Client, LaneWish, TrustWish
from fairgrid.client.job import Job, JobRuntime
from fairgrid.client.journal import Journal
from fairgrid.client.progress import ignore_progress
from fairgrid.errors import UsageError
from fairgrid.market.app import open_market
from fairgrid.market.client import MarketClient
from fairgrid.pool.administration.access import AccessStore, Role
from fairgrid.pool.observability.room import replicas_for
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.orders import AppOrder, WorkerpoolOrder
from fairgrid.protocol.views import AppInfo
from fairgrid.seams.database import open_engine
from fairgrid.seams.service import serving
from fairgrid.wallet.keys import KeySigner

from .grid import Grid, key
from .scripted import Script, Scripted

APP_PRICE, HOME_PRICE, AWAY_PRICE = 10, 100, 300
INTERPRETER = "0x" + "ab" * 32
LATER = "0x" + "01" * 32


class _Witness(KeySigner):
    """A requester's key that notes every request that it signs."""

    signed: list[dict[str, Any]]

    def sign_typed_data(self, document: Any) -> str:
        message = document["message"]
        if "workerpoolmaxprice" in message:
            self.signed.append(dict(message))
        return super().sign_typed_data(document)


@dataclass
class _Place:
    """Two pools, and a requester of the first."""

    home: Grid
    away: Grid
    client: Client
    requester: _Witness
    folder: Path

    async def run(self, tasks: int, **rules: Any) -> FinishedRun:
        script = self.folder / "job.py"
        script.write_text("print(1)\n")
        job = Job(script, (), (), JobRuntime("wasm/py", "WASM", INTERPRETER)).as_bag([[str(n)] for n in range(tasks)])
        return await run_split(
            self.client,
            job,
            TrustWish("0"),
            BurstRules(**({"max_price_nrlc": 1_000, "daily_cap_nrlc": 100_000} | rules)),
            lane=LaneWish.CLASSIC,
            out=self.folder / "out",
            on_progress=ignore_progress,
            screen=console(quiet=True),
        )

    def bought_elsewhere(self) -> list[dict[str, Any]]:
        return [message for message in self.requester.signed if message["workerpool"] == self.away.workerpool]


@contextlib.asynccontextmanager
async def _place(folder: Path, own: Script | None = None) -> AsyncIterator[_Place]:
    """Both pools at work, the first with one worker of one slot, the other with two."""
    home, away = Grid(folder / "home"), Grid(folder / "away")
    chain, scheduler = home.chain, key("other scheduler")
    app = chain.model.registries.apps.create(
        AppInfo(home.admin.address, "wasm/py", "WASM", b"/ipfs/x", INTERPRETER, b"")
    )
    away.chain, away.storage, away.domain, away.app = chain, home.storage, home.domain, app
    home.app = app
    away.scheduler = scheduler
    away.workerpool = chain.model.registries.workerpools.create(scheduler.address, "other pool")
    home.folder.mkdir(parents=True)
    away.folder.mkdir(parents=True)
    requester = _Witness(key("buyer").private_key)
    requester.signed = []
    for person in (scheduler, requester):
        home.deposit(person.address)
    chain.mine()
    async with (
        open_market(open_engine("sqlite://"), chain) as application,
        serving(application) as url,
        MarketClient(url, chain.chain_id, hub=chain.hub) as market,
        home.pool(),
        away.pool(),
        Scripted(home, "own worker", own or Script()).connected(),
        Scripted(away, "strange worker").connected(),
        Scripted(away, "stranger worker").connected(),
    ):
        await market.publish(home._signed(AppOrder(app, APP_PRICE, 1_000, salt=LATER), home.admin), home.admin)
        for grid, price in ((home, HOME_PRICE), (away, AWAY_PRICE)):
            order = WorkerpoolOrder(grid.workerpool, price, 1_000, tag=ZERO32, trust=10, salt=LATER)
            await market.publish(grid._signed(order, grid.scheduler), grid.scheduler)
        network = Network(
            "test", chain.chain_id, "", chain.hub, "0x", chain.rlc, url, "http://storage", home.url, home.workerpool
        )
        client = Client(
            network,
            requester,
            chain=chain,
            market=market,
            storage=home.storage,
            pool=home.client,
            journal=Journal(folder / "deals"),
        )
        yield _Place(home, away, client, requester, folder)


async def test_the_part_that_does_not_fit_is_computed_by_another_pool_and_comes_back_as_one_run(tmp_path: Path) -> None:
    async with _place(tmp_path) as place:
        finished = await place.run(4)
        assert finished.exit_code == 0 and finished.completed == 4
        kept, bought = finished.parts
        assert (kept.bag.size, bought.bag.size, bought.record.first) == (1, 3, 1)
        assert kept.record.price == HOME_PRICE + APP_PRICE and bought.record.price == 3 * (AWAY_PRICE + APP_PRICE)
        for part, grid in ((kept, place.home), (bought, place.away)):
            deal = await place.client.chain.view_deal(part.record.deal_id)
            assert deal is not None and deal.workerpool.pointer == grid.workerpool
        outcomes = [outcome.index for part in finished.parts for outcome in part.outcomes]
        assert outcomes == [0, 1, 2, 3]
        for index in range(4):
            assert (tmp_path / "out" / str(index) / "answer.txt").read_bytes() == b"right"
        # The journal knows the place of each part, for whoever comes back later.
        assert [(record.first, record.burst) for record in place.client.journal.all()] == [(0, False), (1, True)]


async def test_nothing_above_the_cap_is_signed_and_what_may_not_be_bought_waits(tmp_path: Path) -> None:
    async with _place(tmp_path) as place:
        finished = await place.run(3, max_price_nrlc=AWAY_PRICE + APP_PRICE - 1)
        assert finished.completed == 3 and len(finished.parts) == 1 and "2 wait" in finished.run.plan.why
        assert place.bought_elsewhere() == []


async def test_the_cap_of_the_day_holds_over_several_runs(tmp_path: Path) -> None:
    async with _place(tmp_path) as place:
        price = AWAY_PRICE + APP_PRICE
        first = await place.run(4, daily_cap_nrlc=2 * price + 1)
        assert [part.bag.size for part in first.parts] == [2, 2] and first.completed == 4
        second = await place.run(3, daily_cap_nrlc=2 * price + 1)
        assert [part.bag.size for part in second.parts] == [3] and second.completed == 3
        signed = place.bought_elsewhere()
        assert [int(message["volume"]) for message in signed] == [2]
        paid = [int(message["workerpoolmaxprice"]) + int(message["appmaxprice"]) for message in signed]
        assert paid == [price]


async def test_once_a_task_has_waited_in_the_full_pool_as_long_as_the_rules_say_the_rest_is_bought(
    tmp_path: Path,
) -> None:
    async with _place(tmp_path, Script(seals=False)) as place:
        await place.home.deal(1, volume=3)

        async def waits() -> bool:
            room = await place.home.client.room(trust=1, requester=place.requester.address)
            return room.room == 0 and room.waiting > 0 and room.oldest_wait_s >= 10

        await place.home.until(waits, what="a task of the full pool that has waited for 10 s")
        finished = await place.run(2, min_queue_age_s=10)
        assert finished.completed == 2 and [part.record.burst for part in finished.parts] == [True]
        assert [int(message["volume"]) for message in place.bought_elsewhere()] == [2]


async def test_a_full_pool_whose_tasks_have_waited_for_less_is_waited_for(tmp_path: Path) -> None:
    async with _place(tmp_path) as place:
        finished = await place.run(2, min_queue_age_s=36_000)
        assert finished.completed == 2 and "less than 36000 s" in finished.run.plan.why
        assert place.bought_elsewhere() == []


async def test_a_requester_whom_the_own_pool_does_not_admit_signs_nothing(tmp_path: Path) -> None:
    async with _place(tmp_path) as place:
        AccessStore(place.home.service._store.engine).add([key("somebody").address], [Role.REQUESTER])
        access = place.home.service.access
        assert access is not None
        await access.read()
        with pytest.raises(UsageError, match="This pool is private"):
            await place.run(2)
        assert place.requester.signed == []


def test_room_counts_the_owners_that_a_trust_needs() -> None:
    assert replicas_for(1, [2, 2, 2]) == 1
    assert replicas_for(10**6, [2, 2, 2]) == 3
    assert replicas_for(1, []) == 1
