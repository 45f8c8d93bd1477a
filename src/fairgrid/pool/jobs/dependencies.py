"""Tasks that read the results of other tasks start when these are COMPLETED on chain, whoever computed them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from fairgrid.chain.interface import Chain
from fairgrid.errors import ManifestError, ServiceUnavailable
from fairgrid.pool.core.events import DependenciesMet, DependencyFailed, Event
from fairgrid.pool.jobs.manifests import ManifestReader
from fairgrid.protocol.runs import units_of
from fairgrid.protocol.views import Deal, TaskStatus
from fairgrid.seams.clock import Clock

__all__ = ["DependencyKeeper"]

_log = structlog.get_logger(__name__)

_POLL_S = 1.0
_PATIENCE_S = 3.0
"""A deal is not kept from the scheduler for longer because storage is slow."""
_LOOKS_AT_ONCE = 50
_LONGEST_PAUSE_S = 15.0


@dataclass(slots=True)
class _Awaited:
    """One task on which others depend."""

    waiting: set[str] = field(default_factory=set)


class DependencyKeeper:
    """Looks at what tasks wait for, a bounded number at a time, and feeds `DependenciesMet` or `DependencyFailed`.

    Nothing is stored: the scheduler asks again for every waiting task after a restart.
    """

    def __init__(
        self,
        *,
        chain: Chain,
        manifests: ManifestReader,
        clock: Clock,
        feed: Callable[[Event], None],
        waits: Callable[[str], bool],
    ) -> None:
        """``waits`` says whether a task still waits: one that is over is not looked after any more."""
        self._chain = chain
        self._manifests = manifests
        self._clock = clock
        self._feed = feed
        self._waits = waits
        self._unread: OrderedDict[str, tuple[str, int, int]] = OrderedDict()
        self._missing: dict[str, set[str]] = {}
        self._awaited: OrderedDict[str, _Awaited] = OrderedDict()

    async def may_wait(self, deal: Deal) -> bool:
        """Whether a deal's tasks may read the results of others; True as well while nobody can say. Never raises."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                manifest = await self._manifests.manifest_of(deal.params)
        except (ServiceUnavailable, TimeoutError):
            return True
        if manifest is None:
            return False
        return bool(manifest.dependencies) or any(item.dependencies for item in manifest.items)

    def await_for(self, task_id: str, deal_id: str, index: int, *, count: int = 0) -> None:
        """Find out what a task, or a run of ``count`` tasks from ``index`` on, waits for, and say when that is there;
        asking twice changes nothing.
        """
        if task_id not in self._missing:
            self._unread[task_id] = (deal_id, index, units_of(count))

    def forget(self, task_id: str) -> None:
        """The task is over, or waits no more."""
        self._unread.pop(task_id, None)
        for dependency in self._missing.pop(task_id, ()):
            awaited = self._awaited.get(dependency)
            if awaited is not None:
                awaited.waiting.discard(task_id)
                if not awaited.waiting:
                    del self._awaited[dependency]

    async def keep(self) -> None:
        """Read and look, for ever. A chain or storage that does not answer is asked again."""
        pause = _POLL_S
        while True:
            try:
                await self.look()
                pause = _POLL_S
            except ServiceUnavailable as error:
                _log.warning("dependencies wait", reason=str(error))
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            await self._clock.sleep(pause)

    async def look(self) -> None:
        """One round: what new tasks wait for, then the least recently seen of what is awaited.

        Raises:
            ServiceUnavailable: chain or storage does not answer; what was not seen is seen in the next round.
        """
        for task_id in [task_id for task_id in (*self._unread, *self._missing) if not self._waits(task_id)]:
            self.forget(task_id)
        for task_id in list(self._unread)[:_LOOKS_AT_ONCE]:
            entry = self._unread.get(task_id)
            if entry is not None:
                await self._read(task_id, *entry)
        for dependency in list(self._awaited)[:_LOOKS_AT_ONCE]:
            await self._see(dependency)

    async def _read(self, task_id: str, deal_id: str, first: int, count: int) -> None:
        deal = await self._chain.view_deal(deal_id)
        if deal is None:
            return  # A reorganisation took it back: it is read when it is there again, or the task is over.
        manifest = await self._manifests.manifest_of(deal.params)
        missing: set[str] = set()
        for index in range(first, first + count):
            if manifest is None:
                break
            try:
                missing |= {reference.task for reference in manifest.dependencies_of(index)}
            except ManifestError:
                break  # Workers say so, each by itself.
        if self._unread.pop(task_id, None) is None:
            return
        if not missing:
            self._feed(DependenciesMet(task_id))
            return
        self._missing[task_id] = missing
        for dependency in missing:
            self._awaited.setdefault(dependency, _Awaited()).waiting.add(task_id)

    async def _see(self, dependency: str) -> None:
        if dependency not in self._awaited:
            return
        task = await self._chain.view_task(dependency)
        awaited = self._awaited.get(dependency)
        if awaited is None:
            return
        if task.status is TaskStatus.COMPLETED:
            for task_id in sorted(awaited.waiting):
                missing = self._missing[task_id]
                missing.discard(dependency)
                if not missing:
                    del self._missing[task_id]
                    self._feed(DependenciesMet(task_id))
            del self._awaited[dependency]
        elif task.status is TaskStatus.FAILED:
            for task_id in sorted(awaited.waiting):
                self.forget(task_id)
                self._feed(DependencyFailed(task_id, dependency))
        else:
            self._awaited.move_to_end(dependency)
