"""What the requester must not lose: each deal is written down before its transaction is sent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fairgrid.errors import UsageError

__all__ = ["DealRecord", "Journal"]


@dataclass(frozen=True, slots=True)
class DealRecord:
    """A deal of ours. ``match_raw`` is the signed transaction (0x-hex): the same bytes can be sent again."""

    deal_id: str
    task_ids: tuple[str, ...]
    manifest_cid: str
    job_name: str
    trust: int
    price: int
    match_tx: str
    match_raw: str
    match_nonce: int = 0
    block_number: int = 0
    started_at: float = 0.0
    tasks: int = 1
    """Tasks that were asked for; of a bag, ``task_ids`` names the first only."""
    batch: bool = False
    """True for a deal of the batch lane."""
    part: bool = False
    """True for one of several deals that are one run together."""
    first: int = 0
    """The place of its first task in that run."""
    burst: bool = False
    """True for what was bought from another pool because the own one was full."""
    private: bool = False
    """True if its results are encrypted."""

    @property
    def is_bag(self) -> bool:
        """True if its results are those of many tasks, or of runs."""
        return self.batch or self.part or self.tasks > 1

    @property
    def mined(self) -> bool:
        """True once the match was seen on chain."""
        return self.block_number > 0


class Journal:
    """A folder with one JSON file a deal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where the records lie."""
        return self._folder

    def write(self, record: DealRecord) -> None:
        """Keep ``record``, replacing an older one of the same deal in one step."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{record.deal_id}.json"
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(record), indent=2) + "\n")
        partial.replace(file)

    def mark_mined(self, record: DealRecord, block_number: int) -> DealRecord:
        """Note the block of the match."""
        mined = replace(record, block_number=block_number)
        self.write(mined)
        return mined

    def find(self, prefix: str) -> DealRecord:
        """The deal whose id, or whose task's id, begins with ``prefix``; ``last`` is the newest.

        Raises:
            UsageError: no deal fits, or more than one.
        """
        records = self.all()
        if prefix == "last":
            found = records[-1:]
        else:
            found = [r for r in records if any(i.startswith(prefix) for i in (r.deal_id, *r.task_ids))]
        if len(found) != 1:
            what = "No deal" if not found else f"{len(found)} deals"
            raise UsageError(f"{what} of this network fit {prefix!r}. `fairgrid result` without a name lists them.")
        return found[0]

    def all(self) -> list[DealRecord]:
        """Every deal, oldest first."""
        records = [self._read(file) for file in self._folder.glob("0x*.json")] if self._folder.is_dir() else []
        return sorted(records, key=lambda record: record.started_at)

    @staticmethod
    def _read(file: Path) -> DealRecord:
        try:
            document: dict[str, Any] = json.loads(file.read_text())
            document["task_ids"] = tuple(document["task_ids"])
            return DealRecord(**document)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(f"The deal record {file} cannot be read ({error}). Move it away to go on.") from error
