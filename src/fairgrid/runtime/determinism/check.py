"""Runs the trials of a check one after the other, compares each result with the first, and names the likely cause."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.protocol.manifest import Manifest
from fairgrid.runtime.children import start_child
from fairgrid.runtime.determinism.causes import Cause, likely_cause
from fairgrid.runtime.determinism.compare import Difference, first_difference
from fairgrid.runtime.determinism.conditions import CONDITIONS, Condition
from fairgrid.runtime.determinism.trial import TrialRequest, TrialResult

__all__ = ["CheckReport", "Trial", "check_determinism"]

_MOST_BYTES: Final = 4 << 20
"""So much of a file is looked at to guess a cause."""
_APART_S: Final = 1.1
"""Between runs, so that a time in whole seconds differs."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run after the first, and how it differs."""

    condition: Condition
    result: TrialResult
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found."""

    first: TrialResult
    trials: tuple[Trial, ...]
    difference: Difference | None
    """The first of all differences; None if every run agreed."""
    cause: Cause | None

    @property
    def is_deterministic(self) -> bool:
        """True if every run gave the same digest."""
        return all(trial.result.digest == self.first.digest for trial in self.trials)


async def check_determinism(
    manifest: Manifest,
    files: Mapping[str, Path],
    folder: Path,
    *,
    wall_s: float,
    conditions: Sequence[Condition] = CONDITIONS,
    index: int = 0,
    on_trial: Callable[[str], None] = lambda text: None,
) -> CheckReport:
    """Run task ``index`` of the manifest once, and once more under each condition; results stay below ``folder``.

    Raises:
        HostFailure: a run was not possible on this machine; the text says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = folder / "manifest.json"
    described.write_bytes(manifest.to_bytes())

    async def run(name: str, condition: Condition) -> TrialResult:
        on_trial(condition.text if name != "first" else "the first run")
        result = await _trial(
            TrialRequest(
                manifest=str(described),
                files={cid: str(path.resolve()) for cid, path in files.items()},
                workdir=str((folder / name).resolve()),
                condition=condition,
                wall_s=wall_s,
                index=index,
            )
        )
        if result.failure:
            raise HostFailure(f"The run under another condition ({condition.name}) failed: {result.failure}")
        return result

    first = await run("first", Condition("first", "the first run"))
    trials = []
    for condition in conditions:
        await asyncio.sleep(_APART_S)
        result = await run(condition.name, condition)
        difference = None
        if result.digest != first.digest:
            ours, theirs = folder / "first" / "result", folder / condition.name / "result"
            difference = await asyncio.to_thread(first_difference, ours, theirs)
        trials.append(Trial(condition, result, difference))
    return _report(first, tuple(trials), folder)


def _report(first: TrialResult, trials: tuple[Trial, ...], folder: Path) -> CheckReport:
    differing = [trial for trial in trials if trial.difference is not None]
    if not differing:
        return CheckReport(first, trials, None, None)
    found = differing[0]
    assert found.difference is not None
    contents = [_content(folder / name / "result" / found.difference.path) for name in ("first", found.condition.name)]
    names = [trial.condition.name for trial in differing]
    return CheckReport(first, trials, found.difference, likely_cause(*contents, differs_under=names))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except FileNotFoundError:
        return b""


async def _trial(request: TrialRequest) -> TrialResult:
    process = await start_child(
        *(sys.executable, "-m", "fairgrid.runtime.determinism.trial"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    try:
        process.stdin.write(request.to_line())
        await process.stdin.drain()
        answer, said = await asyncio.gather(process.stdout.read(), process.stderr.read())
        await process.wait()
    finally:
        # Its job ends when it sees that nobody listens.
        process.stdin.close()
        if process.returncode is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 20)
        if process.returncode is None:
            process.kill()
    try:
        return TrialResult(**json.loads(answer))
    except (ValueError, TypeError):
        text = said.decode(errors="replace").strip()[-500:]
        return TrialResult(failure=f"the process of the run ended without an answer: {text or 'no message'}")
