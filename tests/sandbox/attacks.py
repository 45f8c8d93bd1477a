"""The attacks on a sandbox: what each tries (`attacks.c`), under which limits, and how it must end.

A level takes part with a module ``level_<name>.py`` that has a function ``level() -> LevelUnderTest``, and its name in
`LEVELS`. `test_escape.py` runs every attack in it, beside another job that holds a secret, and a good one afterwards.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from fairgrid.runtime.interface import Limits, Outcome, Sandbox, SandboxJob, Stop

__all__ = [
    "ATTACKS",
    "LEVELS",
    "LIMITS",
    "Attack",
    "Bait",
    "LevelUnderTest",
    "baited",
    "compile_attacks",
    "job_for",
    "told",
]

LEVELS = ("wasm", "process", "podman", "docker", "gvisor", "vm")
"""Levels that take part."""

SECRET = "canary-7f3c91-nobody-may-read-this"
MIB = 1 << 20
LIMITS = Limits(fuel=0, wall_s=60.0, memory_bytes=256 * MIB, output_bytes=16 * MIB, processes=64)
SOURCE = Path(__file__).with_name("attacks.c")


@dataclass(frozen=True, slots=True)
class LevelUnderTest:
    """One isolation level, as the suite drives it."""

    name: str
    sandbox: Callable[[], Sandbox]
    """A fresh sandbox; skips (see `tests.needs.need`) where the machine lacks what it takes."""
    program: Callable[[Path, Path], Path]
    """Make a job's script of the static executable ``attack`` (first argument) in a folder (second); returns it."""
    not_here: Mapping[str, str] = field(default_factory=dict)
    """Attacks that are none on this level, with the reason (a VM has a root of its own)."""
    stops: Mapping[str, frozenset[Stop]] = field(default_factory=dict)
    """Other ends than `Attack.stops` for some attacks."""
    own_paths: frozenset[str] = frozenset()
    """Paths that are another thing inside than on the machine: a container has a /run of its own."""
    own_machine: bool = False
    """True: the program is the master of a machine of its own, so that only secrets and arrivals count."""
    tighter: Callable[[Limits], Limits] = lambda limits: limits
    """What a level must change of limits (a VM needs memory for itself)."""


@dataclass(frozen=True, slots=True)
class Bait:
    """What is on the machine to be stolen or reached."""

    secret_file: Path
    key_folder: Path
    agent: int
    """This process."""
    tcp_port: int
    udp_port: int
    unix_path: Path
    abstract_name: str
    addresses: tuple[str, ...]
    """Addresses of this machine other than loopback."""
    arrived: list[str]
    """What came at one of the listeners: nothing may."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack. Unless ``stops`` says otherwise the program must end by itself and say that all was refused."""

    name: str
    arguments: Callable[[Bait], tuple[str, ...]] = lambda bait: ()
    limits: Limits = LIMITS
    stops: frozenset[Stop] = frozenset({Stop.EXITED})

    def __str__(self) -> str:
        return self.name


def _limits(**changed: object) -> Limits:
    return replace(LIMITS, **changed)  # type: ignore[arg-type]


ATTACKS: tuple[Attack, ...] = (
    Attack(
        "read-files",
        lambda bait: (
            *(str(bait.secret_file), str(bait.key_folder / "key.json"), str(bait.key_folder)),
            *("/root", "/home", "/var/log", "/etc/ssh", "/etc/fairgrid", "/run", f"/proc/{bait.agent}/environ"),
        ),
    ),
    Attack("find-secret", lambda bait: (SECRET[::-1],)),
    Attack("write-inputs"),
    Attack("write-system"),
    Attack(
        "connect",
        lambda bait: (
            *(str(bait.tcp_port), str(bait.udp_port), str(bait.unix_path), bait.abstract_name),
            *bait.addresses,
        ),
    ),
    Attack("fork-bomb", lambda bait: ("64",)),
    Attack("fork-for-ever", limits=_limits(wall_s=3.0, cpu_s=30.0), stops=frozenset({Stop.WALL_CLOCK, Stop.CPU})),
    Attack("memory-bomb", limits=_limits(memory_bytes=64 * MIB), stops=frozenset({Stop.MEMORY})),
    Attack(
        "scratch-bomb",
        lambda bait: ("40", "/tmp", "/dev/shm"),
        stops=frozenset({Stop.EXITED, Stop.MEMORY}),
    ),
    Attack("disk-bomb", stops=frozenset({Stop.OUTPUT})),
    Attack("file-bomb", limits=_limits(output_files=500), stops=frozenset({Stop.OUTPUT})),
    Attack("hidden-bomb", limits=_limits(wall_s=30.0), stops=frozenset({Stop.OUTPUT, Stop.HOST})),
    Attack("log-bomb", limits=_limits(wall_s=3.0), stops=frozenset({Stop.WALL_CLOCK})),
    Attack("become-root"),
    Attack("trace", lambda bait: (str(bait.agent),)),
    Attack("mounts"),
    Attack("kernel"),
    Attack("devices"),
    Attack("signals", lambda bait: (str(bait.agent),)),
    Attack("results", lambda bait: (str(bait.secret_file),)),
    Attack("orphans"),
)


def compile_attacks(folder: Path) -> Path | None:
    """The static executable ``attack``; None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    target = folder / "attack"
    subprocess.run([compiler, "-static", "-O1", "-o", str(target), str(SOURCE)], check=True, capture_output=True)
    return target


def job_for(program: Path, folder: Path, limits: Limits, *arguments: str) -> SandboxJob:
    """Lay a job out in ``folder``, with one input."""
    for name in ("in", "out"):
        (folder / name).mkdir(parents=True)
    given = folder / "in" / "input.txt"
    given.write_text("untouched\n")
    given.chmod(0o444)
    return SandboxJob(
        script=program,
        arguments=arguments,
        input_folder=folder / "in",
        output_folder=folder / "out",
        environment={"IEXEC_IN": "/iexec_in", "IEXEC_OUT": "/iexec_out"},
        seed=bytes(32),
        limits=limits,
    )


@contextmanager
def baited(folder: Path) -> Iterator[Bait]:
    """Secrets and listeners, while the block runs."""
    secret, keys = folder / "secret.txt", folder / "keys"
    secret.write_text(SECRET)
    keys.mkdir()
    (keys / "key.json").write_text(SECRET)
    # A socket's path must be short, and in a place where everybody may go.
    short = Path("/tmp") / f"fairgrid-bait-{os.getpid()}"
    short.unlink(missing_ok=True)
    arrived: list[str] = []
    name = f"fairgrid-bait-{os.getpid()}"
    tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    local, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    tcp.bind(("0.0.0.0", 0))
    udp.bind(("0.0.0.0", 0))
    local.bind(str(short))
    abstract.bind(f"\0{name}")
    for listener in (tcp, local, abstract):
        listener.listen()
    watchers = [
        threading.Thread(target=_note, args=(listener, what, arrived), daemon=True)
        for listener, what in ((tcp, "tcp"), (udp, "udp"), (local, "unix"), (abstract, "abstract"))
    ]
    for watcher in watchers:
        watcher.start()
    try:
        yield Bait(
            secret_file=secret,
            key_folder=keys,
            agent=os.getpid(),
            tcp_port=tcp.getsockname()[1],
            udp_port=udp.getsockname()[1],
            unix_path=short,
            abstract_name=name,
            addresses=_own_addresses(),
            arrived=arrived,
        )
    finally:
        for listener in (tcp, udp, local, abstract):
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()
        for watcher in watchers:
            watcher.join(5)
        short.unlink(missing_ok=True)


def _note(listener: socket.socket, what: str, arrived: list[str]) -> None:
    while True:
        try:
            if what == "udp":
                if not listener.recvfrom(100)[0]:
                    return
            else:
                listener.accept()[0].close()
        except OSError:
            return
        arrived.append(what)


def _own_addresses() -> tuple[str, ...]:
    return tuple(
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    )


def told(outcome: Outcome) -> str:
    """What an attack said, for a failing test."""
    said = outcome.stdout.decode(errors="replace")
    escapes = [line for line in said.splitlines() if line.startswith("ESCAPED")]
    return f"{outcome.stop} {outcome.exit_code} {outcome.detail}\n{escapes or said[-3000:]}"
