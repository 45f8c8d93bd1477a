"""The seam of engines: a *cell* is one sandboxed job that an engine is to run somewhere, and wait for.

Whatever the engine, a cell is the same command on the machine that it chose: ``python -m
fairgrid.runtime.engines.cell FOLDER``. The folder holds the job and gets the outcome; it must be visible there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

__all__ = ["GRACE_S", "Cell", "CellUse", "Engine", "cell_command"]

GRACE_S: Final = 60.0
"""A cell may take so much longer than its job: Python starts, files are laid out and brought home."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One job for an engine, and what it may take."""

    name: str
    """For people who look at the engine's queue; of ``[a-z0-9-]``, 63 characters at most, never used again."""
    folder: Path
    """Holds ``job.json``; gets ``outcome.json``. Every path of the job lies on the same shared file system."""
    wall_s: float
    """The job's own limit of time, in seconds."""
    memory_bytes: int
    cpus: int = 1
    gpus: int = 0
    compile_s: float = 0.0
    """So many seconds its node may need besides, to compile a program that is new there before the job begins."""

    @property
    def least_s(self) -> float:
        """What a place must have left to take the cell, in seconds: the job's limit and `GRACE_S`."""
        return self.wall_s + GRACE_S

    @property
    def limit_s(self) -> float:
        """After so many seconds of running the engine is to end it by itself."""
        return self.least_s + self.compile_s


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

    async def run(self, cell: Cell) -> CellUse:
        """Have the cell run, and wait until it ended. Cancelling the call ends the cell, queued or running.

        Raises:
            HostFailure: it could not be queued, its node was lost, or the engine ended it; the text says which.
        """
        ...

    async def sweep(self) -> int:
        """End the cells that a worker of this name left behind when it was killed; how many there were.

        Raises:
            HostFailure: the engine cannot be asked.
        """
        ...

    async def close(self) -> None:
        """End every cell that is left, and let go of the engine."""
        ...


def cell_command(python: str, folder: Path) -> list[str]:
    """The command of a cell on its node."""
    return [python, "-m", "fairgrid.runtime.engines.cell", str(folder)]
