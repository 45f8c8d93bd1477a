"""The worker as a service of its owner: a systemd user unit, or a launchd agent on macOS. Nothing needs root."""

from __future__ import annotations

import plistlib
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure, UsageError

__all__ = ["ServicePlan", "plan_service"]

_LABEL: Final = "org.fairgrid.worker"
_STOP_S: Final = 30
"""A worker that hands everything back ends within so long."""


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """What is written where, and what the owner does next."""

    path: Path
    text: str
    enable: tuple[str, ...]
    """Commands that start it now and at every login."""
    disable: tuple[str, ...]
    hint: str


def plan_service(
    folder: Path,
    arguments: tuple[str, ...],
    *,
    platform: str = sys.platform,
    home: Path | None = None,
    stop_within_s: int = 0,
) -> ServicePlan:
    """The service that runs `fairgrid worker start` with ``arguments`` for the worker in ``folder``.

    ``stop_within_s`` is what the worker's policy gives it to finish; the system waits as long before it kills.

    Raises:
        HostFailure: this system has neither systemd nor launchd.
        UsageError: an argument cannot stand in a unit file.
    """
    home = home or Path.home()
    command = (sys.executable, "-m", "fairgrid", "worker", "start", "--dir", str(folder), *arguments)
    if any("\n" in part or "\0" in part for part in command):
        raise UsageError("A path or an option of the service has a line break in it; choose another.")
    name = "fairgrid-worker" if folder.name == "worker" else f"fairgrid-worker-{_plain(folder.name)}"
    if platform.startswith("linux"):
        return ServicePlan(
            path=home / ".config" / "systemd" / "user" / f"{name}.service",
            text=_unit(command, stop_within_s + _STOP_S),
            enable=("systemctl --user daemon-reload", f"systemctl --user enable --now {name}"),
            disable=(f"systemctl --user disable --now {name}", "systemctl --user daemon-reload"),
            hint="To let it run while you are logged out: loginctl enable-linger",
        )
    if platform == "darwin":
        path = home / "Library" / "LaunchAgents" / f"{_LABEL}.{_plain(folder.name)}.plist"
        return ServicePlan(
            path=path,
            text=_plist(command, f"{_LABEL}.{_plain(folder.name)}", folder, stop_within_s + _STOP_S),
            enable=(f"launchctl load -w {shlex.quote(str(path))}",),
            disable=(f"launchctl unload -w {shlex.quote(str(path))}",),
            hint="It runs while you are logged in.",
        )
    raise HostFailure(
        f"A worker cannot be installed as a service on {platform} yet. Let the system's scheduler start "
        f"`{shlex.join(command)}` at login."
    )


def _unit(command: tuple[str, ...], stop_s: int) -> str:
    # systemd expands % and $ and splits words itself.
    words = " ".join(_systemd_word(part) for part in command)
    return f"""[Unit]
Description=Fairgrid worker
StartLimitIntervalSec=0

[Service]
ExecStart={words}
# A drained worker ends with 0 and stays down; anything else is started again, and goes on with what it held.
Restart=on-failure
RestartSec=10
KillMode=mixed
TimeoutStopSec={stop_s}
Nice=10
NoNewPrivileges=yes
Environment=PYTHONUNBUFFERED=1

[Install]
WantedBy=default.target
"""


def _systemd_word(part: str) -> str:
    escaped = part.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _plist(command: tuple[str, ...], label: str, folder: Path, stop_s: int) -> str:
    document = {
        "Label": label,
        "ProgramArguments": list(command),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ProcessType": "Background",
        "ExitTimeOut": stop_s,
        "Nice": 10,
        "StandardOutPath": str(folder / "worker.log"),
        "StandardErrorPath": str(folder / "worker.log"),
    }
    return plistlib.dumps(document).decode()


def _plain(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name) or "worker"
