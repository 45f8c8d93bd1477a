"""Results of single tasks of runs, as a worker keeps them on disk: an archive and a record each, by deal and index.

They outlive the run that they were computed for: a run that was cut off goes on where it was, and when a run is split
its halves are contributed without computing anything again. A record is written after its archive and is believed only
if the archive still has the CID that it names.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.protocol.cid import CidBuilder
from fairgrid.protocol.hexes import from_hex, to_hex, to_hex32
from fairgrid.protocol.run_results import TaskResult
from fairgrid.runtime.removal import remove_tree

__all__ = ["FinishedTasks"]

_READ_BYTES: Final = 1 << 20
_KEPT_UNUSED_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class FinishedTasks:
    """The finished tasks below ``folder``: ``<deal id>/<index>.zip`` and ``.json``. Blocking."""

    folder: Path

    def keep(self, deal_id: str, index: int, archive: Path | None, result: TaskResult) -> None:
        """Keep a result; its archive (None for a deal with a callback) is moved here."""
        place = self._deal(deal_id)
        place.mkdir(parents=True, exist_ok=True)
        if archive is not None:
            os.replace(archive, self.archive(deal_id, index))
        record = {
            "digest": result.digest,
            "cid": result.cid,
            "size": result.size,
            "callback": None if result.callback is None else to_hex(result.callback),
        }
        partial = place / f"{index}.partial"
        partial.write_text(json.dumps(record))
        os.replace(partial, place / f"{index}.json")

    def find(self, deal_id: str, index: int) -> TaskResult | None:
        """A kept result that is still whole; None when there is none."""
        try:
            record = json.loads((self._deal(deal_id) / f"{index}.json").read_text())
            callback = None if record["callback"] is None else from_hex(record["callback"])
            result = TaskResult(record["digest"], record["cid"], record["size"], callback)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if callback is None and _cid_of_file(self.archive(deal_id, index)) != result.cid:
            return None
        return result

    def all_of(self, deal_id: str, indexes: Iterable[int]) -> tuple[TaskResult, ...]:
        """The results of these tasks in order.

        Raises:
            HostFailure: one is not here any more, or was changed.
        """
        found = []
        for index in indexes:
            result = self.find(deal_id, index)
            if result is None:
                raise HostFailure(f"The result of task {index} of deal {deal_id} is not whole on disk any more.")
            found.append(result)
        return tuple(found)

    def archive(self, deal_id: str, index: int) -> Path:
        """Where the archive of a task lies."""
        return self._deal(deal_id) / f"{index}.zip"

    def touch(self, deal_id: str) -> None:
        """Note that the deal's results are in use."""
        place = self._deal(deal_id)
        place.mkdir(parents=True, exist_ok=True)
        os.utime(place)

    def remove(self, deal_id: str, indexes: Iterable[int]) -> None:
        """Forget the results of these tasks; those of others of the deal stay."""
        place = self._deal(deal_id)
        for index in indexes:
            for name in (f"{index}.json", f"{index}.zip"):
                (place / name).unlink(missing_ok=True)
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()

    def sweep(self, deals: Collection[str]) -> None:
        """Forget what has not been used for a day, but for these deals."""
        if not self.folder.is_dir():
            return
        for place in list(self.folder.iterdir()):
            if place.name not in deals and place.stat().st_mtime < time.time() - _KEPT_UNUSED_S:
                remove_tree(place)

    def _deal(self, deal_id: str) -> Path:
        return self.folder / to_hex32(from_hex(deal_id))


def _cid_of_file(path: Path) -> str | None:
    builder = CidBuilder()
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                builder.update(piece)
    except OSError:
        return None
    return builder.finish()
