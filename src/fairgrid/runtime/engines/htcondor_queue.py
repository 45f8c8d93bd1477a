"""HTCondor: a job for each cell, those that come together in one submission, through the official Python bindings."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fairgrid.errors import HostFailure, UsageError
from fairgrid.runtime.engines.interface import Cell
from fairgrid.runtime.engines.options import EngineOptions
from fairgrid.runtime.engines.queue_engine import CellQueue, Seen, SeenState

try:
    import classad2
    import htcondor2
except ImportError as error:
    raise UsageError("The engine htcondor needs its package: pip install 'fairgrid[htcondor]'") from error

__all__ = ["HTCondorQueue", "make_queue", "submit_description"]

_ATTRIBUTES: Final = (
    *("ClusterId", "ProcId", "JobStatus", "RemoteHost", "LastRemoteHost"),
    *("HoldReason", "HoldReasonCode", "LastRejMatchReason"),
)
_HELD_FOR: Final[Mapping[int, str]] = {
    3: "its node was lost, or it had to make room",
    34: "it used more than it was given",
    46: "HTCondor ended it at its time limit",
    47: "HTCondor ended it at its time limit",
}
"""By number, which is the same in every version; the words of a reason are not. 3 is our own ``periodic_hold``."""
_IDLE, _RUNNING, _REMOVED, _COMPLETED, _HELD, _TRANSFERRING, _SUSPENDED = 1, 2, 3, 4, 5, 6, 7
_OWNER_ATTRIBUTE: Final = "FairgridWorker"
_GONE_S: Final = 60.0


def submit_description(limits: tuple[int, int, int, int], options: EngineOptions, *, prefix: str, python: str) -> Any:
    """What a batch of cells of one size says to the schedd; each item brings ``folder`` and ``name``.

    Raises:
        HostFailure: HTCondor's own parser refuses what the owner added.
    """
    wall_s, memory_mb, cpus, gpus = limits
    words = {
        "universe": "vanilla",
        "executable": python,
        "transfer_executable": "false",
        "should_transfer_files": "no",
        "arguments": "\"-m fairgrid.runtime.engines.cell '$(folder)'\"",
        "getenv": "PATH, HOME, LANG, XDG_CACHE_HOME, FAIRGRID_CACHE",
        "initialdir": "/",
        "error": "$(folder)/said",
        "request_cpus": str(cpus),
        "request_memory": f"{memory_mb}MB",
        "allowed_execute_duration": str(wall_s),
        # A job that was evicted would run a second time by itself: the pool decides that, not the queue.
        "periodic_hold": "(NumJobStarts >= 1) && (JobStatus == 1)",
        "periodic_hold_reason": '"evicted"',
        "max_retries": "0",
        "job_max_vacate_time": "20",
        "leave_in_queue": "false",
        "batch_name": prefix,
        f"My.{_OWNER_ATTRIBUTE}": f'"{prefix}"',
        "My.FairgridCell": '"$(name)"',
    }
    if gpus:
        words["request_gpus"] = str(gpus)
    if options.account:
        words["accounting_group"] = options.account
    for line in options.submit:
        key, _, value = line.partition("=")
        words[key.strip().replace("+", "My.")] = value.strip()
    try:
        for name in ("requirements", "rank"):
            if name in words:
                classad2.ExprTree(words[name])
        return htcondor2.Submit(words)
    except (htcondor2.HTCondorException, classad2.ClassAdException, ValueError, SyntaxError) as error:
        raise HostFailure(f"HTCondor refuses the lines of [engine] submit: {error}") from error


class HTCondorQueue:
    """Implements `CellQueue` on the schedd of this machine, or another that stands for one."""

    def __init__(self, options: EngineOptions, *, prefix: str, python: str, schedd: Any = None) -> None:
        """``schedd`` None: the one that HTCondor's configuration names.

        Raises:
            HostFailure: there is none.
        """
        self._options = options
        self._prefix = prefix
        self._python = python
        try:
            self._schedd = schedd if schedd is not None else htcondor2.Schedd()
        except Exception as error:
            raise HostFailure(
                f"There is no HTCondor schedd here: {error}. Start the worker on an access point of the pool."
            ) from error
        self._mine = f'{_OWNER_ATTRIBUTE} == "{prefix}"'

    @property
    def name(self) -> str:
        """What people call it."""
        return "htcondor"

    def refusal(self, cell: Cell) -> str | None:
        """Why a cell cannot be told to HTCondor; None when it can."""
        text = str(cell.folder)
        if any(sign in text for sign in "'\"$\n") or " " in text:
            return f"its folder {text!r} has a sign in its name that a submit description cannot hold"
        return None

    async def submit(self, cells: Sequence[Cell]) -> list[str]:
        """One submission for each size of cell; see `CellQueue`."""
        groups: dict[tuple[int, int, int, int], list[Cell]] = {}
        for cell in cells:
            groups.setdefault(_limits(cell, self._options), []).append(cell)
        ids: dict[str, str] = {}
        try:
            for limits, group in groups.items():
                description = submit_description(limits, self._options, prefix=self._prefix, python=self._python)
                items = [{"folder": str(cell.folder), "name": cell.name} for cell in group]
                result = await self._call(self._schedd.submit, description, itemdata=iter(items))
                first = int(result.first_proc())
                for place, cell in enumerate(group):
                    ids[cell.name] = f"{result.cluster()}.{first + place}"
        except HostFailure:
            if ids:
                await self._remove(list(ids.values()))
            raise
        return [ids[cell.name] for cell in cells]

    async def look(self, cells: Mapping[str, Cell]) -> Mapping[str, Seen]:
        """One query for all; see `CellQueue`. What ended has left the queue."""
        ads = await self._call(self._schedd.query, constraint=self._mine, projection=list(_ATTRIBUTES))
        seen = {f"{ad['ClusterId']}.{ad['ProcId']}": _seen(ad) for ad in ads}
        return {engine_id: seen[engine_id] for engine_id in cells if engine_id in seen}

    async def end(self, cells: Mapping[str, Cell]) -> None:
        """One removal for all; see `CellQueue`."""
        await self._remove(list(cells))

    async def _remove(self, ids: list[str]) -> None:
        await self._call(
            self._schedd.act, htcondor2.JobAction.Remove, ids, reason="the worker does not want it any more"
        )

    async def sweep(self) -> int:
        """Remove what a killed worker left; see `CellQueue`."""
        left = await self._call(self._schedd.query, constraint=self._mine, projection=list(_ATTRIBUTES))
        if not left:
            return 0
        await self._call(self._schedd.act, htcondor2.JobAction.Remove, self._mine, reason="its worker is gone")
        try:
            async with asyncio.timeout(_GONE_S):
                while await self._call(self._schedd.query, constraint=self._mine, projection=["JobStatus"]):  # noqa: ASYNC110
                    await asyncio.sleep(min(self._options.poll_s, 1.0))
        except TimeoutError:
            raise HostFailure(f"HTCondor does not remove the jobs with {self._mine}.") from None
        return len(left)

    async def close(self) -> None:
        """Nothing is held."""

    async def _call(self, function: Any, *words: Any, **named: Any) -> Any:
        try:
            return await asyncio.to_thread(function, *words, **named)
        except HostFailure:
            raise
        except Exception as error:
            raise HostFailure(f"HTCondor's schedd: {error}") from error


def _limits(cell: Cell, options: EngineOptions) -> tuple[int, int, int, int]:
    memory = math.ceil((cell.memory_bytes + options.memory_overhead_bytes) / (1 << 20))
    return math.ceil(cell.limit_s), memory, cell.cpus, cell.gpus


def _seen(ad: Mapping[str, Any]) -> Seen:
    node = str(ad.get("RemoteHost", "") or ad.get("LastRemoteHost", "") or "").rpartition("@")[2]
    match int(ad["JobStatus"]):
        case status if status in (_RUNNING, _TRANSFERRING, _SUSPENDED):
            return Seen(SeenState.RUNNING, node)
        case status if status == _IDLE:
            return Seen(SeenState.WAITING, node, str(ad.get("LastRejMatchReason", "") or "no machine has matched yet"))
        case status if status == _HELD:
            why = _HELD_FOR.get(int(ad.get("HoldReasonCode", 0) or 0), "HTCondor holds it")
            return Seen(SeenState.LOST, node, f"{why}: {ad.get('HoldReason', 'no reason given')}")
        case status if status == _REMOVED:
            return Seen(SeenState.LOST, node, "somebody removed it")
        case _:
            return Seen(SeenState.ENDED, node)


def make_queue(options: EngineOptions, *, prefix: str, python: str) -> CellQueue:
    """The queue; see `fairgrid.runtime.engines.opening`."""
    return HTCondorQueue(options, prefix=prefix, python=python)
