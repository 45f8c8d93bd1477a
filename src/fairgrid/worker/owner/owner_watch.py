"""What the owner says now: policy file, pause and machine, as one verdict that is looked up again and again."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from fairgrid.errors import UsageError
from fairgrid.seams.clock import Clock
from fairgrid.worker.owner.availability import Availability, Readings, availability_of
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.owner.policy_file import PolicyFile

__all__ = ["PAUSE_NAME", "OwnerWatch", "Pause", "Sensors", "pause", "paused", "unpause"]

PAUSE_NAME: Final = "paused.json"
"""While this file lies in the worker's folder, the worker takes and computes nothing; it survives restarts."""


class Sensors(Protocol):
    """What is needed of `fairgrid.worker.owner.readings.MachineSensors`."""

    def read(self, policy: WorkerPolicy) -> Readings:
        """One look at the machine, as far as the policy asks for it. Blocking."""
        ...


@dataclass(frozen=True, slots=True)
class Pause:
    """The owner's wish to stand still. ``until`` is local time in seconds since the epoch, 0 for no end."""

    since: float
    until: float = 0.0

    def text(self, now: float) -> str:
        """A sentence for the owner; empty when the pause is over."""
        if self.until and now >= self.until:
            return ""
        end = time.strftime("until %a %H:%M", time.localtime(self.until)) if self.until else "until `worker resume`"
        return f"Paused by its owner {end}."


def pause(folder: Path, wanted: Pause) -> None:
    """Remember a pause in the worker's folder, whether the worker runs or not.

    Raises:
        UsageError: the folder cannot be written.
    """
    partial = folder / f"{PAUSE_NAME}.partial"
    try:
        partial.write_text(json.dumps({"since": wanted.since, "until": wanted.until}))
        partial.replace(folder / PAUSE_NAME)
    except OSError as error:
        raise UsageError(f"The worker's folder {folder} cannot be written ({error}).") from error


def unpause(folder: Path) -> bool:
    """Forget the pause; False when there was none."""
    try:
        (folder / PAUSE_NAME).unlink()
    except FileNotFoundError:
        return False
    return True


def paused(folder: Path) -> Pause | None:
    """The pause in the folder. A file that cannot be read is a pause without an end: the owner wanted one."""
    try:
        document = json.loads((folder / PAUSE_NAME).read_text())
        return Pause(float(document["since"]), float(document["until"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Pause(0.0)


class OwnerWatch:
    """Looks at policy, pause and machine; keeps the last verdict."""

    def __init__(
        self, folder: Path, policy: PolicyFile, sensors: Sensors, *, clock: Clock, every_s: float = 2.0
    ) -> None:
        self._folder = folder
        self._policy = policy
        self._sensors = sensors
        self._clock = clock
        self._every_s = every_s
        self._poked = asyncio.Event()
        self._verdict = Availability(())

    @property
    def policy(self) -> WorkerPolicy:
        """The policy that counts now."""
        return self._policy.current()

    @property
    def policy_problem(self) -> str:
        """Why the file does not count as it is; empty when it does."""
        return self._policy.problem

    @property
    def policy_path(self) -> Path:
        """Where the owner writes."""
        return self._policy.path

    @property
    def folder(self) -> Path:
        """The worker's folder."""
        return self._folder

    @property
    def verdict(self) -> Availability:
        """What the last look gave."""
        return self._verdict

    async def look(self) -> Availability:
        """Look now."""
        policy = await asyncio.to_thread(self._policy.current)
        readings = await asyncio.to_thread(self._sensors.read, policy)
        found = await asyncio.to_thread(paused, self._folder)
        now = self._clock.now()
        self._verdict = availability_of(policy, readings, now, paused=found.text(now) if found else "")
        return self._verdict

    def poke(self) -> None:
        """Something changed: end the present `rest`."""
        self._poked.set()

    async def rest(self) -> None:
        """Wait until the next look is due."""
        sleeping = asyncio.ensure_future(self._clock.sleep(self._every_s))
        poked = asyncio.ensure_future(self._poked.wait())
        try:
            await asyncio.wait((sleeping, poked), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            poked.cancel()
        self._poked.clear()
