"""Real engines: podman with a store of its own, a docker daemon of our own, and gVisor under both."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fairgrid.runtime.container.engines import Engine, find_engine
from fairgrid.runtime.container.oci_writer import ImageFile, RunConfig, write_archive
from fairgrid.runtime.container.provider import ContainerProvider
from fairgrid.runtime.container.sandbox import ContainerSandbox
from fairgrid.runtime.interface import Limits, Outcome, SandboxJob
from fairgrid.runtime.levels import Probe
from fairgrid.runtime.watch import JobWatch
from tests.containers import ARCHITECTURE, FLAVOURS, home, new_provider
from tests.needs import need

SEED = bytes(range(32))
SLOWER = float(os.environ.get("FAIRGRID_TEST_SLOWER", "1"))
"""So many times slower than a real machine this one is: an emulated one (`guest.sh`)."""
LIMITS = Limits(
    fuel=0, memory_bytes=96 << 20, output_bytes=8 << 20, output_files=200, wall_s=40.0 * SLOWER, processes=40
)


@dataclass(frozen=True)
class Level:
    """A sandbox that works, and what is behind it."""

    flavour: str
    provider: ContainerProvider
    sandbox: ContainerSandbox
    engine: Engine
    probe: Probe
    folder: Path

    @property
    def is_gvisor(self) -> bool:
        return self.flavour == "gvisor"

    def containers(self) -> list[str]:
        """Names of all containers of the engine."""
        command = self.engine.command("ps", "--all", "--format", "{{.Names}}")
        said = subprocess.run(
            command, env=dict(self.engine.environment), capture_output=True, text=True, check=True, timeout=60
        )
        return said.stdout.split()


@functools.cache
def _tried(flavour: str) -> tuple[Probe, Engine]:
    provider = new_provider(flavour)
    need(shutil.which("busybox"), "busybox is not installed (make system-deps)")
    probe = asyncio.run(provider.probe())
    need(probe.works, f"{flavour} does not work here: {probe.detail}")
    name = "docker" if flavour == "docker" else "podman"
    return probe, asyncio.run(find_engine(name, home() / name[0]))


@pytest.fixture(params=FLAVOURS)
def level(request: pytest.FixtureRequest) -> Level:
    """Each flavour in turn, with a sandbox that no other test used."""
    probe, engine = _tried(request.param)
    provider = new_provider(request.param)
    sandbox = provider.sandbox()
    assert isinstance(sandbox, ContainerSandbox)
    return Level(request.param, provider, sandbox, engine, probe, engine.folder)


@dataclass
class Run:
    """A finished job and the folder that it wrote."""

    outcome: Outcome
    out: Path

    @property
    def stdout(self) -> str:
        return self.outcome.stdout.decode()

    @property
    def stderr(self) -> str:
        return self.outcome.stderr.decode()


@dataclass
class Jobs:
    """Lays jobs out: shell scripts in an image of busybox alone."""

    base: Path
    archive: Path
    made: list[Path] = field(default_factory=list)

    def job(
        self,
        script: str,
        *,
        limits: Limits = LIMITS,
        inputs: Mapping[str, bytes] | None = None,
        program: Path | None = None,
        arguments: tuple[str, ...] | None = None,
        environment: Mapping[str, str] | None = None,
        checkpoint: Path | None = None,
        watch: bool = False,
    ) -> SandboxJob:
        base = self.base / f"job-{len(self.made)}"
        self.made.append(base)
        for part in ("app", "in", "out", "live"):
            (base / part).mkdir(parents=True)
        place = base / "app" / (program or self.archive).name
        os.link(program or self.archive, place)
        for name, content in (inputs or {}).items():
            (base / "in" / name).write_bytes(content)
            (base / "in" / name).chmod(0o600)
        return SandboxJob(
            script=place,
            arguments=("-c", script) if arguments is None else arguments,
            input_folder=base / "in",
            output_folder=base / "out",
            environment={"IEXEC_IN": "/iexec_in", "IEXEC_OUT": "/iexec_out", **(environment or {})},
            seed=SEED,
            limits=limits,
            checkpoint=checkpoint is not None,
            checkpoint_folder=checkpoint,
            watch=JobWatch(base / "live") if watch else None,
        )

    def leftovers(self) -> list[str]:
        return [str(path) for base in self.made for path in base.rglob("scratch-*")]


@pytest.fixture(scope="session")
def busybox_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image whose entry point is a shell."""
    busybox = shutil.which("busybox")
    need(busybox, "busybox is not installed (make system-deps)")
    assert busybox is not None
    target = tmp_path_factory.mktemp("image") / "busybox.oci.tar"
    files = [ImageFile("bin/busybox", Path(busybox), executable=True)]
    files += [ImageFile(f"bin/{name}", None, link="busybox") for name in APPLETS]
    write_archive(target, files, RunConfig(entrypoint=("/bin/sh",)), architecture=ARCHITECTURE)
    return target


APPLETS = (
    *("sh", "cat", "ls", "id", "touch", "mkdir", "mv", "ln", "dd", "sleep", "head", "grep", "env", "sed", "ps", "kill"),
    *(
        "yes",
        "mount",
        "umount",
        "mknod",
        "chmod",
        "nc",
        "wget",
        "ping",
        "seq",
        "wc",
        "cp",
        "rm",
        "echo",
        "true",
        "unshare",
    ),
)


@pytest.fixture
def jobs(tmp_path: Path, busybox_image: Path) -> Jobs:
    """A place to lay jobs out."""
    return Jobs(tmp_path, busybox_image)


RunJob = Callable[..., Awaitable[Run]]


@pytest.fixture
def run_job(level: Level, jobs: Jobs) -> RunJob:
    """Runs a shell script; see `Jobs.job`."""

    async def run(script: str, **options: object) -> Run:
        job = jobs.job(script, **options)  # type: ignore[arg-type]
        return Run(await level.sandbox.run(job), job.output_folder)

    return run


def groups_left() -> list[str]:
    """cgroups of jobs of this process that are still there."""
    mine = f"fairgrid-job-{os.getpid()}-"
    return [
        str(path)
        for parent in Path("/sys/fs/cgroup").glob("**/fairgrid")
        if parent.is_dir()
        for path in parent.iterdir()
        if path.name.startswith(mine)
    ]
