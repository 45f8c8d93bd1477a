"""Plays of whole bags: gas a task of one deal of many tasks, match included, five workers in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tests.contracts.anvil_world import AnvilWorld
from tests.contracts.world import Person

from bench.gas_scenarios import FIRST, PARAMS, RESULTS, Figures, Play
from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.views import TaskStatus

__all__ = ["BAG_PLAYS"]

_DIGEST = to_hex32(keccak(b"digest"))
_MATCHES = ("matchOrders", "matchOrdersBoost")
_SETTLEMENTS = ("initialize", "contribute", "reveal", "finalize", "contributeAndFinalize", "pushResultBoost")
_WORKERS = 5


def _classic(world: AnvilWorld, deal: str, index: int, workers: list[Person], *, replicas: int) -> None:
    """``replicas`` at most: as the workers' scores grow, fewer reach the trust."""
    task = world.initialize(deal, index)
    chosen: list[Person] = []
    while world.view_task(task).status == TaskStatus.ACTIVE:
        worker = workers[(index + len(chosen)) % _WORKERS]
        world.contribute(task, worker, _DIGEST, fund=False)
        chosen.append(worker)
    assert len(chosen) <= replicas
    for worker in chosen:
        world.reveal(task, worker, _DIGEST)
    world.finalize(task, RESULTS)


def _at_once(world: AnvilWorld, deal: str, index: int, workers: list[Person]) -> None:
    task, worker = world.initialize(deal, index), workers[index % _WORKERS]
    arguments = (task, _DIGEST, RESULTS, b"", ZERO_ADDRESS, b"", world.authorisation(task, worker))
    world.hub.call("contributeAndFinalize", *arguments, sender=worker.address)


def _boost(world: AnvilWorld, deal: str, index: int, workers: list[Person]) -> None:
    worker = workers[index % _WORKERS]
    authorisation = world.authorisation(ids.task_id(deal, index), worker)
    arguments = (deal, index, RESULTS, b"", authorisation, ZERO_ADDRESS, b"")
    world.hub.call("pushResultBoost", *arguments, sender=worker.address)


def _bag(
    world: AnvilWorld,
    count: int,
    name: str,
    settle: Callable[[AnvilWorld, str, int, list[Person]], None],
    *,
    match: str = "matchOrders",
    trust: int = 1,
) -> Figures:
    workers = [world.worker(number) for number in range(_WORKERS)]
    for person in (world.requester, world.scheduler, world.app_owner, world.dataset_owner, *workers):
        world.fund(person)
    orders = world.orders(
        with_dataset=True,
        workerpool={"trust": trust},
        request={"trust": trust, "volume": count, "params": PARAMS},
    )
    world.gas.clear()
    deal = str(world.hub.call(match, *orders.arguments, sender=world.stranger.address))
    for index in range(count):
        settle(world, deal, index, workers)
    whole = sum(sum(world.gas.get(function, [])) for function in (*_MATCHES, *_SETTLEMENTS))
    return {(f"a task in a bag of {count}, {name}", FIRST): whole // count}


def _plays(count: int) -> dict[str, Play]:
    return {
        f"bag of {count}, one worker": Play(
            lambda world: _bag(world, count, "one worker", partial(_classic, replicas=1))
        ),
        f"bag of {count}, three workers": Play(
            lambda world: _bag(world, count, "up to three workers", partial(_classic, replicas=3), trust=8)
        ),
        f"bag of {count}, one transaction": Play(
            lambda world: _bag(world, count, "contributeAndFinalize", _at_once), ("contributeAndFinalize",)
        ),
        f"bag of {count}, boost": Play(
            lambda world: _bag(world, count, "boost", _boost, match="matchOrdersBoost"),
            ("matchOrdersBoost", "pushResultBoost"),
        ),
    }


BAG_PLAYS: Mapping[str, Play] = {**_plays(10), **_plays(100)}
