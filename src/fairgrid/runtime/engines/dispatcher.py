"""Runs many cells inside one Slurm allocation, each as a step: ``python -m fairgrid.runtime.engines.dispatcher SPOOL``.

It ends when its allocation is about to, when it had nothing to do for a while, and when its worker is silent: an
allocation never outlives who asked for it by more than that.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from fairgrid.runtime.engines.interface import cell_command
from fairgrid.runtime.engines.spool import Order, Spool

__all__ = ["Dispatcher", "Orders", "main"]

_MARGIN_S: Final = 15.0
_END_S: Final = 10.0
_TAIL: Final = 600


@dataclass(frozen=True, slots=True)
class Orders:
    """What the worker told it, in ``dispatcher.json``."""

    python: str
    slots: int
    cpus: int
    memory_mb_per_cpu: int
    lives_s: float
    idle_s: float
    silence_s: float
    poll_s: float

    def save(self, folder: Path) -> None:
        """Lay it down in a spool."""
        (folder / "dispatcher.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> Orders:
        """Read it."""
        return cls(**json.loads((folder / "dispatcher.json").read_bytes()))


class Dispatcher:
    """One allocation's dispatcher."""

    def __init__(self, spool: Spool, orders: Orders, *, allocation: str) -> None:
        self._spool = spool
        self._orders = orders
        self._allocation = allocation
        self._steps: dict[str, asyncio.Task[None]] = {}
        self._until = time.monotonic() + orders.lives_s
        self._busy_at = time.monotonic()
        self._beat = ("", time.monotonic())

    async def run(self) -> str:
        """Dispatch until there is a reason to end, which it gives; all steps are ended then."""
        try:
            while (reason := self._reason_to_end()) is None:
                for name in self._spool.names("unwanted"):
                    if name in self._steps:
                        self._steps[name].cancel()
                    elif self._spool.runs_in(name) in (None, self._allocation):
                        self._spool.finish(name, "it was not wanted any more")
                self._start()
                await asyncio.sleep(self._orders.poll_s)
            return reason
        finally:
            for step in self._steps.values():
                step.cancel()
            await asyncio.gather(*self._steps.values(), return_exceptions=True)

    def _start(self) -> None:
        if len(self._steps) >= self._orders.slots:
            return
        left_s = self._until - time.monotonic() - _MARGIN_S
        for name in self._spool.names("waiting"):
            if len(self._steps) >= self._orders.slots:
                return
            try:
                wanted = json.loads((self._spool.folder / "waiting" / name).read_bytes())["wall_s"]
            except (OSError, ValueError):
                continue
            if wanted > left_s:
                continue  # It would not finish here; the next allocation takes it.
            order = self._spool.take(name, self._allocation)
            if order is not None:
                self._steps[name] = asyncio.create_task(self._step(name, order, order.limit_s(left_s)))

    async def _step(self, name: str, order: Order, limit_s: float) -> None:
        orders = self._orders
        text = "it was ended with its allocation, or not wanted any more"
        try:
            process = await asyncio.create_subprocess_exec(
                *("srun", "--exact", "--nodes=1", "--ntasks=1", f"--cpus-per-task={orders.cpus}"),
                *(f"--mem-per-cpu={orders.memory_mb_per_cpu}M", f"--time={_minutes(limit_s)}"),
                *("--input=none", "--quiet", f"--job-name={name}"),
                *cell_command(orders.python, Path(order.folder)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                _, said = await process.communicate()
            except asyncio.CancelledError:
                await _end(process)
                raise
            tail = said[-_TAIL:].decode(errors="replace").strip()
            text = f"its step ended with status {process.returncode}: {tail}" if process.returncode else ""
        except OSError as error:
            text = f"srun cannot be started: {error}"
        finally:
            del self._steps[name]
            self._spool.finish(name, text)

    def _reason_to_end(self) -> str | None:
        now, orders = time.monotonic(), self._orders
        if self._steps or self._spool.names("waiting"):
            self._busy_at = now
        beat = self._spool.last_beat()
        if beat != self._beat[0]:
            self._beat = beat, now
        if now > self._until - _MARGIN_S:
            return "the allocation ends"
        if now > self._beat[1] + orders.silence_s:
            return "the worker is silent"
        if now > self._busy_at + orders.idle_s:
            return "there was nothing to do"
        return None


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.communicate(), _END_S)
        return
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _minutes(seconds: float) -> int:
    return int(-(-seconds // 60))


async def _until_told(folder: Path) -> None:
    dispatcher = Dispatcher(
        Spool(folder), Orders.load(folder), allocation=os.environ.get("SLURM_JOB_ID", "no allocation")
    )
    task = asyncio.ensure_future(dispatcher.run())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        sys.stderr.write(f"{await task}\n")


def main() -> None:
    """The command."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m fairgrid.runtime.engines.dispatcher SPOOL\n")
        raise SystemExit(2)
    asyncio.run(_until_told(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
