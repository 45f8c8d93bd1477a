"""What may be seen of a job while it runs, and asked of it. Nothing of it changes what the job computes."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["PROGRESS_BYTES", "SNAPSHOT_FILES", "JobProgress", "JobWatch", "read_progress"]

PROGRESS_BYTES: Final = 4096
"""So much of the end of a job's progress file is looked at."""
SNAPSHOT_FILES: Final = 1_000
"""Most files of a snapshot."""
_MESSAGE_CHARACTERS: Final = 200

Snapshot = Callable[[Path, int], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class JobProgress:
    """What a job says of itself: ``ppm`` millionths are done, and a line for people."""

    ppm: int
    message: str


class JobWatch:
    """The window into one running job: ``folder`` gets the files ``stdout``, ``stderr``, ``progress`` as they grow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._snapshot: Snapshot | None = None

    def say(self, text: str) -> None:
        """Note, where the job notes its progress, what this machine does before the job begins. Blocking, and short."""
        with (self.folder / "progress").open("a", encoding="utf-8") as file:
            file.write(f"0 {text}\n")

    @contextlib.contextmanager
    def attached(self, snapshot: Snapshot) -> Iterator[None]:
        """For sandboxes: within the block the job runs, and ``snapshot`` copies its output folder."""
        self._snapshot = snapshot
        try:
            yield
        finally:
            self._snapshot = None

    async def snapshot(self, destination: Path, max_bytes: int) -> bool:
        """Copy what lies in the job's output folder now to ``destination``, a new folder; whole files, while they fit.

        False when the job does not run, or its sandbox cannot. What is written just now may be copied half.
        """
        return self._snapshot is not None and await self._snapshot(destination, max_bytes)


def read_progress(path: Path) -> JobProgress | None:
    """The last whole line of a progress file (``0.42 halfway there``); None when there is none that can be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(size - PROGRESS_BYTES, 0)
            file.seek(start)
            data = file.read(PROGRESS_BYTES)
    except OSError:
        return None
    lines = data.decode("utf-8", "replace").split("\n")
    if start:
        del lines[0]
    for line in reversed(lines[:-1] if not data.endswith(b"\n") and len(lines) > 1 else lines):
        progress = _parse(line)
        if progress is not None:
            return progress
    return None


def _parse(line: str) -> JobProgress | None:
    number, _, message = line.strip().partition(" ")
    try:
        fraction = float(number)
    except ValueError:
        return None
    if not 0 <= fraction <= 1:
        return None
    return JobProgress(round(fraction * 1_000_000), message.strip()[:_MESSAGE_CHARACTERS])
