"""Gives jobs their graphics processors: those of this machine by number, or so many of an engine's, which chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from fairgrid.protocol.abilities import gpu_fault
from fairgrid.protocol.needs import GpuNeed
from fairgrid.runtime.gpus import GpuDevice, GpuShelf, fitting
from fairgrid.worker.owner.policy import WorkerPolicy

__all__ = ["EngineGpus", "Gpus", "MachineGpus", "NoGpus"]


class Gpus(Protocol):
    """What a worker has of them."""

    def given(self) -> tuple[GpuDevice, ...]:
        """Those that jobs may use, as the pool is to be told."""
        ...

    def refusal(self, runtime_id: str, need: GpuNeed) -> str | None:
        """Why a job with this need is never run here; None when it is."""
        ...

    def lease(self, need: GpuNeed) -> AbstractAsyncContextManager[tuple[int, ...]]:
        """Numbers for one job while the block runs.

        Raises:
            HostFailure: there are none, or not in time.
        """
        ...


class MachineGpus:
    """Implements `Gpus` with those of this machine that the owner gives; the policy may change at any time."""

    def __init__(
        self, devices: Sequence[GpuDevice], policy: Callable[[], WorkerPolicy], shelf: GpuShelf | None = None
    ) -> None:
        self._devices = tuple(devices)
        self._policy = policy
        self._shelf = shelf if shelf is not None else GpuShelf()

    def given(self) -> tuple[GpuDevice, ...]:
        """See `Gpus`."""
        allowed = self._policy().gpus
        return tuple(one for one in self._devices if allowed is None or one.number in allowed)

    def refusal(self, runtime_id: str, need: GpuNeed) -> str | None:
        """See `Gpus`."""
        return _refusal(runtime_id, need, self.given(), self._policy().gpu_jobs)

    @asynccontextmanager
    async def lease(self, need: GpuNeed) -> AsyncIterator[tuple[int, ...]]:
        """See `Gpus`. Two jobs have the same one only where the policy's ``gpu_jobs`` says so."""
        async with self._shelf.lease(self.given(), need, jobs_each=self._policy().gpu_jobs) as numbers:
            yield numbers


class EngineGpus:
    """Implements `Gpus` for an engine, of whose nodes nobody here knows the numbers: a cell says how many it wants."""

    def __init__(self, example: GpuDevice, count: int) -> None:
        """``example`` is what the engine's trial found; ``count`` what the owner says that cells may hold at once."""
        self._given = (example,) * count

    def given(self) -> tuple[GpuDevice, ...]:
        """See `Gpus`."""
        return self._given

    def refusal(self, runtime_id: str, need: GpuNeed) -> str | None:
        """See `Gpus`."""
        return _refusal(runtime_id, need, self._given, 1)

    @asynccontextmanager
    async def lease(self, need: GpuNeed) -> AsyncIterator[tuple[int, ...]]:
        """See `Gpus`. The numbers only count: the node's own take their place there."""
        yield tuple(range(need.count))


class NoGpus:
    """Implements `Gpus` where there are none."""

    def given(self) -> tuple[GpuDevice, ...]:
        """None."""
        return ()

    def refusal(self, runtime_id: str, need: GpuNeed) -> str | None:
        """See `Gpus`."""
        return _refusal(runtime_id, need, (), 1)

    def lease(self, need: GpuNeed) -> AbstractAsyncContextManager[tuple[int, ...]]:
        """Always fails; see `Gpus`."""
        return GpuShelf().lease((), need)


def _refusal(runtime_id: str, need: GpuNeed, given: Sequence[GpuDevice], jobs_each: int) -> str | None:
    fault = gpu_fault(runtime_id)
    if fault is not None:
        return fault
    fit = len(fitting(given, need, jobs_each=jobs_each))
    if fit >= need.count:
        return None
    return (
        f"The job asks for {need.count} graphics processor(s) (model {need.model or 'any'}, {need.memory_bytes >> 20} "
        f"MiB each), and {fit} of the {len(given)} that this worker gives fit."
    )
