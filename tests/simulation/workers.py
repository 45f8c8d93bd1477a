"""What a simulated worker computes, and how liars lie; everything else of a worker is the shipped agent."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from fairgrid.errors import HostFailure
from fairgrid.protocol import wire, worker_messages
from fairgrid.protocol.hexes import from_hex
from fairgrid.protocol.ids import task_id as id_of_task
from fairgrid.protocol.seals import seal_hash
from fairgrid.protocol.views import Deal, Task
from fairgrid.wallet.keys import KeySigner
from fairgrid.worker.core.events import Computed
from fairgrid.worker.core.held import HeldTask
from tests.simulation.faults import Counter, Fault
from tests.simulation.nodes import Node
from tests.simulation.storage import NodeStorage, Result, result_of, run_result_of

__all__ = ["SimulatedWork", "mangling", "right_answer"]

_TASKS_AT_ONCE = 3
"""So many tasks of a run take as long as one."""


def right_answer(task_id: str) -> str:
    """What an honest run of a task writes."""
    return f"the answer of {task_id}"


class SimulatedWork:
    """`fairgrid.worker.agent.TaskWork` without a sandbox. ``disk`` outlives the process."""

    def __init__(
        self,
        node: Node,
        disk: dict[str, Result],
        storage: NodeStorage,
        *,
        lie: Fault | None,
        seconds: Callable[[], float],
        breaks: Callable[[], bool],
        counter: Counter,
    ) -> None:
        self._node = node
        self._disk = disk
        self._storage = storage
        self._lie = lie
        self._seconds = seconds
        self._breaks = breaks
        self._counter = counter

    async def check_app(self, deal: Deal) -> str | None:
        return None

    async def download(self, held: HeldTask, deal: Deal, tell: Callable[[str], None]) -> None:
        await self._node.checkpoint("before a download")
        await asyncio.sleep(0.1)

    async def compute(self, held: HeldTask, deal: Deal, task: Task) -> Computed:
        seconds = self._seconds() * max(held.count / _TASKS_AT_ONCE, 1.0)
        await asyncio.sleep(seconds)
        if self._breaks():
            self._counter.count(Fault.BROKEN_MACHINE)
            raise HostFailure("This simulated machine broke.")
        result = self._result(held)
        await self._node.checkpoint("before a result is on disk")
        self._disk[held.task_id] = result
        await self._node.checkpoint("after a result is on disk")
        return Computed(held.task_id, result.digest, "0x", seconds, root=result.root)

    async def upload(self, held: HeldTask) -> str:
        result = self._disk.get(held.task_id)
        if result is None:
            raise HostFailure(f"The result of task {held.task_id} is not on disk any more.")
        if self._lie is Fault.OTHER_UPLOAD:
            self._counter.count(Fault.OTHER_UPLOAD)
            result = result_of(f"other bytes than those of {held.task_id}")
        for part in result.parts:
            await self._storage.add(part)
        return await self._storage.add(result.archive)

    async def check_run(self, held: HeldTask, deal: Deal, task: Task) -> str | None:
        return None

    def suspend(self) -> bool:
        return False

    def resume(self) -> None:
        """Nothing was suspended."""

    async def discard(self, held: HeldTask, outcome: str) -> None:
        if self._node.alive:
            self._disk.pop(held.task_id, None)

    async def sweep(self, held: Collection[HeldTask]) -> None:
        for task_id in set(self._disk) - {record.task_id for record in held}:
            del self._disk[task_id]

    def _result(self, held: HeldTask) -> Result:
        if not held.count:
            return result_of(self._content(held.task_id))
        tasks = (id_of_task(held.deal_id, held.index + place) for place in range(held.count))
        return run_result_of(held.index, tuple(map(self._content, tasks)))

    def _content(self, task_id: str) -> str:
        if self._lie is Fault.WRONG_DIGEST:
            self._counter.count(Fault.WRONG_DIGEST)
            return f"a lie of {self._node.name} about {task_id}"
        if self._lie is Fault.COLLUSION:
            self._counter.count(Fault.COLLUSION)
            return f"what the gang says about {task_id}"
        return right_answer(task_id)


def mangling(
    lie: Fault | None, signer: KeySigner, chain_id: int, hub: str, rng: random.Random, counter: Counter
) -> Callable[[str], str | None]:
    """What a liar changes in the frames that its machine sends; None: it does not send the frame."""
    if lie not in (Fault.OTHER_SEAL, Fault.SILENCE, Fault.STALLING):
        return lambda frame: frame
    opens_the_lie = rng.random() < 0.5
    other_digest = "0x" + "ab" * 32
    salts: dict[str, str] = {}

    def mangle(frame: str) -> str | None:
        message = json.loads(frame)
        kind = message["kind"]
        if lie is Fault.STALLING and kind == "seal":
            counter.count(Fault.STALLING)
            return None
        if lie is Fault.SILENCE and (kind == "opening" or (kind == "uploaded" and message.get("digest"))):
            counter.count(Fault.SILENCE)
            return None
        if lie is Fault.OTHER_SEAL and kind in ("seal", "opening"):
            return _sealed_otherwise(wire.decode_worker_message(frame))
        return frame

    def _sealed_otherwise(message: Any) -> str:
        if isinstance(message, worker_messages.Seal):
            counter.count(Fault.OTHER_SEAL)
            salt = salts.setdefault(message.task_id, "0x" + rng.randbytes(32).hex())
            seal = seal_hash(chain_id, hub, message.task_id, message.round, signer.address, other_digest, salt)
            return wire.encode(replace(message, seal=seal, signature=signer.sign_message(from_hex(seal))))
        if opens_the_lie:
            salt = salts.get(message.task_id, message.salt)
            return wire.encode(replace(message, digest=other_digest, salt=salt))
        return wire.encode(message)

    return mangle
