"""200 tasks while every process of a real network is killed and started again: nothing is lost, or paid twice.

The plan is drawn from a seed: one that once found something, `FAIRGRID_CHAOS_SEED=7` takes that one, and
`FAIRGRID_CHAOS_SEED=random` hunts with a new one each time. Processes and their timing stay real, so the same plan may
hit other moments.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.decode import decode_logs
from fairgrid.chain.interface import ChainEvent
from fairgrid.localnet.options import honest_workers
from fairgrid.protocol.ids import task_id
from tests.e2e.acts import books, on_chain
from tests.e2e.chaos import BagOfTasks, Chaos, Requester, Struck, plan_of
from tests.e2e.network import Network, running_network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

WORKERS = honest_workers(4)
BAGS = (
    BagOfTasks("classic-1", 50, "classic", "0"),
    BagOfTasks("classic-2", 20, "classic", "0.5"),
    BagOfTasks("batch-1", 100, "batch", "0"),
    BagOfTasks("batch-2", 30, "batch", "0.5"),
)
WORK = """
import os, sys
number = int(sys.argv[1])
with open(os.path.join(os.environ["IEXEC_OUT"], "answer.txt"), "w") as file:
    file.write("{name} " + str(number * number))
"""


def _seed() -> int:
    wish = os.environ.get("FAIRGRID_CHAOS_SEED") or "131876"
    return random.randrange(1_000_000) if wish == "random" else int(wish)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Network]:
    """Four honest workers of four owners; runs of the batch lane are short, so that there are some."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with running_network(tmp_path / "net", scratch, workers=WORKERS, policy={"batch_run_s": 10.0}) as network:
        yield network


def test_200_tasks_end_right_and_are_paid_once_while_everything_is_killed_in_turn(stage: Network) -> None:
    seed = _seed()
    _say(f"\nseed {seed}: FAIRGRID_CHAOS_SEED={seed} draws this plan again")
    before = books(stage)
    requesters = [_requester(stage, bag) for bag in BAGS]
    names = [worker.name for worker in WORKERS]
    plan = plan_of(seed, names, [bag.name for bag in BAGS])
    chaos = Chaos(stage, requesters)
    began = time.time()
    try:
        for requester in requesters:
            requester.start()
        chaos.rage(plan, within_s=400)
    finally:
        for requester in requesters:
            requester.give_up()
        events = _events(stage)
        _print_table(chaos.struck, events, requesters, began)
    for requester in requesters:
        _check_results(requester)
    _check_money(stage, before.totals, requesters, events)
    assert stage.local.ended() == {}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _requester(network: Network, bag: BagOfTasks) -> Requester:
    script = network.script(f"{bag.name}.py", WORK.replace("{name}", bag.name))
    arguments = network.script(f"{bag.name}.txt", "".join(f"{number}\n" for number in range(bag.tasks)))
    return Requester(network, bag, script, arguments)


def _check_results(requester: Requester) -> None:
    bag, answer = requester.bag, requester.answer
    assert answer is not None and answer.code == 0, f"{bag.name}: {answer}"
    document = answer.document
    assert (document["lane"], document["tasks"], document["completed"]) == (bag.lane, bag.tasks, bag.tasks)
    assert document["refunded"] == [] and document["failed"] == 0
    for number in range(bag.tasks):
        assert (requester.out / str(number) / "answer.txt").read_text() == f"{bag.name} {number * number}"


def _check_money(
    network: Network, before: Mapping[str, int], requesters: Sequence[Requester], events: Sequence[ChainEvent]
) -> None:
    """What the four deals say that they paid is what changed hands, to the last nRLC; nothing is left locked."""
    after = books(network)
    assert not any(after.locked.values())
    assert sum(after.totals.values()) == after.hub_holds == sum(before.values())
    said: Counter[str] = Counter()
    for requester in requesters:
        assert requester.answer is not None
        for line in requester.answer.document["payments"]:
            said[line["account"]] += line["net"]
    changes = {account: after.totals[account] - before[account] for account in before}
    assert {account: change for account, change in changes.items() if change} == {
        account: net for account, net in said.items() if net
    }
    price = sum(requester.answer.document["price"] for requester in requesters if requester.answer)
    assert changes[network.local.accounts["requester"].address] == -price
    assert all(changes[network.local.accounts[worker.name].address] >= 0 for worker in network.local.workers)
    workers = {network.local.accounts[worker.name].address for worker in network.local.workers}
    lost = [event.arguments for event in events if event.name == "Seize" and event.arguments["owner"] in workers]
    assert lost == [], "an honest worker lost stake"
    rewards = Counter((event.arguments["owner"], event.arguments["ref"]) for event in events if event.name == "Reward")
    assert [reward for reward, times in rewards.items() if times > 1] == [], "somebody was paid twice"
    ends = Counter(event.arguments["taskid"] for event in events if event.name == "TaskFinalize")
    classic = {
        task_id(record.deal_id, index)
        for requester in requesters
        if requester.bag.lane == "classic" and (record := requester.deal()) is not None
        for index in range(requester.bag.tasks)
    }
    assert set(ends) == classic and set(ends.values()) == {1}


def _events(network: Network) -> list[ChainEvent]:
    """All that the hub said since the chain began."""

    async def read(chain: JsonRpcChain) -> list[ChainEvent]:
        query = {"address": chain.hub, "fromBlock": "0x0", "toBlock": "latest"}
        return list(decode_logs(await chain.rpc.request("eth_getLogs", query)))

    return on_chain(network, read)


def _print_table(
    struck: Sequence[Struck], events: Sequence[ChainEvent], requesters: Sequence[Requester], began: float
) -> None:
    _say(f"{'at s':>6}  {'victim':<10} {'way':<8} {'back after s':>12}")
    for one in sorted(struck, key=lambda strike: strike.at_s):
        _say(f"{one.at_s:6.1f}  {one.strike.victim:<10} {one.strike.way.value:<8} {one.back_s:12.1f}")
    for requester in requesters:
        _say(f"{requester.bag.name}: {requester.commands} command(s), {requester.killed} of them killed")
    counts = Counter(event.name for event in events)
    _say(", ".join(f"{name} {counts[name]}" for name in sorted(counts) if name.startswith(("Task", "Run", "Se"))))
    _say(f"{time.time() - began:.0f} s in all, the last strike after {struck[-1].at_s if struck else 0:.0f} s")
