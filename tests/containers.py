"""Engines for tests: a docker daemon of our own, and stores of images that are gone afterwards; one a process."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.container.provider import ContainerProvider
from fairgrid.runtime.container.settings import ContainerSettings
from tests.needs import need

__all__ = ["ARCHITECTURE", "FLAVOURS", "GVISOR", "NATIVE", "docker_daemon", "home", "new_provider"]

NATIVE = {"x86_64": "oci/linux-x86_64", "aarch64": "oci/linux-aarch64"}.get(os.uname().machine, "")
ARCHITECTURE = {"oci/linux-aarch64": "arm64"}.get(NATIVE, "amd64")
GVISOR = "oci-gvisor/linux-x86_64"
FLAVOURS = ("podman", "docker", "gvisor")
_START_S = 60.0


def new_provider(flavour: str, *, registries: tuple[str, ...] = (), cache_bytes: int = 16 << 30) -> ContainerProvider:
    """A provider of one of `FLAVOURS`, or of ``docker-gvisor``; skips where the machine lacks it."""
    need(sys.platform == "linux" and NATIVE, "containers need Linux on a 64-bit PC or ARM machine")
    engine = "docker" if flavour.startswith("docker") else "podman"
    if engine == "docker":
        docker_daemon()
    else:
        need(shutil.which("podman"), "podman is not installed (make system-deps)")
    if flavour in ("gvisor", "docker-gvisor"):
        need(shutil.which("runsc") and NATIVE == "oci/linux-x86_64", "gVisor is not installed (make system-deps)")
    settings = ContainerSettings(
        engine=engine, registries=registries, cache_bytes=cache_bytes, insecure_loopback=bool(registries)
    )
    runtime = GVISOR if flavour.endswith("gvisor") else NATIVE
    return ContainerProvider(CATALOGUE[runtime], settings, folder=home() / engine[0])


@functools.cache
def home() -> Path:
    """A folder with a short path, for sockets; mounts that engines leave on their stores go with it."""
    folder = Path(tempfile.mkdtemp(prefix="fg-ct-"))
    atexit.register(_remove, folder)
    return folder


@functools.cache
def docker_daemon() -> str:
    """The address of a docker daemon that knows gVisor; ``DOCKER_HOST`` names it from now on."""
    need(shutil.which("dockerd") and shutil.which("docker"), "docker is not installed (make system-deps)")
    need(os.geteuid() == 0, "a docker daemon of our own needs root")
    folder = home() / "daemon"
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
    atexit.register(_end, daemon)
    os.environ["DOCKER_HOST"] = address
    until = time.monotonic() + _START_S
    while subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        assert daemon.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-2000:]
        time.sleep(0.1)
    return address


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()


def _remove(folder: Path) -> None:
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        place = line.split()[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", place], check=False)
    shutil.rmtree(folder, ignore_errors=True)
