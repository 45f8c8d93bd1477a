"""The table level × attack of `docs/threat-model.md`: ``python -m tests.sandbox.matrix`` prints it."""

from __future__ import annotations

import sys
from importlib import import_module

from tests.sandbox.attacks import ATTACKS, LEVELS, LevelUnderTest

__all__ = ["LISTED", "levels", "matrix"]

LISTED: dict[str, tuple[str, ...]] = {
    "files of the machine": ("read-files", "write-system"),
    "files, environment and keys of other jobs and of the worker": ("find-secret",),
    "inputs changed": ("write-inputs",),
    "sockets: TCP, UDP, unix, abstract, raw": ("connect",),
    "bombs of processes": ("fork-bomb", "fork-for-ever"),
    "bombs of memory": ("memory-bomb", "scratch-bomb"),
    "bombs on the disk: bytes, files, files without a name": ("disk-bomb", "file-bomb", "hidden-bomb"),
    "log bomb": ("log-bomb",),
    "set-user-ID and other users": ("become-root",),
    "debugging": ("trace",),
    "mounts and namespaces": ("mounts",),
    "interfaces of the kernel": ("kernel",),
    "device files": ("devices",),
    "signals to the worker": ("signals",),
    "links and names in results": ("results",),
    "processes that stay": ("orphans",),
}
"""What the rows are called, and the cases of `ATTACKS` behind each."""


def levels() -> list[LevelUnderTest]:
    """Every level that takes part; nothing is run."""
    return [import_module(f"tests.sandbox.level_{name}").level() for name in LEVELS]


def matrix() -> list[str]:
    """The lines of the table, and of the notes below it."""
    known = levels()
    notes: list[str] = []
    lines = [f"| attack (`test_escape.py` case) | {' | '.join(level.name for level in known)} |"]
    lines.append("|---" * (len(known) + 1) + "|")
    assert {case for cases in LISTED.values() for case in cases} == {attack.name for attack in ATTACKS}
    for row, cases in LISTED.items():
        for case in cases:
            cells = [_cell(level.not_here.get(case, ""), notes) for level in known]
            lines.append(f"| {row} (`{case}`) | {' | '.join(cells)} |")
    return [*lines, "", *(f"{number}. {note}." for number, note in enumerate(notes, start=1))]


def _cell(reason: str, notes: list[str]) -> str:
    if not reason:
        return "✓"
    if reason not in notes:
        notes.append(reason)
    return f"note {notes.index(reason) + 1}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(matrix()) + "\n")
