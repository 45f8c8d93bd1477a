"""A real Ray and a real Dask cluster on this machine, each in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.runtime.engines.slurm_cluster import free_ports

__all__ = ["another_dask_worker", "running_dask", "running_ray"]

_READY_S = 120.0
_RAY_STARTS = 5
_RAY_HOST = "127.0.0.2"
"""Ray takes 127.0.0.1 for the address of this machine in its network."""
_WORKER = (
    "--nthreads",
    "4",
    "--resources",
    "GPU=2",
    "--nworkers",
    "1",
    "--no-nanny",
    "--no-dashboard",
    "--host",
    "127.0.0.1",
)


@contextmanager
def running_dask() -> Iterator[str]:
    """Its address; one worker of four threads, on a node that says it has two graphics processors."""
    (port,) = free_ports(1)
    address = f"tcp://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="fgdask-") as folder:
        log = (Path(folder) / "log").open("ab")
        described = os.environ | {"PATH": f"{_described_machine(Path(folder))}:{os.environ['PATH']}"}
        started = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=described)
            for command in (
                [*_dask("scheduler"), "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
                [*_dask("worker"), address, *_WORKER, "--local-directory", folder],
            )
        ]
        try:
            yield address
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            log.close()


@contextmanager
def another_dask_worker(address: str) -> Iterator[None]:
    """One more worker of a Dask that runs, for the time of the block."""
    with tempfile.TemporaryDirectory(prefix="fgdask-") as folder:
        worker = subprocess.Popen(
            [*_dask("worker"), address, *_WORKER, "--local-directory", folder],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            yield
        finally:
            worker.kill()
            worker.wait()


def _described_machine(folder: Path) -> Path:
    """A folder of tools that say that this machine has two graphics processors."""
    tool = folder / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\nfor n in 0 1; do echo "$n, GPU-$n$n$n$n, Tiny, 1024, Disabled"; done\n')
    tool.chmod(0o755)
    return tool.parent


def _dask(what: str) -> list[str]:
    return [sys.executable, "-m", f"distributed.cli.dask_{what}"]


@contextmanager
def running_ray() -> Iterator[str]:
    """Its address; a head that says it has four processors and two GPUs."""
    # Of this process, too, which joins it; read when ray is imported.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
    with ExitStack() as stack:
        for attempt in range(1, _RAY_STARTS + 1):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fgray-", dir="/tmp")))
            (port,) = free_ports(1)
            head = _start_ray(folder, port)
            stack.callback(_end_group, head)
            end = time.monotonic() + _READY_S
            while head.poll() is None and time.monotonic() < end:
                if "Ray runtime started" in (folder / "said").read_text(errors="replace"):
                    yield f"{_RAY_HOST}:{port}"
                    return
                time.sleep(0.2)
            # Ray gives its own parts half a minute to start, which a busy machine exceeds.
            _end_group(head)
            if attempt == _RAY_STARTS:
                raise RuntimeError((folder / "said").read_text(errors="replace")[-2000:])


def _start_ray(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    command += [
        f"--node-ip-address={_RAY_HOST}",
        "--num-cpus=4",
        "--num-gpus=2",
        "--memory=8000000000",
        f"--temp-dir={folder}",
    ]
    command += ["--object-store-memory=100000000", "--include-dashboard=false", "--disable-usage-stats"]
    with (folder / "said").open("ab") as said:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, cwd=folder
        )


def _end_group(head: subprocess.Popen[bytes]) -> None:
    head.terminate()
    try:
        head.wait(30)
    except subprocess.TimeoutExpired:
        pass
    with suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGKILL)
    head.wait()
