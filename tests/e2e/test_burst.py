"""`fairgrid run --burst` on two pools, each a process of its own with workers: the lab's is private, and full."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.network import load_network, save_network
from fairgrid.localnet.accounts import DEPLOYER, POOL_OWNER, REQUESTER, fund_accounts
from fairgrid.localnet.options import WorkerSpec
from fairgrid.localnet.processes import Guardian, ProcessSpec, RunningProcess, start_process
from fairgrid.market.client import MarketClient
from fairgrid.wallet.keystore import open_or_create_key
from tests.e2e.network import Answer, Network, running_network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

APP_PRICE, AWAY_PRICE = 1_000_000, 300_000_000
JOB = """
import os, sys
with open(os.path.join(os.environ["IEXEC_OUT"], "square.txt"), "w") as file:
    file.write(str(int(sys.argv[1]) ** 2))
"""
READY = r"^ready (http\S+)"


@dataclass(frozen=True, slots=True)
class Away:
    """The other pool: where it is, and its workerpool."""

    network: Path
    workerpool: str


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A lab's pool with one worker of one slot, for its own people only."""
    folder, scratch = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("scratch")
    with running_network(folder, scratch, workers=[WorkerSpec("own-worker")]) as network:
        members = [network.local.accounts[name].address for name in (REQUESTER, "own-worker")]
        closed = network.fairgrid("pool", "access", "add", *members, "--dir", network.local.folder.service("pool"))
        assert closed.code == 0, closed.stderr
        yield network


@pytest.fixture(scope="module")
def away(lab: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Away]:
    """A stranger's pool on the same chain and market, with two workers of two owners."""
    with another_pool(lab, tmp_path_factory.mktemp("away")) as made:
        yield made


@contextmanager
def another_pool(lab: Network, folder: Path) -> Iterator[Away]:
    """Made by the commands that any operator types."""
    pool, workers = folder / "pool", [folder / "worker-1", folder / "worker-2"]
    keys = {
        name: open_or_create_key(place)
        for name, place in zip((POOL_OWNER, "one", "two"), (pool, *workers), strict=True)
    }
    here = lab.local.network

    async def fund() -> None:
        async with await JsonRpcChain.connect(here) as chain:
            await fund_accounts(chain, {DEPLOYER: lab.local.accounts[DEPLOYER], **keys})

    lab.wait(fund())
    made = lab.fairgrid(
        "pool",
        "init",
        "--dir",
        pool,
        "--network",
        lab.local.folder.network,
        "--port",
        "0",
        "--price",
        f"{AWAY_PRICE} nRLC",
        "--register",
        "A stranger's pool",
        "--yes",
        "--json",
    )
    assert made.code == 0, made.stderr
    guardian, started = Guardian(), list[RunningProcess]()

    async def start(name: str, *arguments: object) -> RunningProcess:
        command = (sys.executable, "-m", "fairgrid", *map(str, arguments))
        spec = ProcessSpec(name, command, folder / f"{name}.log", ready=READY, timeout_s=90)
        return await start_process(spec, guardian=guardian, started=started.append)

    async def begin() -> str:
        url = (await start("other-pool", "pool", "start", "--dir", pool)).ready
        given = ("--network", pool / "network.json", "--pool", url)
        await asyncio.gather(*(start(place.name, "worker", "start", "--dir", place, *given) for place in workers))
        return url

    async def end() -> None:
        await asyncio.gather(*(process.stop() for process in started))

    try:
        url = lab.wait(begin())
        known = replace(load_network(pool / "network.json"), pool=url)
        save_network(known, folder / "network.json")
        until_on_the_market(lab, known.pool_address)
        yield Away(folder / "network.json", known.pool_address)
    finally:
        lab.wait(end())
        guardian.close()


def until_on_the_market(lab: Network, workerpool: str) -> None:
    """Wait until the pool's own offer can be bought."""
    here = lab.local.network

    async def is_there() -> bool:
        async with MarketClient(here.market, here.chain_id, hub=here.hub) as market:
            return bool(await market.workerpool_orders(category=0, workerpool=workerpool, requester="any"))

    end = time.monotonic() + 100
    while not lab.wait(is_there()):
        assert time.monotonic() < end, "the other pool's offer never came to the market"
        time.sleep(0.2)


def bought(
    lab: Network,
    out: str,
    *,
    tasks: int,
    most: int = APP_PRICE + AWAY_PRICE,
    daily: int = 30 * AWAY_PRICE,
    age_s: int = 0,
    more: tuple[str, ...] = (),
) -> Answer:
    """Run a bag with burst; ``most`` is the cap for one task, ``daily`` that of a day."""
    rules, items = lab.scratch / "burst.toml", lab.scratch / "items.txt"
    rules.write_text(f"[burst]\nmax_price_nrlc = {most}\ndaily_cap_nrlc = {daily}\nmin_queue_age_s = {age_s}\n")
    items.write_text("".join(f"{number}\n" for number in range(tasks)))
    script = lab.script("square.py", JOB)
    arguments = ("run", script, "--each", items, "--burst", "--burst-rules", rules, "--trust", "0", "--out", out)
    return lab.fairgrid(*arguments, *more, "--json", timeout_s=200)


def workerpools(lab: Network, deals: list[str]) -> list[str]:
    """With whose workerpool each deal was made, as the chain says."""

    async def ask() -> list[str]:
        async with await JsonRpcChain.connect(lab.local.network) as chain:
            found = [await chain.view_deal(deal) for deal in deals]
            return [deal.workerpool.pointer for deal in found if deal is not None]

    return lab.wait(ask())


def test_what_the_full_private_pool_cannot_begin_is_bought_under_the_cap_and_comes_back_as_one_run(
    lab: Network, away: Away
) -> None:
    answer = bought(lab, "split", tasks=4, most=APP_PRICE + AWAY_PRICE)
    assert answer.code == 0, answer.stdout + answer.stderr
    told = answer.document
    assert (told["status"], told["tasks"], told["completed"]) == ("ok", 4, 4)
    assert [(deal["elsewhere"], deal["first"], deal["tasks"]) for deal in told["deals"]] == [
        (False, 0, 1),
        (True, 1, 3),
    ]
    assert told["priceElsewhere"] == 3 * (APP_PRICE + AWAY_PRICE)
    ids = [deal["dealId"] for deal in told["deals"]]
    assert workerpools(lab, ids) == [lab.local.network.pool_address, away.workerpool]
    squares = [(lab.scratch / "split" / str(number) / "square.txt").read_text() for number in range(4)]
    assert squares == ["0", "1", "4", "9"]

    theirs = lab.fairgrid("story", ids[1], "--network", away.network, "--json")
    assert [task["phase"] for task in theirs.document["tasks"]] == ["completed"] * 3
    assert lab.fairgrid("story", ids[1]).code != 0, "the lab's pool has no part in it"


def test_one_nrlc_above_the_cap_is_not_bought_and_waits_in_the_own_pool(lab: Network, away: Away) -> None:
    answer = bought(lab, "waits", tasks=2, most=APP_PRICE + AWAY_PRICE - 1)
    assert answer.code == 0, answer.stdout + answer.stderr
    told = answer.document
    assert told["completed"] == 2 and told["priceElsewhere"] == 0 and "1 wait" in told["why"]
    assert workerpools(lab, [deal["dealId"] for deal in told["deals"]]) == [lab.local.network.pool_address]


def test_what_the_day_has_cost_already_is_not_spent_again(lab: Network, away: Away) -> None:
    first = bought(lab, "today", tasks=2)
    assert first.code == 0, first.stdout + first.stderr
    assert first.document["priceElsewhere"] == APP_PRICE + AWAY_PRICE
    again = bought(lab, "later-today", tasks=2, daily=APP_PRICE + AWAY_PRICE)
    assert again.code == 0, again.stdout + again.stderr
    told = again.document
    assert told["completed"] == 2 and told["priceElsewhere"] == 0 and "1 wait" in told["why"]
    assert workerpools(lab, [deal["dealId"] for deal in told["deals"]]) == [lab.local.network.pool_address]


def test_who_is_no_member_of_the_lab_buys_nothing_anywhere(lab: Network, away: Away) -> None:
    stranger = lab.scratch / "stranger"
    address = open_or_create_key(stranger).address
    answer = bought(lab, "refused", tasks=2, most=APP_PRICE + AWAY_PRICE, more=("--key-folder", str(stranger)))
    assert answer.code == 2 and "private" in answer.document["message"]
    assert not list((lab.local.folder.path / "deals" / address).rglob("0x*.json"))


def test_a_full_pool_whose_oldest_task_is_younger_than_the_rules_say_is_waited_for(lab: Network, away: Away) -> None:
    early = bought(lab, "early", tasks=2, age_s=3_600)
    assert early.code == 0, early.stdout + early.stderr
    told = early.document
    assert told["completed"] == 2 and told["priceElsewhere"] == 0 and "less than 3600 s" in told["why"]
    assert workerpools(lab, [deal["dealId"] for deal in told["deals"]]) == [lab.local.network.pool_address]
