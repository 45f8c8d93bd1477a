"""Asks the machine: idle time, load of others, power, temperature, disk. Blocking, each source with a time-out."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from fairgrid.worker.owner.availability import Readings
from fairgrid.worker.owner.policy import WorkerPolicy

__all__ = ["MachineSensors", "idle_time"]

_ANSWER_S: Final = 2.0
_DISK_EVERY_S: Final = 60.0
_SHORTEST_LOAD_S: Final = 0.5


class MachineSensors:
    """Reads what the owner's rules ask for, and nothing else. ``folder`` is the worker's."""

    def __init__(self, folder: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._monotonic = monotonic
        self._cpu_at = 0.0
        self._cpu_all = 0.0
        self._cpu_own = 0.0
        self._load: float | None = None
        self._used: int | None = None
        self._used_at = -math.inf

    def read(self, policy: WorkerPolicy) -> Readings:
        """One look; call it from a thread. A source that fails is None, never an exception."""
        idle_s, source = idle_time() if policy.only_when_idle else (None, "not asked")
        return Readings(
            idle_s=idle_s,
            idle_source=source,
            other_load_percent=self._other_load() if policy.max_other_load_percent is not None else None,
            on_mains=_on_mains() if policy.only_on_mains else None,
            temperature_c=_hottest() if policy.max_temperature_c is not None else None,
            free_disk_bytes=_free_disk(self._folder),
            used_disk_bytes=self._used_disk() if policy.disk_bytes is not None else None,
        )

    def _other_load(self) -> float | None:
        """Percent of all processors used by others since the last look."""
        now = self._monotonic()
        if self._load is not None and now - self._cpu_at < _SHORTEST_LOAD_S:
            return self._load
        everything, own = _busy_seconds(), _own_seconds()
        elapsed = (now - self._cpu_at) * (psutil.cpu_count() or 1)
        if self._cpu_at and elapsed > 0:
            # A job that ended takes its time with it: never below nothing.
            others = max(everything - self._cpu_all - max(own - self._cpu_own, 0.0), 0.0)
            self._load = min(100.0 * others / elapsed, 100.0)
        self._cpu_at, self._cpu_all, self._cpu_own = now, everything, own
        return self._load

    def _used_disk(self) -> int | None:
        now = self._monotonic()
        if now - self._used_at >= _DISK_EVERY_S:
            self._used_at = now
            self._used = sum(_size_of(self._folder / name) for name in ("cache", "tasks"))
        return self._used


def idle_time() -> tuple[float | None, str]:
    """Seconds since somebody used this machine, and how that is known; None with the reason where it is not."""
    known: list[tuple[float, str]] = []
    for source in (_terminals, _login_manager, _x_server, _mac_hid):
        try:
            found = source()
        except (OSError, ValueError, subprocess.SubprocessError, psutil.Error):
            continue
        if found is not None:
            known.append(found)
    if not known:
        return None, "neither terminals, loginctl, xprintidle nor ioreg tell"
    screens = [name for name in ("DISPLAY", "WAYLAND_DISPLAY") if os.environ.get(name)]
    if screens and all(source == "terminals" for _, source in known):
        return None, f"{screens[0]} is set, but neither loginctl nor xprintidle tells"
    return min(known)


def _terminals() -> tuple[float, str] | None:
    """The terminal that was written to last; nobody logged in means that nobody types."""
    now, idle = time.time(), math.inf
    for user in psutil.users():
        if user.terminal:
            device = Path("/dev") / user.terminal
            if device.exists():
                idle = min(idle, max(now - device.stat().st_atime, 0.0))
    return idle, "terminals"


def _login_manager() -> tuple[float, str] | None:
    """systemd-logind's own idle hint, of the sessions at a seat."""
    if shutil.which("loginctl") is None:
        return None
    listed = _output("loginctl", "list-sessions", "--no-legend")
    idle = math.inf
    for line in listed.splitlines():
        session = line.split()[0]
        shown = _output("loginctl", "show-session", session, "-p", "Seat", "-p", "IdleHint", "-p", "IdleSinceHint")
        facts = dict(part.split("=", 1) for part in shown.splitlines() if "=" in part)
        if not facts.get("Seat"):
            continue
        since = int(facts.get("IdleSinceHint", "0")) / 1e6
        idle = min(idle, max(time.time() - since, 0.0) if facts.get("IdleHint") == "yes" else 0.0)
    return idle, "loginctl"


def _x_server() -> tuple[float, str] | None:
    if not os.environ.get("DISPLAY") or shutil.which("xprintidle") is None:
        return None
    return int(_output("xprintidle")) / 1000, "xprintidle"


def _mac_hid() -> tuple[float, str] | None:
    if sys.platform != "darwin":
        return None
    for line in _output("ioreg", "-c", "IOHIDSystem", "-d", "4").splitlines():
        if "HIDIdleTime" in line:
            return int(line.rsplit("=", 1)[1]) / 1e9, "ioreg"
    return None


def _output(*command: str) -> str:
    """Standard output of a program that must answer soon.

    Raises:
        SubprocessError: it failed or took too long.
        OSError: it cannot be run.
    """
    return subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=True).stdout


def _on_mains() -> bool | None:
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError, ValueError):
        return None
    # A machine without a battery hangs on the mains. Where it is not known whether it charges, psutil says None.
    return True if battery is None else battery.power_plugged


def _hottest() -> float | None:
    try:
        sensors = psutil.sensors_temperatures()
    except (AttributeError, OSError, RuntimeError, ValueError):
        return None
    return max((entry.current for entries in sensors.values() for entry in entries), default=None)


def _free_disk(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _own_seconds() -> float:
    total = 0.0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def _size_of(folder: Path) -> int:
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(base, name))
            except OSError:
                continue
            # A file with two names is there once.
            total += status.st_size // max(status.st_nlink, 1)
    return total
