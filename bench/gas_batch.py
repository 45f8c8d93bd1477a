"""Plays of the batch lane, which only ours has: gas a task, deal and settlement together, for bags of several sizes."""

from __future__ import annotations

from typing import Any

from tests.contracts.anvil_world import AnvilWorld
from tests.contracts.batch import BATCH_LANE, agree, answers, finalize_run, open_run, settle_run

__all__ = ["SIZES", "batch_figures"]

SIZES = (1, 10, 100, 1_000)
_RESULTS = b'{"storage":"ipfs","location":"/ipfs/' + b"Q" * 46 + b'"}'
_SETTLED_AT_ONCE = ("matchOrders", "settleRun")
_SETTLED_BY_WORKERS = ("matchOrders", "openRun", "contribute", "reveal", "finalizeRun")


def batch_figures(world: AnvilWorld, params: str) -> dict[str, dict[int, int]]:
    """Gas of a whole deal by how it was settled and by its number of tasks; first use of all orders."""
    figures: dict[str, dict[int, int]] = {}
    for size in SIZES:
        for with_dataset in (False, True):
            data = "with data set" if with_dataset else "no data set"
            with world.chain.undone():
                _at_once(world, size, params, with_dataset=with_dataset)
                figures.setdefault(f"one transaction, {data}", {})[size] = _spent(world, _SETTLED_AT_ONCE)
            with world.chain.undone():
                _by_three_workers(world, size, params, with_dataset=with_dataset)
                figures.setdefault(f"three workers, {data}", {})[size] = _spent(world, _SETTLED_BY_WORKERS)
    return figures


def _spent(world: AnvilWorld, functions: tuple[str, ...]) -> int:
    return sum(sum(world.gas.get(function, [])) for function in functions)


def _bag(world: AnvilWorld, size: int, params: str, *, trust: int, with_dataset: bool) -> str:
    workers = (world.worker(number) for number in range(3))
    for person in (world.requester, world.scheduler, world.app_owner, world.dataset_owner, *workers):
        world.fund(person)
    request: dict[str, Any] = {"trust": trust, "volume": size, "tag": BATCH_LANE, "params": params}
    world.gas.clear()
    return world.match(
        world.orders(with_dataset=with_dataset, workerpool={"trust": trust, "tag": BATCH_LANE}, request=request)
    )


def _at_once(world: AnvilWorld, size: int, params: str, *, with_dataset: bool) -> None:
    settle_run(world, _bag(world, size, params, trust=1, with_dataset=with_dataset), answers(size, results=_RESULTS))


def _by_three_workers(world: AnvilWorld, size: int, params: str, *, with_dataset: bool) -> None:
    result = answers(size, results=_RESULTS)
    run = open_run(world, _bag(world, size, params, trust=8, with_dataset=with_dataset), size)
    agree(world, run, result, *(world.worker(number) for number in range(3)))
    finalize_run(world, run, result)
