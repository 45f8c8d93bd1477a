"""The seam of engines: a *cell* is one sandboxed job that an engine is to run somewhere, and wait for.

Whatever the engine, a cell is the same command on the machine that it chose: ``python -m
fairgrid.runtime.engines.cell FOLDER``. The folder holds the job and gets the outcome; it must be visible there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fairgrid.runtime.levels import Probe

__all__ = ["Cell", "CellUse", "Engine"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One job for an engine, and what it may take."""

    name: str
    """For people who look at the engine's queue; of ``[A-Za-z0-9-]``, 63 characters at most, unique at one time."""
    folder: Path
    """Holds ``job.json``; gets ``outcome.json``. Every path of the job lies on the same shared file system."""
    wall_s: float
    """After so many seconds of running, and some grace, the engine is to end it by itself."""
    memory_bytes: int
    cpus: int = 1
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class CellUse:
    """What the engine says of a cell that ended; its outcome lies in its folder."""

    engine_id: str = ""
    """The engine's own number or name of it: where to look in the engine's accounts."""
    node: str = ""
    queued_s: float = 0.0
    ran_s: float = 0.0


class Engine(Protocol):
    """A place with many slots. All methods may be called side by side."""

    @property
    def name(self) -> str:
        """``slurm``, ``ray``, …"""
        ...

    async def probe(self) -> Probe:
        """Try it with a cell that does nothing, within a time-out. Never raises."""
        ...

    async def run(self, cell: Cell) -> CellUse:
        """Have the cell run, and wait until it ended. Cancelling the call ends the cell, queued or running.

        Raises:
            HostFailure: it could not be queued, its node was lost, or the engine ended it; the text says which.
        """
        ...

    async def close(self) -> None:
        """End every cell that is left, and let go of the engine."""
        ...
