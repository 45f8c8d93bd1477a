"""The command line of one container: pure, so that every word of it can be read and tested."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fairgrid.runtime.cgroups.around import PARENT, ROOT
from fairgrid.runtime.container.engines import Engine, EngineKind
from fairgrid.runtime.interface import Limits

__all__ = ["GUEST_USER", "Plan", "run_command", "waiting_command"]

GUEST_USER: Final = 65534
"""User and group of the job inside; it owns nothing on any machine."""
_HOST_NAME: Final = "fairgrid"
_WAITING_BYTES: Final = 16 << 20
_SHARED_MEMORY_BYTES: Final = 64 << 20
_VOLUME_BYTES: Final = 16 << 20
_SPARE_BYTES: Final = 1 << 20
_GROUP_SPARE_BYTES: Final = 8 << 20
"""The engine's own limit is above the one of our cgroup, so that ours strikes, and is seen to."""
_SENTRY_THREADS: Final = 1024
"""gVisor's kernel is a process with threads of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One container."""

    name: str
    image_id: str
    command: tuple[str, ...]
    """Words behind the image's name."""
    entrypoint: tuple[str, ...] = ()
    limits: Limits
    input_folder: Path
    scratch: Path
    """Holds ``out``, ``tmp`` and ``fairgrid``, which the job may write to, and the file ``environment``."""
    checkpoint_folder: Path | None = None
    runtime: str = ""
    """OCI runtime, a path or a name; empty: the engine's own."""
    seccomp: Path | None = None
    """The list of system calls; None: the engine's own."""
    is_gvisor: bool = False
    network: str = ""
    """The network that it joins, in which only its proxy is: ``ns:PATH`` for podman, ``container:NAME`` for docker;
    empty: a network with nothing in it."""
    gpus: tuple[int, ...] = ()
    volumes: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = field(default=())
    """Those that an environment file cannot hold."""
    open_files: int = 4096


def run_command(engine: Engine, plan: Plan) -> list[str]:
    """Run the container in the foreground, remove it when it ends, keep nothing of it."""
    limits = plan.limits
    memory = limits.memory_bytes + (_GROUP_SPARE_BYTES if engine.owns_groups else 0)
    processes = limits.processes + (_SENTRY_THREADS if plan.is_gvisor else 0)
    file_bytes = limits.output_bytes + _SPARE_BYTES
    words = [
        *("run", "--rm", "--pull=never", "--name", plan.name),
        *_network(engine, plan),
        *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *(("--security-opt", f"seccomp={plan.seccomp}") if plan.seccomp is not None else ()),
        *("--user", f"{GUEST_USER}:{GUEST_USER}"),
        *("--memory", str(memory), "--memory-swap", str(memory)),
        *("--cpus", str(limits.cpus), "--pids-limit", str(processes)),
        *("--ulimit", f"nofile={plan.open_files}:{plan.open_files}"),
        *("--ulimit", "core=0:0", "--ulimit", f"fsize={file_bytes}:{file_bytes}"),
        *("--shm-size", str(min(_SHARED_MEMORY_BYTES, limits.memory_bytes))),
        *("--log-driver", "none", "--no-healthcheck", "--sig-proxy=false"),
        *("--env-file", str(plan.scratch / "environment")),
    ]
    if engine.kind is EngineKind.PODMAN:
        words += ["--cgroups=no-conmon", "--read-only-tmpfs=false", "--image-volume=ignore", "--http-proxy=false"]
        words += [*("--ulimit", f"nproc={_nproc(processes)}:{_nproc(processes)}")]
        if not engine.is_root:
            words += [f"--userns=keep-id:uid={GUEST_USER},gid={GUEST_USER}"]
    for name, value in plan.variables:
        words += ["--env", f"{name}={value}"]
    if engine.owns_groups:
        parent = engine.group_parent
        inside = PARENT if parent is None else parent.relative_to(ROOT).as_posix()
        words += ["--cgroup-parent", f"/{inside}/{plan.name}"]
    if plan.runtime:
        words += ["--runtime", plan.runtime]
    for path in plan.volumes:
        words += ["--tmpfs", f"{path}:rw,nosuid,nodev,size={_VOLUME_BYTES}"]
    for source, target, mode in _mounts(plan):
        words += ["--volume", f"{source}:{target}:{mode}"]
    words += _gpus(engine, plan)
    if plan.entrypoint:
        words += ["--entrypoint", plan.entrypoint[0]]
    return engine.command(*words, plan.image_id, *plan.entrypoint[1:], *plan.command)


def waiting_command(engine: Engine, name: str, image_id: str) -> list[str]:
    """Start docker's container that does nothing but hold a network, in the background; it is removed by its name."""
    return engine.command(
        *("run", "--detach", "--pull=never", "--name", name, "--hostname", _HOST_NAME),
        # Nobody answers there; what this machine's resolver is would tell of its network.
        *("--network", "none", "--dns", "127.0.0.1"),
        *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--user", f"{GUEST_USER}:{GUEST_USER}", "--memory", str(_WAITING_BYTES), "--pids-limit", "8"),
        *("--log-driver", "none", "--no-healthcheck"),
        image_id,
    )


def _network(engine: Engine, plan: Plan) -> tuple[str, ...]:
    if not plan.network:
        return ("--network", "none", "--hostname", _HOST_NAME)
    if engine.kind is EngineKind.DOCKER:
        # Host name and resolver are those of the container that waits.
        return ("--network", plan.network)
    # Names are looked up by the proxy: what this machine's resolver is tells of its network.
    return ("--network", plan.network, "--dns", "none", "--hostname", _HOST_NAME)


def _mounts(plan: Plan) -> list[tuple[Path, str, str]]:
    mounts = [
        (plan.input_folder, "/iexec_in", "ro"),
        (plan.scratch / "out", "/iexec_out", "rw"),
        (plan.scratch / "tmp", "/tmp", "rw"),
        (plan.scratch / "fairgrid", "/.fairgrid", "rw"),
    ]
    if plan.checkpoint_folder is not None:
        mounts.append((plan.checkpoint_folder, "/fairgrid_checkpoint", "rw"))
    return mounts


def _gpus(engine: Engine, plan: Plan) -> list[str]:
    if not plan.gpus:
        return []
    if engine.kind is EngineKind.PODMAN:
        return [word for number in plan.gpus for word in ("--device", f"nvidia.com/gpu={number}")]
    numbers = ",".join(str(number) for number in plan.gpus)
    # docker reads this as CSV: the quotes keep the commas together.
    return ["--gpus", f'"device={numbers}"']


def _nproc(processes: int) -> int:
    """Counted per user on the whole machine, so it only stops what podman would raise it to; the cgroup limits."""
    return max(processes, 4096)
