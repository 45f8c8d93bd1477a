"""podman and docker behind one adapter: how each is called, and what each needs to be told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import platformdirs

from fairgrid.errors import HostFailure
from fairgrid.runtime.cgroups.around import GroupVersion, group_version
from fairgrid.runtime.cgroups.own import delegated_folder

__all__ = [
    "Engine",
    "EngineKind",
    "Said",
    "call_program",
    "container_folder",
    "find_engine",
    "is_root",
    "open_files_limit",
]

_CALL_S: Final = 60.0
_OPEN_FILES: Final = 4096
_DOCKER_FORMAT: Final = "{{.CgroupDriver}} {{.CgroupVersion}} {{.ServerVersion}} {{json .Runtimes}}"


class EngineKind(StrEnum):
    PODMAN = "podman"
    DOCKER = "docker"


@dataclass(frozen=True, slots=True)
class Said:
    """What a call of the engine gave."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """The end of what it complained of, on one line."""
        return " ".join(self.stderr.decode(errors="replace").split())[-600:] or f"status {self.status}"


@dataclass(frozen=True, slots=True)
class Engine:
    """One of the two on this machine, and it answered."""

    kind: EngineKind
    program: str
    options: tuple[str, ...]
    environment: Mapping[str, str]
    version: str
    folder: Path
    """Where this level keeps what it must remember."""
    owns_groups: bool
    """True: jobs run in a cgroup that this process makes, so meters and the cause of an end are exact."""
    is_root: bool
    group_parent: Path | None = None
    """A group that was delegated to this user, in which those of the jobs are made; None: ``/fairgrid``."""
    runtimes: tuple[str, ...] = field(default=())
    """OCI runtimes that docker's daemon knows by name."""

    def command(self, *words: str) -> list[str]:
        """The command line of a call."""
        return [self.program, *self.options, *words]

    async def call(self, *words: str, within_s: float = _CALL_S) -> Said:
        """Have it do something short.

        Raises:
            HostFailure: it cannot be started, or does not end in time.
        """
        return await call_program(self.command(*words), self.environment, within_s)

    @property
    def wrapper_runtimes(self) -> bool:
        """True: it takes a path as OCI runtime; docker takes only names that its daemon was told."""
        return self.kind is EngineKind.PODMAN


def container_folder() -> Path:
    """Where images and settings of this level lie: under ``$FAIRGRID_CACHE`` if set, else the user's cache folder."""
    return Path(os.environ.get("FAIRGRID_CACHE") or platformdirs.user_cache_dir("fairgrid")) / "containers"


def is_root() -> bool:
    """True on POSIX systems, for the superuser."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def open_files_limit() -> int:
    """Open files that a job may have: never more than this process could give, which engines refuse."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)


async def find_engine(wanted: str = "", folder: Path | None = None) -> Engine:
    """The engine that the owner named, or the first of podman and docker that answers.

    Raises:
        HostFailure: there is none, with what each one said.
    """
    home = folder or container_folder()
    faults = []
    for name in (wanted,) if wanted else (EngineKind.PODMAN.value, EngineKind.DOCKER.value):
        program = shutil.which(name)
        kind = _kind_of(name)
        if kind is None:
            raise HostFailure(
                f"The policy's container_engine is {name!r}; it must be podman, docker, or the path of one of them."
            )
        if program is None:
            faults.append(f"{name} is not installed")
            continue
        try:
            if kind is EngineKind.PODMAN:
                return await _podman(program, home)
            return await _docker(program, home)
        except (HostFailure, OSError) as error:
            faults.append(f"{name}: {error}")
    raise HostFailure("; ".join(faults))


def _kind_of(name: str) -> EngineKind | None:
    base = os.path.basename(name)
    return next((kind for kind in EngineKind if base == kind or base.startswith(f"{kind}-")), None)


async def _podman(program: str, folder: Path) -> Engine:
    """podman with a store, settings and locks of our own: the owner's images and containers are never touched."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = is_root()
    if not root and group_version() is not GroupVersion.V2:
        raise HostFailure(
            "without root it cannot limit memory on a machine with cgroup v1; start the machine with cgroup v2 "
            "(systemd.unified_cgroup_hierarchy=1), or run the worker as root"
        )
    run = (Path("/run") if root else Path(os.environ.get("XDG_RUNTIME_DIR") or folder)) / _run_name(folder)
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    # With a group of its own podman makes those of containers there; else it asks the user's service manager.
    delegated = None if root else await asyncio.to_thread(delegated_folder)
    settings = folder / "containers.conf"
    text = _settings(owns_groups=root or delegated is not None)
    if not settings.exists() or settings.read_text() != text:
        new = settings.with_name(f"{settings.name}.{os.getpid()}")
        new.write_text(text)
        new.replace(settings)
    options: tuple[str, ...] = ("--root", str(folder / "store"), "--runroot", str(run), "--tmpdir", str(run / "tmp"))
    if root:
        options += ("--storage-driver", "overlay")
    environment = {**os.environ, "CONTAINERS_CONF": str(settings)}
    said = await call_program([program, *options, "info", "--format", "{{.Version.Version}}"], environment, _CALL_S)
    if said.status != 0:
        raise HostFailure(said.text)
    return Engine(
        kind=EngineKind.PODMAN,
        program=program,
        options=options,
        environment=environment,
        version=said.stdout.decode().strip(),
        folder=folder,
        owns_groups=delegated is not None or (root and group_version() is not None),
        is_root=root,
        group_parent=delegated,
    )


async def _docker(program: str, folder: Path) -> Engine:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Without this, proxies and keys of the user's configuration would reach jobs as variables.
    configuration = folder / "docker"
    configuration.mkdir(mode=0o700, exist_ok=True)
    environment = {**os.environ, "DOCKER_CONFIG": str(configuration)}
    said = await call_program([program, "info", "--format", _DOCKER_FORMAT], environment, _CALL_S)
    words = said.stdout.decode().strip().split(" ", 3)
    if said.status != 0 or len(words) != 4 or not words[2]:
        raise HostFailure(said.text)
    driver, _, version, runtimes = words
    return Engine(
        kind=EngineKind.DOCKER,
        program=program,
        options=(),
        environment=environment,
        version=version,
        folder=folder,
        owns_groups=is_root() and driver == "cgroupfs" and group_version() is not None,
        is_root=True,
        runtimes=tuple(json.loads(runtimes) or ()),
    )


def _run_name(folder: Path) -> str:
    """Short, and another one for another store: sockets' paths have 108 bytes."""
    import hashlib

    return "fairgrid-" + hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]


def _settings(*, owns_groups: bool) -> str:
    files = open_files_limit()
    lines = ["[containers]", f'default_ulimits = ["nofile={files}:{files}"]', "[engine]", 'events_logger = "none"']
    # Locks in files: those in shared memory would be one set with the owner's own podman.
    lines.append('lock_type = "file"')
    if owns_groups:
        lines.append('cgroup_manager = "cgroupfs"')
        if group_version() is GroupVersion.V1 or shutil.which("crun") is None:
            lines.append('runtime = "runc"')
    return "\n".join(lines) + "\n"


async def call_program(command: Sequence[str], environment: Mapping[str, str], within_s: float) -> Said:
    """Run a program that ends soon; it is killed, with its children, when it does not.

    Raises:
        HostFailure: it cannot be started, or does not end in time.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
    except OSError as error:
        raise HostFailure(f"{command[0]} cannot be started: {error}") from error
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), within_s)
    except TimeoutError:
        raise HostFailure(f"{os.path.basename(command[0])} did not answer within {within_s:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode is not None
    return Said(process.returncode, stdout, stderr)
