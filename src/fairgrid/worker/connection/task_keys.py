"""The keys of private jobs, asked of the pool when they are needed. They are in this process's memory only.

A worker that was started again asks again: nothing of a key is stored, plain or sealed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from fairgrid.errors import HostFailure, ServiceUnavailable
from fairgrid.protocol.data_keys import TaskKeys
from fairgrid.protocol.hexes import from_hex, to_hex32
from fairgrid.protocol.pool_messages import TaskKey
from fairgrid.protocol.sealing import EncryptionKey, encryption_key_of, worker_key_message
from fairgrid.protocol.worker_messages import TaskKeyRequest
from fairgrid.wallet.signer import Signer
from fairgrid.worker.connection.link import LinkOptions
from fairgrid.worker.core.held import HeldTask

__all__ = ["TaskKeyAsker"]

_ANSWER_WITHIN_S: Final = 15.0
_REMEMBERED: Final = 256


class TaskKeyAsker:
    """Asks one pool. ``tell`` sends a message, and is False while the pool is not connected."""

    def __init__(
        self, pool: LinkOptions, *, signer: Signer, worker: str, tell: Callable[[TaskKeyRequest], bool]
    ) -> None:
        self._pool = pool
        self._signer = signer
        self._worker = worker
        self._tell = tell
        self._own: EncryptionKey | None = None
        self._asked: dict[str, asyncio.Future[TaskKey]] = {}
        self._known: OrderedDict[str, TaskKeys] = OrderedDict()

    def __repr__(self) -> str:
        return f"TaskKeyAsker({self._pool.url!r})"

    async def keys_of(self, held: HeldTask) -> TaskKeys:
        """The keys of a task, or of the tasks of a run, that this worker has a lease of.

        Raises:
            ServiceUnavailable: the pool is not connected, or cannot say now.
            HostFailure: it does not give the key to this worker.
            VerificationError: it sent something that is no key for it.
        """
        known = self._known.get(held.task_id)
        if known is None:
            known = await self._ask(held)
        self._known[held.task_id] = known
        self._known.move_to_end(held.task_id)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known

    def forget(self, task_id: str) -> None:
        """The task is over, or not this worker's any more."""
        self._known.pop(task_id, None)

    def answered(self, message: TaskKey) -> None:
        """Take the pool's answer; one that nobody waits for is dropped."""
        asked = self._asked.get(message.task_id)
        if asked is not None and not asked.done():
            asked.set_result(message)

    async def _ask(self, held: HeldTask) -> TaskKeys:
        pool, task_id = self._pool, held.task_id
        own = await asyncio.to_thread(self._key)
        context = worker_key_message(pool.chain_id, pool.hub, pool.workerpool, self._worker, task_id, own.public)
        signature = await asyncio.to_thread(self._signer.sign_message, context)
        answer = self._asked.get(task_id)
        if answer is None or answer.done():
            answer = self._asked[task_id] = asyncio.get_running_loop().create_future()
        try:
            if not self._tell(TaskKeyRequest(held.lease_id, task_id, to_hex32(own.public), signature)):
                raise ServiceUnavailable("pool", pool.url, "the key of a private job is asked for when it is back")
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                message = await asyncio.shield(answer)
        except TimeoutError:
            raise ServiceUnavailable("pool", pool.url, "it did not send the key of a private job") from None
        finally:
            if self._asked.get(task_id) is answer:
                del self._asked[task_id]
        if message.sealed is None:
            reason = message.reason or "it gives no reason"
            if message.lasting:
                raise HostFailure(f"The pool does not give this worker the key of the private job: {reason}")
            raise ServiceUnavailable("pool", pool.url, f"it cannot send the key of a private job now: {reason}")
        return TaskKeys.from_bytes(own.open(from_hex(message.sealed), context))

    def _key(self) -> EncryptionKey:
        if self._own is None:
            self._own = encryption_key_of(self._signer.sign_message)
        return self._own
