"""What the scheduler's loop does not wait for: uploads are checked, tasks compared with the chain, payments repeated.

Each errand runs beside the loop, and its answer is an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.core.events import EffectFailed, Event
from fairgrid.pool.core.instructions import PayAuditor, VerifyUpload
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.jobs.run_uploads import verify_run_upload
from fairgrid.pool.jobs.task_keys import PrivateKeys
from fairgrid.pool.jobs.uploads import verify_upload
from fairgrid.seams.clock import Clock
from fairgrid.storage.client import StorageClient

__all__ = ["Errands"]

_CHECKS_AT_ONCE = 16
_PAY_AGAIN_S = 60.0


class Errands:
    """Runs errands in the task group that it was given (`within`), until they are cancelled."""

    def __init__(
        self,
        *,
        storage: StorageClient,
        scratch: Path,
        clock: Clock,
        policy: Callable[[], Policy],
        feed: Callable[[Event], None],
        reconcile: Callable[[str], Awaitable[None]],
        pay_auditors: Callable[[], Awaitable[None]],
        private_keys: Callable[[str], PrivateKeys],
    ) -> None:
        """``scratch`` is a folder for uploads that are being checked. ``reconcile`` has a task compared with the chain
        now; ``pay_auditors`` sends again what failed of their rewards; ``private_keys`` are those of a task, by its id.
        """
        self._storage = storage
        self._scratch = scratch
        self._clock = clock
        self._policy = policy
        self._feed = feed
        self._reconcile = reconcile
        self._pay_auditors = pay_auditors
        self._private_keys = private_keys
        self._group: asyncio.TaskGroup | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)

    def within(self, group: asyncio.TaskGroup | None) -> None:
        """Run them in this group from now on; None: there is none any more."""
        self._group = group

    def cancel(self) -> None:
        """End all that are under way."""
        for errand in self._under_way:
            errand.cancel()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done beside the loop; while the pool ends nothing begins, for a start derives it anew."""
        assert self._group is not None
        try:
            errand = self._group.create_task(work)
        except RuntimeError:
            work.close()
            return
        self._under_way.add(errand)
        errand.add_done_callback(self._under_way.discard)

    def misfit(self, task_id: str) -> None:
        """An event did not fit this task: it is compared with the chain."""
        self.start(self.reconcile(task_id))

    async def reconcile(self, task_id: str) -> None:
        """Compare a task with the chain, however long the chain does not answer."""
        while True:
            try:
                await self._reconcile(task_id)
                return
            except ServiceUnavailable:
                await self._clock.sleep(1.0)

    async def effect_failed(self, event: EffectFailed) -> None:
        """A transaction failed: the scheduler is told when it knows where the chain is."""
        if event.step == PayAuditor.__name__.lower():
            self.start(self._pay_again())
            return
        await self.reconcile(event.task_id)
        self._feed(event)

    async def _pay_again(self) -> None:
        await self._clock.sleep(_PAY_AGAIN_S)
        await self._pay_auditors()

    async def verify(self, instruction: VerifyUpload) -> None:
        """Check an upload; at most 16 are checked at once."""
        scratch, policy = self._scratch, self._policy()
        max_bytes = policy.max_archive_bytes
        keys = self._private_keys(instruction.task_id)
        async with self._checks:
            if instruction.count:
                sample = policy.batch_checked_results
                answer = await verify_run_upload(
                    instruction,
                    self._storage,
                    scratch=scratch,
                    max_bytes=max_bytes,
                    sample=sample,
                    key=keys.of_result,
                    is_private=keys.is_private,
                )
            else:
                answer = await verify_upload(
                    instruction,
                    self._storage,
                    scratch=scratch,
                    max_bytes=max_bytes,
                    key=partial(keys.of_result, keys.index),
                    is_private=keys.is_private,
                )
            self._feed(answer)
