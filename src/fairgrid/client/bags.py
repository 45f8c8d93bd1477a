"""Bags of tasks, of either lane: waiting for them, and fetching what was agreed, verified before a byte is written."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fairgrid.chain.interface import Chain, ChainEvent
from fairgrid.client.follow import CHAIN_PATIENCE_S, Ending
from fairgrid.client.journal import DealRecord
from fairgrid.client.ledger import Bag, BagLedger, SettledRun
from fairgrid.client.progress import OnProgress, Phase, Progress
from fairgrid.client.results import MAX_RESULT_BYTES, MAX_RESULT_FILES, ResultKeys, move_into, opened, prepare_out
from fairgrid.errors import ServiceUnavailable, UsageError, VerificationError
from fairgrid.protocol.archive import archive_digest, extract_archive
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.results import cid_of_results, error_in_folder
from fairgrid.protocol.run_results import RunResults, max_manifest_bytes, parse_run_results
from fairgrid.protocol.runs import run_digest
from fairgrid.protocol.views import Deal, TaskStatus
from fairgrid.storage.client import StorageClient

__all__ = ["BagFollower", "TaskOutcome", "collect_bag", "fetch_run_results"]

_POLL_S: Final = 0.5
_FETCHES_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """The verified result of one task of a bag, written to ``folder`` (None: its result went to the deal's callback).

    ``run_id`` is empty for a task of the classic lane; ``error`` is the agreed error document when the task failed.
    """

    index: int
    digest: str
    cid: str
    run_id: str
    folder: Path | None
    error: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "index": self.index,
            "digest": self.digest,
            "cid": self.cid,
            "runId": self.run_id,
            "jobError": self.error,
        }


class BagFollower:
    """Reads the ledger of one bag from the chain. Close it in the end."""

    def __init__(self, chain: Chain, record: DealRecord, deal: Deal) -> None:
        self.deal = deal
        self.ledger = BagLedger(record.deal_id, deal)
        self._chain = chain
        self._record = record
        self._events: AsyncIterator[ChainEvent] = chain.follow(from_block=record.block_number)
        self._next: asyncio.Task[ChainEvent] | None = None

    @classmethod
    async def open(cls, chain: Chain, record: DealRecord) -> BagFollower:
        """Begin to follow.

        Raises:
            UsageError: the hub does not know the deal.
            ServiceUnavailable: the chain does not answer.
        """
        deal = await chain.view_deal(record.deal_id)
        if deal is None:
            raise UsageError(f"The hub does not know deal {record.deal_id}. Is this the right network?")
        return cls(chain, record, deal)

    async def close(self) -> None:
        """Stop reading."""
        if self._next is not None:
            self._next.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._next
            self._next = None

    async def read(self, *, quiet_s: float = _POLL_S) -> Bag:
        """Take every event that is there; gives what stands when none came for ``quiet_s`` seconds."""
        while True:
            if self._next is None:
                self._next = asyncio.ensure_future(anext(self._events))
            done, _ = await asyncio.wait((self._next,), timeout=quiet_s)
            if not done:
                return self.ledger.bag()
            event, self._next = self._next.result(), None
            self.ledger.take(event)

    async def wait(self, on_progress: OnProgress) -> Ending:
        """Wait until every task of the bag is settled or refunded, or the final deadline has passed.

        Raises:
            ServiceUnavailable: the chain has been away for `CHAIN_PATIENCE_S`.
        """
        deadline: int | None = None
        silent = 0.0
        while True:
            bag = await self.read()
            if bag.is_over:
                return Ending.COMPLETED if bag.completed else Ending.FAILED
            try:
                if deadline is None:
                    timeref = (await self._chain.view_category(self.deal.category)).timeref
                    deadline = self.deal.start_time + 10 * timeref
                if (await self._chain.head()).timestamp >= deadline:
                    return Ending.OVERDUE
                silent = 0.0
            except ServiceUnavailable:
                silent += _POLL_S
                if silent > CHAIN_PATIENCE_S:
                    raise
                on_progress(Progress(Phase.WAITING, "the chain does not answer; waiting for it"))
                continue
            on_progress(_progress(bag))


def _progress(bag: Bag) -> Progress:
    running = sum(count for _, _, count in bag.open_runs)
    note = f"{bag.completed} of {bag.size} tasks settled"
    if running:
        note += f", {running} in {len(bag.open_runs)} open run(s)"
    if bag.refunded:
        note += f", {len(bag.refunded)} refunded"
    return Progress(Phase.COMPUTING if bag.completed or running else Phase.WAITING, note)


async def fetch_run_results(chain: Chain, storage: StorageClient, run: SettledRun, *, callback: bool) -> RunResults:
    """The manifest of a settled run's results, if it is the one that its workers agreed on.

    Raises:
        VerificationError: it is not.
        ServiceUnavailable, ServiceRefused: storage is down or does not have it.
    """
    cid = cid_of_results(run.results)
    if cid is None:
        raise VerificationError(
            f"The pool finalized run {run.run_id} without saying where its results lie: {run.results[:80]!r}. "
            f"Nothing was written; keep the deal as evidence against the pool."
        )
    data = await storage.fetch_bytes(cid, max_bytes=max_manifest_bytes(run.count, callback=callback))
    results = parse_run_results(data, first=run.first, count=run.count, callback=callback)
    agreed = (await chain.view_task(run.run_id)).result_digest
    if results.root != run.root or run_digest(results.root, run.results) != agreed:
        raise VerificationError(
            f"The results of run {run.run_id} are not those that its workers agreed on: their root is {results.root}, "
            f"the chain says {run.root} and digest {agreed}. Nothing was written; keep CID {cid} as evidence."
        )
    return results


async def collect_bag(
    chain: Chain,
    storage: StorageClient,
    deal_id: str,
    deal: Deal,
    bag: Bag,
    out: Path,
    on_progress: OnProgress,
    *,
    first: int = 0,
    key: ResultKeys | None = None,
) -> tuple[TaskOutcome, ...]:
    """Fetch every task's result, verify all of them, then write each into ``out/<index>``.

    ``key`` is asked for the keys of encrypted results.

    ``first`` is added to every index: the place of the deal's first task in a run of several deals.

    Files of the same names there are replaced, others stay.

    Raises:
        VerificationError: something is not what was agreed; nothing was written.
        ServiceUnavailable, ServiceRefused: storage is down or lacks something; nothing was written.
        UsageError: something is in the way in ``out``.
    """
    prepare_out(out)
    callback = deal.callback != ZERO_ADDRESS
    wanted: list[_Wanted] = []
    for run in bag.runs:
        results = await fetch_run_results(chain, storage, run, callback=callback)
        for index in range(run.first, run.first + run.count):
            task = results.task(index)
            wanted.append(_Wanted(index, task.digest, task.cid, min(task.size, MAX_RESULT_BYTES), run.run_id))
    wanted += [await _classic(chain, task_id(deal_id, index), index, callback=callback) for index in bag.tasks]
    wanted.sort(key=lambda one: one.index)
    with tempfile.TemporaryDirectory(dir=out, prefix=".fairgrid-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        outcomes = await _fetch_all(storage, wanted, scratch, on_progress, deal_id, key)
        placed = [replace(outcome, index=first + outcome.index) for outcome in outcomes]
        return tuple([await asyncio.to_thread(_write, outcome, scratch, out) for outcome in placed])


@dataclass(frozen=True, slots=True)
class _Wanted:
    index: int
    digest: str
    cid: str
    max_bytes: int
    run_id: str


async def _classic(chain: Chain, task: str, index: int, *, callback: bool) -> _Wanted:
    view = await chain.view_task(task)
    cid = cid_of_results(view.results) or ""
    if view.status is not TaskStatus.COMPLETED or (not cid and not callback):
        raise VerificationError(f"Task {task} was finalized without saying where its result lies. Nothing was written.")
    return _Wanted(index, view.result_digest, cid, MAX_RESULT_BYTES, "")


async def _fetch_all(
    storage: StorageClient,
    wanted: list[_Wanted],
    scratch: Path,
    on_progress: OnProgress,
    deal_id: str,
    key: ResultKeys | None,
) -> list[TaskOutcome]:
    outcomes: dict[int, TaskOutcome] = {}
    queue = iter(wanted)

    failures: list[BaseException] = []

    async def some() -> None:
        for one in queue:
            if failures:
                return
            try:
                outcomes[one.index] = await _fetch(storage, one, scratch, deal_id, key)
            except Exception as error:
                failures.append(error)
                return
            if len(outcomes) % 10 == 0 or len(outcomes) == len(wanted):
                on_progress(Progress(Phase.FETCHING, f"{len(outcomes)} of {len(wanted)} results verified"))

    # Nobody is cancelled after a failure: a thread that still unpacks would write into a folder that is being removed.
    await asyncio.gather(*(some() for _ in range(_FETCHES_AT_ONCE)))
    if failures:
        raise failures[0]
    return [outcomes[one.index] for one in wanted]


async def _fetch(
    storage: StorageClient, one: _Wanted, scratch: Path, deal_id: str, key: ResultKeys | None
) -> TaskOutcome:
    if not one.cid:
        return TaskOutcome(one.index, one.digest, "", one.run_id, None, None)
    archive = scratch / f"{one.index}.zip"
    await storage.fetch(one.cid, archive, max_bytes=one.max_bytes)
    archive = await opened(archive, deal_id, one.index, key)
    folder = scratch / str(one.index)

    def verify() -> dict[str, Any] | None:
        found = archive_digest(archive)
        if found != one.digest:
            raise VerificationError(
                f"The result of task {one.index} in storage has the digest {found}, its workers agreed on "
                f"{one.digest}. Nothing was written. Keep CID {one.cid} as evidence against the pool."
            )
        extract_archive(archive, folder, max_bytes=MAX_RESULT_BYTES, max_files=MAX_RESULT_FILES)
        archive.unlink()
        return error_in_folder(folder)

    return TaskOutcome(one.index, one.digest, one.cid, one.run_id, folder, await asyncio.to_thread(verify))


def _write(outcome: TaskOutcome, scratch: Path, out: Path) -> TaskOutcome:
    if outcome.folder is None:
        return outcome
    target = out / str(outcome.index)
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UsageError(f"{target} is in the way of a result. Move it, and fetch again with `fairgrid result`.")
    target.mkdir(exist_ok=True)
    for path in _files(outcome.folder):
        move_into(outcome.folder, path, target)
    return TaskOutcome(outcome.index, outcome.digest, outcome.cid, outcome.run_id, target, outcome.error)


def _files(folder: Path) -> Iterable[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
