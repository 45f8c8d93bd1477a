"""The folder between a worker and the dispatcher of its allocation: names of files are the whole conversation.

``waiting/NUMBER-NAME`` is a cell to be run; the dispatcher moves it to ``running`` and, when it is over, leaves
``done/NUMBER-NAME``. ``unwanted/NUMBER-NAME`` asks for its end. ``worker`` holds a number that grows while the worker
lives.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

__all__ = ["Order", "Spool"]

_FOLDERS: Final = ("waiting", "running", "done", "unwanted")


@dataclass(frozen=True, slots=True)
class Order:
    """One cell that the dispatcher is to run."""

    folder: str
    wall_s: float
    """How long its step may take, grace included: so much of the allocation must be left."""
    compile_s: float | None = None
    """How much longer than that, where so much is left, because its program is to be compiled first."""

    def limit_s(self, left_s: float) -> float:
        """What its step is given of ``left_s`` seconds that are left."""
        return max(self.wall_s, min(self.wall_s + (self.compile_s or 0.0), left_s))


class Spool:
    """One spool folder. Blocking, and safe with one process on each side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in _FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)

    def names(self, state: str) -> list[str]:
        """Names of the cells in a state, the oldest first."""
        return sorted(name for name in os.listdir(self.folder / state) if not name.endswith(".new"))

    def order(self, name: str, order: Order) -> None:
        """The worker wants a cell run."""
        self._write(
            "waiting", name, json.dumps({key: value for key, value in asdict(order).items() if value is not None})
        )

    def take(self, name: str, allocation: str) -> Order | None:
        """The dispatcher of ``allocation`` takes a cell; None if the worker took it back."""
        try:
            order = Order(**json.loads((self.folder / "waiting" / name).read_bytes()))
            self._write("running", name, allocation)
            (self.folder / "waiting" / name).unlink()
        except FileNotFoundError:
            (self.folder / "running" / name).unlink(missing_ok=True)
            return None
        return order

    def runs_in(self, name: str) -> str | None:
        """The allocation in which a cell was taken up; None if it was not."""
        try:
            return (self.folder / "running" / name).read_text()
        except FileNotFoundError:
            return None

    def finish(self, name: str, text: str) -> None:
        """The dispatcher says that a cell is over; ``text`` is empty when its command ended well."""
        self._write("done", name, text)
        for state in ("running", "unwanted"):
            (self.folder / state / name).unlink(missing_ok=True)

    def finished(self, name: str) -> str | None:
        """How a cell ended; None if it did not."""
        try:
            return (self.folder / "done" / name).read_text()
        except FileNotFoundError:
            return None

    def refuse(self, name: str) -> None:
        """The worker does not want a cell any more, wherever it is."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "waiting" / name).unlink()
            return
        self._write("unwanted", name, "")

    def forget(self, name: str) -> None:
        """Remove what lies about of a cell that is over."""
        for state in _FOLDERS:
            (self.folder / state / name).unlink(missing_ok=True)

    def beat(self, number: int) -> None:
        """The worker lives."""
        self._write("", "worker", str(number))

    def last_beat(self) -> str:
        """What the worker wrote last."""
        try:
            return (self.folder / "worker").read_text()
        except FileNotFoundError:
            return ""

    def _write(self, state: str, name: str, text: str) -> None:
        target = self.folder / state / name
        temporary = target.with_name(target.name + ".new")
        temporary.write_text(text)
        os.replace(temporary, target)
