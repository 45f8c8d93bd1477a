"""An executor on this machine for tests: the real runner in a plain Python process, services that fail on demand."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from fairgrid.executors.backend import AppProgram, DealJob, DealVoid, SignedDeal, TaskEnding
from fairgrid.executors.executor import Executor
from fairgrid.executors.here import HereBackend
from fairgrid.executors.packing import Packing
from fairgrid.executors.places import Place
from fairgrid.executors.timing import Timing
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.runtime.wasm.interpreters import default_runtime_id

__all__ = ["QUICK", "Stage", "TroubledBackend"]

QUICK = Timing(window=0.01, longest_window=0.2, patience=30)


class PlainSandbox:
    """Runs the script in a process of this Python: no limits, but the very runner and the very files.

    A call that mentions ``exhaust_fuel`` ends its whole task, as a limit of the real sandbox would.
    """

    runtime_id = default_runtime_id()

    async def close(self) -> None:
        """Nothing is kept ready."""

    def suspend(self) -> bool:
        """It cannot."""
        return False

    def resume(self) -> None:
        """Nothing is suspended."""

    async def run(self, job: SandboxJob) -> Outcome:
        """Run to the end; cancelling kills the process."""
        lines: list[str] = []
        if job.arguments and (job.input_folder / job.arguments[0]).is_file():
            page, first, count = job.arguments
            lines = (job.input_folder / page).read_text().split("\n")[int(first) : int(first) + int(count)]
        if any("exhaust_fuel" in line for line in lines):
            return Outcome(Stop.FUEL, 0, b"", b"", job.limits.fuel, 0.0, 0)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-B", str(job.script), *job.arguments),
            cwd=job.output_folder,
            env={
                "PATH": os.defpath,
                "PYTHONPATH": str(job.input_folder),
                "PYTHONHASHSEED": "0",
                "IEXEC_IN": str(job.input_folder),
                "IEXEC_OUT": str(job.output_folder),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            stdout, stderr = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Outcome(Stop.EXITED, process.returncode or 0, stdout, stderr, 0, 0.0, 0)


class TroubledBackend(HereBackend):
    """Runs plainly; each method first asks ``trouble`` for an exception, by its name."""

    def __init__(
        self, folder: Path, *, price_nrlc: int = 0, trouble: Callable[[str], Exception | None] | None = None
    ) -> None:
        super().__init__(folder, sandbox=PlainSandbox(), slots=2, price_nrlc=price_nrlc)
        self.trouble = trouble or (lambda where: None)
        self.asked: list[str] = []
        self.signed: list[str] = []
        self.refunds = False
        self.apps: dict[str, AppProgram] = {}
        """Published ones, by address."""

    def _ask(self, where: str) -> None:
        self.asked.append(where)
        error = self.trouble(where)
        if error is not None:
            raise error

    async def open(self) -> None:
        self._ask("open")
        await super().open()

    async def app(self, address: str) -> AppProgram:
        self._ask("app")
        return self.apps[address] if address in self.apps else await super().app(address)

    async def price(self, app: str = "") -> int:
        self._ask("price")
        return await super().price(app)

    async def sign(self, job: DealJob, *, most: int) -> SignedDeal:
        self._ask("sign")
        deal = await super().sign(job, most=most)
        self.signed.append(job.job_name)
        return deal

    async def match(self, deal: SignedDeal) -> None:
        self._ask("match")

    async def endings(self, deal: SignedDeal, out: Path) -> AsyncGenerator[TaskEnding, None]:
        self._ask("endings")
        if self.refunds:
            for index in range(deal.tasks):
                yield TaskEnding(index, refunded=True)
            return
        async for ending in super().endings(deal, out):
            yield ending


class Stage:
    """A folder for runs, and executors on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = TroubledBackend(folder / "deals")
        self.packages: frozenset[str] = frozenset()

    def troubled(self, trouble: Callable[[str], Exception | None] | None = None, *, price_nrlc: int = 0) -> None:
        """From now on executors meet trouble, or pretend to pay."""
        self.backend = TroubledBackend(self.folder / "deals", price_nrlc=price_nrlc, trouble=trouble)

    @property
    def place(self) -> Place:
        """Where executors work."""
        return Place(self.backend, self.folder / "runs", self.packages)

    def executor(self, **options: Any) -> Executor:
        """A new run."""
        options.setdefault("timing", QUICK)
        options.setdefault("packing", Packing(width=2))
        return Executor(self.place, **options)

    def resume(self, run_id: str, **options: Any) -> Executor:
        """An old run, as another process would find it."""
        options.setdefault("timing", QUICK)
        self.backend = TroubledBackend(self.folder / "deals", price_nrlc=self.backend._price)
        return Executor.resume(run_id, self.place, **options)

    def plans(self) -> list[dict[str, Any]]:
        """What is planned on disk, over all runs."""
        return [json.loads(file.read_text()) for file in sorted((self.folder / "runs").glob("*/deal-*/plan.json"))]


def void(times: int) -> Callable[[str], Exception | None]:
    """The first signed deals are displaced by another transaction."""
    left = [times]

    def trouble(where: str) -> Exception | None:
        if where == "match" and left[0]:
            left[0] -= 1
            return DealVoid("another transaction took its place")
        return None

    return trouble
