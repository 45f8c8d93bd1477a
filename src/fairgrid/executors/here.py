"""Tasks on this machine, in the sandbox that workers use: no chain, no money, nobody else. For trying out and tests."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from fairgrid.client.job import Job, JobRuntime
from fairgrid.client.prepared_job import run_locally
from fairgrid.errors import BudgetExceeded, UsageError
from fairgrid.executors.backend import AppProgram, DealJob, SignedDeal, TaskEnding, Terms
from fairgrid.executors.runtimes import NATIVE_RUNTIME
from fairgrid.protocol.certificate import Certificate
from fairgrid.protocol.hexes import keccak, to_hex32
from fairgrid.runtime.catalogue import runtime_info
from fairgrid.runtime.interface import Sandbox
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.process.provider import provider as native_provider
from fairgrid.runtime.removal import remove_tree
from fairgrid.runtime.wasm.interpreters import default_runtime_id, install_interpreter

__all__ = ["HereBackend", "job_of"]

_TIMEREF_S: Final = 300
_READY: Final = 4
"""Most processes that are started ahead."""


def job_of(deal: DealJob, runtime_id: str, reach: tuple[str, ...] = ()) -> Job:
    """A deal's job as `fairgrid.client.job` has it; a published app brings its own runtime and hosts."""
    app = deal.app
    if app is None:
        job = Job(deal.script, deal.inputs, (), JobRuntime.of(runtime_id)).connecting_to(reach)
    else:
        job = Job(deal.script, deal.inputs, (), JobRuntime.of(app.runtime), memory_bytes=app.memory_bytes)
        job = replace(job, app=app.address, label=deal.job_name).connecting_to(app.reach)
    job = job.as_bag([task.arguments for task in deal.tasks])
    more = tuple(task.inputs for task in deal.tasks)
    return replace(job, item_inputs=more) if any(more) else job


class HereBackend:
    """Runs deals in processes of this machine; signed ones are noted in ``folder``.

    ``price_nrlc`` is a pretended price of each task, to try budgets out.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sandbox: Sandbox | None = None,
        slots: int | None = None,
        price_nrlc: int = 0,
        runtime_id: str = "",
        reach: tuple[str, ...] = (),
    ) -> None:
        self._folder = folder
        self._runtime_id = runtime_id or default_runtime_id()
        self._reach = reach
        self._sandbox = sandbox
        self._price = price_nrlc
        self._most_at_once = slots or os.cpu_count() or 1
        self._slots: asyncio.Semaphore | None = None
        self._jobs: dict[str, DealJob] = {}

    async def open(self) -> None:
        """Install the interpreter if need be; that takes a minute once."""
        # Made in the loop that waits for it: a backend may be opened again by another executor, in another loop.
        self._slots = asyncio.Semaphore(self._most_at_once)
        if self._sandbox is None and self._runtime_id == NATIVE_RUNTIME:
            self._sandbox = native_provider(runtime_info(NATIVE_RUNTIME)).sandbox()
        elif self._sandbox is None:
            installed = await asyncio.to_thread(install_interpreter, self._runtime_id)
            self._sandbox = installed.sandbox(ready=min(self._most_at_once, _READY))

    async def close(self) -> None:
        """End the processes that wait for tasks."""
        if self._sandbox is not None:
            await self._sandbox.close()

    async def app(self, address: str) -> AppProgram:
        """There is none.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"The app {address} is registered on a chain, and 'here' has none. Name its network, such as "
            f"Executor('local'); `fairgrid app test` runs an app's project on this machine."
        )

    async def price(self, app: str = "") -> int:
        """The pretended price."""
        return self._price

    async def terms(self, tasks: int, app: str = "") -> Terms:
        """This machine alone, at the pretended price."""
        return Terms(self._price, 1, self._runtime_id, workers=self._most_at_once)

    async def certificate(self, deal_id: str, index: int) -> Certificate:
        """There is none.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "What ran on this machine alone has no certificate: nobody else computed it, and no chain knows of it. "
            "Run it on a network, such as Executor('local')."
        )

    async def deadline(self, deal_id: str) -> float | None:
        """Nothing is locked anywhere."""
        return None

    async def sign(self, job: DealJob, *, most: int) -> SignedDeal:
        """Note it.

        Raises:
            BudgetExceeded: its pretended price is more.
        """
        self._jobs[job.job_name] = job
        price = self._price * len(job.tasks)
        if price > most:
            raise BudgetExceeded(needed=price, left=most, budget=most)
        deal = SignedDeal(job.job_name, to_hex32(keccak(job.job_name.encode())), len(job.tasks), price)
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._note(job.job_name).with_suffix(".partial")
        partial.write_text(json.dumps(asdict(deal)))
        partial.replace(self._note(job.job_name))
        return deal

    async def find(self, job: DealJob) -> SignedDeal | None:
        """What was noted."""
        self._jobs[job.job_name] = job
        file = self._note(job.job_name)
        return SignedDeal(**json.loads(file.read_text())) if file.exists() else None

    async def match(self, deal: SignedDeal) -> None:
        """Nothing to do."""

    async def endings(self, deal: SignedDeal, out: Path) -> AsyncGenerator[TaskEnding, None]:
        """Compute every task, as many at once as there are slots."""
        job = job_of(self._jobs[deal.job_name], self._runtime_id, self._reach)
        running = [asyncio.ensure_future(self._run(job, index, out)) for index in range(deal.tasks)]
        try:
            for ended in asyncio.as_completed(running):
                yield await ended
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, job: Job, index: int, out: Path) -> TaskEnding:
        assert self._sandbox is not None and self._slots is not None
        folder = out / str(index)
        async with self._slots:
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
            try:
                result = await run_locally(
                    job,
                    timeref=_TIMEREF_S,
                    index=index,
                    workdir=folder,
                    sandbox=self._sandbox,
                    network=NetworkGrant(self._reach) if self._reach else None,
                )
            except asyncio.CancelledError:
                remove_tree(folder)
                raise
            except Exception as error:
                return TaskEnding(index, failure=error)
        return TaskEnding(index, result.result_folder, result.error)

    def _note(self, job_name: str) -> Path:
        return self._folder / f"{job_name}.json"
