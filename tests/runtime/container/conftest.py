"""Real engines: podman with a store of its own, a docker daemon of our own, and gVisor under both."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.container.engines import Engine, find_engine
from fairgrid.runtime.container.oci_writer import ImageFile, RunConfig, write_archive
from fairgrid.runtime.container.provider import ContainerProvider
from fairgrid.runtime.container.sandbox import ContainerSandbox
from fairgrid.runtime.container.settings import ContainerSettings
from fairgrid.runtime.interface import Limits, Outcome, SandboxJob
from fairgrid.runtime.levels import Probe
from fairgrid.runtime.watch import JobWatch
from tests.needs import need

SEED = bytes(range(32))
NATIVE = {"x86_64": "oci/linux-x86_64", "aarch64": "oci/linux-aarch64"}.get(os.uname().machine, "")
GVISOR = "oci-gvisor/linux-x86_64"
LIMITS = Limits(fuel=0, memory_bytes=96 << 20, output_bytes=8 << 20, output_files=200, wall_s=40.0, processes=40)
FLAVOURS = ("podman", "docker", "gvisor")


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


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder with a short path, for sockets; mounts that engines leave on their stores go with it."""
    folder = Path(tempfile.mkdtemp(prefix="fg-ct-"))
    yield folder
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        place = line.split()[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", place], check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def docker_host(short_folder: Path) -> Iterator[str]:
    """A docker daemon of our own that knows gVisor; its address."""
    need(shutil.which("dockerd") and shutil.which("docker"), "docker is not installed (make system-deps)")
    need(os.geteuid() == 0, "a docker daemon of our own needs root")
    folder = short_folder / "d"
    folder.mkdir()
    address = f"unix://{folder}/sock"
    options = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
    if shutil.which("runsc"):
        wrapper = folder / "runsc"
        wrapper.write_text('#!/bin/sh\nexec runsc --platform=ptrace --network=none "$@"\n')
        wrapper.chmod(0o755)
        options.append(f"--add-runtime=fairgrid-runsc={wrapper}")
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [
                *("dockerd", "--data-root", str(folder / "data"), "--exec-root", str(folder / "x")),
                *("-p", str(folder / "pid"), "-H", address, *options),
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    patch = pytest.MonkeyPatch()
    patch.setenv("DOCKER_HOST", address)
    try:
        until = time.monotonic() + 60
        while subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
            assert daemon.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        yield address
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
        patch.undo()


@pytest.fixture(scope="session")
def level_of(request: pytest.FixtureRequest, short_folder: Path) -> Callable[[str], Level]:
    """Levels by flavour, each tried once."""
    found: dict[str, Level] = {}

    def of(flavour: str) -> Level:
        if flavour not in found:
            found[flavour] = _level(request, short_folder, flavour)
        return found[flavour]

    return of


def _level(request: pytest.FixtureRequest, short_folder: Path, flavour: str) -> Level:
    need(sys.platform == "linux" and NATIVE, "containers need Linux on a 64-bit PC or ARM machine")
    need(shutil.which("busybox"), "busybox is not installed (make system-deps)")
    name = "docker" if flavour == "docker" else "podman"
    if name == "docker":
        request.getfixturevalue("docker_host")
    else:
        need(shutil.which("podman"), "podman is not installed (make system-deps)")
    if flavour == "gvisor":
        need(shutil.which("runsc") and NATIVE == "oci/linux-x86_64", "gVisor is not installed (make system-deps)")
    runtime = GVISOR if flavour == "gvisor" else NATIVE
    folder = short_folder / ("h" if name == "podman" else "k")
    provider = ContainerProvider(CATALOGUE[runtime], ContainerSettings(engine=name), folder=folder)
    probe = asyncio.run(provider.probe())
    need(probe.works, f"{flavour} does not work here: {probe.detail}")
    sandbox = provider.sandbox()
    assert isinstance(sandbox, ContainerSandbox)
    engine = asyncio.run(find_engine(name, folder))
    return Level(flavour, provider, sandbox, engine, probe, folder)


@pytest.fixture(params=FLAVOURS)
def level(request: pytest.FixtureRequest, level_of: Callable[[str], Level]) -> Level:
    """Each flavour in turn, with a sandbox that no other test used."""
    found = level_of(request.param)
    provider = ContainerProvider(
        found.provider.info, ContainerSettings(engine=found.engine.kind.value), folder=found.folder
    )
    sandbox = provider.sandbox()
    assert isinstance(sandbox, ContainerSandbox)
    return replace(found, provider=provider, sandbox=sandbox)


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
    write_archive(target, files, RunConfig(entrypoint=("/bin/sh",)), architecture=_ARCHITECTURE)
    return target


_ARCHITECTURE = {"oci/linux-aarch64": "arm64"}.get(NATIVE, "amd64")
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
