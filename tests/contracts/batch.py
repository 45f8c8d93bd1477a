"""The batch lane in a few words each: deals in it, what the tasks of a run came to, and the calls on runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairgrid.protocol import runs
from fairgrid.protocol.hexes import keccak, to_hex32
from tests.contracts.registries import Log
from tests.contracts.world import Person, Tuple, World, bytes32

__all__ = [
    "BATCH_LANE",
    "Answers",
    "agree",
    "answers",
    "batch_deal",
    "finalize_run",
    "finished_run",
    "materialisation",
    "open_run",
    "reopen",
    "settle_run",
    "settlement",
    "split_run",
    "view_lane",
    "view_run",
]

BATCH_LANE = bytes32(1 << 16)


@dataclass(frozen=True)
class Answers:
    """What the tasks of a run came to: a digest each, and the bytes that say where the results are."""

    digests: tuple[str, ...]
    results: bytes = b"/ipfs/manifest"

    @property
    def root(self) -> str:
        return runs.tasks_root(self.digests)

    @property
    def results_hash(self) -> str:
        return to_hex32(keccak(self.results))

    @property
    def digest(self) -> str:
        """What the workers contribute."""
        return runs.run_digest(self.root, self.results)


def answers(count: int, seed: int = 0, results: bytes = b"/ipfs/manifest") -> Answers:
    """Another seed, other digests."""
    return Answers(tuple(bytes32(1_000_000 * (seed + 1) + number) for number in range(count)), results)


def batch_deal(
    world: World,
    volume: int,
    *,
    with_dataset: bool = False,
    request: Mapping[str, Any] | None = None,
    workerpool: Mapping[str, Any] | None = None,
    **changes: Mapping[str, Any],
) -> str:
    """A deal of ``volume`` tasks in the batch lane, everybody funded; its id."""
    return world.deal(
        with_dataset=with_dataset,
        request={"volume": volume, "tag": BATCH_LANE, **(request or {})},
        workerpool={"tag": BATCH_LANE, **(workerpool or {})},
        **changes,
    )


def open_run(world: World, deal: str, count: int, sender: Person | None = None) -> str:
    """As the scheduler, if nobody else is said; the run's id."""
    return str(world.hub.call("openRun", deal, count, sender=(sender or world.scheduler).address))


def split_run(world: World, run: str, left: int, sender: Person | None = None) -> tuple[str, str]:
    """As the scheduler, if nobody else is said; the ids of the halves."""
    halves = world.hub.call("splitRun", run, left, sender=(sender or world.scheduler).address)
    return (str(halves[0]), str(halves[1]))


def reopen(world: World, run: str) -> list[Log]:
    """Let the reveal deadline of a task or run pass, and reopen it."""
    world.now = world.view_task(run).revealDeadline
    return world.hub.transact("reopen", run, sender=world.scheduler.address)[1]


def agree(world: World, run: str, result: Answers, *workers: Person) -> None:
    """The workers (the first one, if none is said) contribute and reveal."""
    team = workers or (world.worker(),)
    for worker in team:
        world.contribute(run, worker, result.digest)
    for worker in team:
        world.reveal(run, worker, result.digest)


def finalize_run(world: World, run: str, result: Answers, sender: Person | None = None) -> list[Log]:
    """As the scheduler, if nobody else is said; the events."""
    person = sender or world.scheduler
    return world.hub.transact("finalizeRun", run, result.root, result.results, sender=person.address)[1]


def finished_run(world: World, result: Answers, **changes: Any) -> str:
    """A run that is all of a deal, finalized with this result; its id."""
    count = len(result.digests)
    run = open_run(world, batch_deal(world, count, **changes), count)
    agree(world, run, result)
    finalize_run(world, run, result)
    return run


def settlement(
    world: World,
    deal: str,
    result: Answers,
    worker: Person,
    *,
    count: int | None = None,
    enclave: Person | None = None,
    authority: Person | None = None,
) -> tuple[Any, ...]:
    """The arguments of `settleRun` at the deal's frontier."""
    tasks = len(result.digests) if count is None else count
    run = runs.run_id(deal, view_lane(world, deal).cursor, tasks)
    contribution = world.contribution(run, worker, result.digest, enclave=enclave, authority=authority)
    return (deal, tasks, result.root, result.results, *contribution[3:])


def settle_run(
    world: World, deal: str, result: Answers, worker: Person | None = None, **options: Any
) -> tuple[str, list[Log]]:
    """The run's id and the events."""
    person = worker or world.worker()
    arguments = settlement(world, deal, result, person, **options)
    run, logs = world.hub.transact("settleRun", *arguments, sender=person.address)
    return str(run), logs


def materialisation(run: str, first: int, result: Answers, position: int, callback: bytes = b"") -> tuple[Any, ...]:
    """The arguments of `materialise` for the task at this position of a run."""
    proof = runs.task_proof(result.digests, position)
    return (
        *(run, first + position, result.digests[position], proof),
        *(result.root, result.results_hash, callback),
    )


def view_run(world: World, run: str) -> Tuple:
    return world.view("viewRun", run)


def view_lane(world: World, deal: str) -> Tuple:
    return world.view("viewLane", deal)
