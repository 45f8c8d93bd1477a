"""Graphics processors of one machine: which there are, and who has which just now.

A processor is taken by a lock on a file, so that it holds among all of one user's processes (several workers, cells of
an engine), and ends with the process that took it, however that ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fairgrid.errors import HostFailure

if TYPE_CHECKING:
    # It comes with the checks of claims, which a cell does not need.
    from fairgrid.protocol.needs import GpuNeed

__all__ = [
    "GPU_WAIT_S",
    "GpuDevice",
    "GpuShelf",
    "devices_in",
    "devices_of_process",
    "fitting",
    "gpus_given",
]

GPU_WAIT_S: Final = 120.0
"""How long a job waits for processors that others are about to give back, before it is handed back."""
_LOOK_S: Final = 0.2
_GIVEN: Final = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_FIELDS: Final = 5


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """One graphics processor, as NVIDIA's driver tells of it."""

    number: int
    uuid: str
    """``GPU-…``."""
    model: str
    memory_bytes: int


def devices_in(text: str) -> tuple[GpuDevice, ...]:
    """The processors in what `fairgrid.runtime.engines.node` asked NVIDIA's tool; none where it says anything else.

    One that is cut into MIG slices is left out: it cannot be passed as a whole.
    """
    found = []
    for line in text.splitlines():
        words = [word.strip() for word in line.split(",")]
        if not line.strip():
            continue
        # A model's name may hold commas; the other words cannot.
        number, uuid, model = words[0], words[1] if len(words) > 1 else "", ", ".join(words[2:-2])
        if len(words) < _FIELDS or not number.isdecimal() or not words[-2].isdecimal():
            return ()
        if words[-1].lower() != "enabled":
            found.append(GpuDevice(int(number), uuid, model[:100], int(words[-2]) << 20))
    return tuple(found)


def fitting(devices: Sequence[GpuDevice], need: GpuNeed, *, jobs_each: int = 1) -> tuple[GpuDevice, ...]:
    """The processors that are of the asked model, and whose share of memory is enough."""
    return tuple(
        device
        for device in devices
        if need.model in device.model.lower() and device.memory_bytes // jobs_each >= need.memory_bytes
    )


class GpuShelf:
    """The processors of this machine, given out by number."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder`` holds the locks; None: one that all processes of this user share."""
        self._folder = folder if folder is not None else Path(tempfile.gettempdir()) / f"fairgrid-gpus-{os.getuid()}"

    @asynccontextmanager
    async def lease(
        self,
        devices: Sequence[GpuDevice],
        need: GpuNeed,
        *,
        jobs_each: int = 1,
        wait_s: float = GPU_WAIT_S,
    ) -> AsyncIterator[tuple[int, ...]]:
        """Numbers of ``need.count`` different processors that nobody else has while the block runs.

        With ``jobs_each`` above 1 so many jobs share a processor, each with an equal part of its memory.

        Raises:
            HostFailure: there are not so many that fit, or they are not free within ``wait_s``.
        """
        numbers = _numbers(devices, need, jobs_each)
        ends_at = time.monotonic() + wait_s
        while (taken := await asyncio.to_thread(self._take, numbers, need.count, jobs_each)) is None:
            if time.monotonic() > ends_at:
                raise _not_free(need, wait_s)
            await asyncio.sleep(_LOOK_S)
        try:
            yield tuple(taken)
        finally:
            _give_back(taken)

    @contextmanager
    def lease_blocking(
        self,
        devices: Sequence[GpuDevice],
        need: GpuNeed,
        *,
        wait_s: float = GPU_WAIT_S,
        unwanted: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, ...]]:
        """The same for a thread; ``unwanted`` is asked whether waiting goes on.

        Raises:
            HostFailure: as `lease`, or nobody wants them any more.
        """
        numbers = _numbers(devices, need, 1)
        ends_at = time.monotonic() + wait_s
        while (taken := self._take(numbers, need.count, 1)) is None:
            if time.monotonic() > ends_at or unwanted():
                raise _not_free(need, wait_s)
            time.sleep(_LOOK_S)
        try:
            yield tuple(taken)
        finally:
            _give_back(taken)

    def _take(self, numbers: Sequence[int], count: int, jobs_each: int) -> dict[int, int] | None:
        """All of them or none: two that each hold what the other waits for would wait for ever."""
        taken: dict[int, int] = {}
        try:
            self._make_folder()
            whole = self._open("turn")
            try:
                fcntl.flock(whole, fcntl.LOCK_EX)
                # The emptiest first: nobody shares while there is a processor of one's own.
                for place in range(jobs_each):
                    for number in numbers:
                        if number in taken or len(taken) == count:
                            continue
                        descriptor = self._open(f"{number}-{place}")
                        try:
                            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        except BlockingIOError:
                            os.close(descriptor)
                            continue
                        taken[number] = descriptor
            finally:
                os.close(whole)
        except OSError as error:
            _give_back(taken)
            raise HostFailure(f"Graphics processors cannot be given out: {self._folder}: {error}.") from error
        if len(taken) == count:
            return dict(sorted(taken.items()))
        _give_back(taken)
        return None

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self._folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise HostFailure(
                f"{self._folder} is not a folder of this user alone, so its locks mean nothing. Remove it."
            )

    def _open(self, name: str) -> int:
        return os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _numbers(devices: Sequence[GpuDevice], need: GpuNeed, jobs_each: int) -> list[int]:
    good = fitting(devices, need, jobs_each=jobs_each)
    if len(good) < need.count:
        raise HostFailure(
            f"The job asks for {need.count} graphics processor(s){_of(need)}; {len(good)} of the {len(devices)} that "
            f"are given here fit."
        )
    return [device.number for device in good]


def _not_free(need: GpuNeed, wait_s: float) -> HostFailure:
    return HostFailure(
        f"The job asks for {need.count} graphics processor(s){_of(need)}; other jobs had them for {wait_s:.0f} s. It "
        f"can be run again."
    )


def _give_back(taken: Mapping[int, int]) -> None:
    for descriptor in taken.values():
        os.close(descriptor)


def _of(need: GpuNeed) -> str:
    words = f" {need.model!r}" if need.model else ""
    return words + (f" of {need.memory_bytes >> 20} MiB" if need.memory_bytes else "")


def gpus_given(environment: Mapping[str, str], devices: Sequence[GpuDevice]) -> tuple[int, ...] | None:
    """Numbers of the processors that an engine gave this process, by what it left in the environment; None: unknown.

    Slurm's own numbers are the driver's; what it says to CUDA counts from 0 in a job's cgroup. HTCondor and Kubernetes
    name them by the beginning of their UUID: ``devices`` says which numbers those have.
    """
    for name in _GIVEN:
        words = [word.strip() for word in environment.get(name, "").split(",") if word.strip()]
        numbers = [_number_of(word, devices) for word in words]
        if numbers and None not in numbers:
            return tuple(number for number in numbers if number is not None)
    return None


def devices_of_process(environment: Mapping[str, str], devices: Sequence[GpuDevice]) -> tuple[GpuDevice, ...]:
    """Those of a node's processors that a process started there may use: all, where its environment names none."""
    if "CUDA_VISIBLE_DEVICES" not in environment:
        return tuple(devices)
    named = gpus_given({"CUDA_VISIBLE_DEVICES": environment["CUDA_VISIBLE_DEVICES"]}, devices) or ()
    return tuple(device for device in devices if device.number in named)


def _number_of(word: str, devices: Sequence[GpuDevice]) -> int | None:
    if word.isdecimal():
        return int(word)
    found = [device.number for device in devices if word.startswith("GPU-") and device.uuid.startswith(word)]
    return found[0] if len(found) == 1 else None
