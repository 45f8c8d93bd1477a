"""A worker inside somebody's allocation: when that ends, and when the worker has to begin to let go."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from fairgrid.errors import UsageError

__all__ = ["Pilot", "ask_slurm", "find_pilot", "parse_duration", "parse_until"]

_ANSWER_S: Final = 20.0
_MARGIN_S: Final = 30.0
"""What is kept for handing back and for the end of the process."""
_LEAD_SHARE: Final = 0.2
_LEAD_S: Final = (60.0, 900.0)
_DURATION: Final = re.compile(r"(\d+)\s*([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Pilot:
    """An end that is known beforehand. Times in seconds since the epoch."""

    ends_at: float
    known_from: str
    """For people: a variable's name, or an option's."""
    began_at: float

    @property
    def drains_at(self) -> float:
        """From then on nothing new is taken: a fifth of the time before the end, from one minute to a quarter hour."""
        left_s = max(self.ends_at - self.began_at, 0.0)
        return self.ends_at - min(max(left_s * _LEAD_SHARE, _LEAD_S[0]), _LEAD_S[1])

    def patience_s(self, now: float) -> float:
        """How long what is held may still take at ``now``; what is not sealed then is handed back."""
        return max(self.ends_at - _MARGIN_S - now, 0.0)


def find_pilot(
    environment: Mapping[str, str], *, until: str | None, now: float, ask: Callable[[str], str]
) -> Pilot | None:
    """What ``--until`` says, or the allocation's own variables (Slurm, PBS, HTCondor); None outside of one.

    ``ask`` gives Slurm's end of a job, where its variables do not have it.

    Raises:
        UsageError: ``until`` is no time, or one that is over.
    """
    if until is not None:
        return Pilot(parse_until(until, now=now), "--until", now)
    for find in (_slurm, _pbs, _condor):
        found = find(environment, now, ask)
        if found is not None and found.ends_at > now:
            return found
    return None


def parse_duration(text: str) -> int | None:
    """Seconds of a text such as ``90m`` or ``4h``; None where it is none."""
    duration = _DURATION.fullmatch(text.strip())
    return int(duration[1]) * _SECONDS[duration[2]] if duration is not None else None


def parse_until(text: str, *, now: float) -> float:
    """A duration (``90m``, ``4h``), a time of day (``18:30``: the next one) or a whole time (ISO 8601).

    Raises:
        UsageError: it is none of them, or over.
    """
    duration = parse_duration(text)
    if duration is not None:
        return now + duration
    here = datetime.fromtimestamp(now)
    try:
        clock = re.fullmatch(r"(\d{1,2}):(\d{2})", text.strip())
        if clock is not None:
            then = here.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
            return (then if then > here else then + timedelta(days=1)).timestamp()
        ends_at = datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise UsageError(
            f"--until takes a duration like 90m or 4h, a time of day like 18:30, or a whole time like "
            f"2030-01-31T18:30, not {text!r}."
        ) from None
    if ends_at <= now:
        raise UsageError(f"--until {text} is over.")
    return ends_at


def ask_slurm(job_id: str) -> str:
    """The end of a job as ``squeue`` tells it; empty when it does not. Blocking, for seconds at most."""
    if shutil.which("squeue") is None:
        return ""
    command = ["squeue", "--noheader", f"--jobs={job_id}", "-o", "%e"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _slurm(environment: Mapping[str, str], now: float, ask: Callable[[str], str]) -> Pilot | None:
    job_id = environment.get("SLURM_JOB_ID", "")
    if not job_id.isdecimal():
        return None
    said = environment.get("SLURM_JOB_END_TIME", "")
    if said.isdecimal():
        return Pilot(float(said), "SLURM_JOB_END_TIME", now)
    try:
        return Pilot(datetime.fromisoformat(ask(job_id)).timestamp(), f"squeue of job {job_id}", now)
    except ValueError:
        return None  # No limit, or no answer.


def _pbs(environment: Mapping[str, str], now: float, _ask: Callable[[str], str]) -> Pilot | None:
    said = environment.get("PBS_WALLTIME", "")
    return Pilot(now + float(said), "PBS_WALLTIME", now) if said.isdecimal() else None


def _condor(environment: Mapping[str, str], now: float, _ask: Callable[[str], str]) -> Pilot | None:
    try:
        text = Path(environment["_CONDOR_JOB_AD"]).read_text(errors="replace")
    except (KeyError, OSError):
        return None
    said = dict(re.findall(r"(?mi)^(AllowedExecuteDuration|JobCurrentStartDate)\s*=\s*(\d+)\s*$", text))
    named = {name.lower(): float(value) for name, value in said.items()}
    if "allowedexecuteduration" not in named:
        return None
    began = named.get("jobcurrentstartdate", now)
    return Pilot(began + named["allowedexecuteduration"], "_CONDOR_JOB_AD", now)
