"""A real Ray and a real Dask cluster on this machine, each in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.runtime.engines.slurm_cluster import free_ports

__all__ = ["running_dask", "running_ray"]

_READY_S = 120.0
_WORKER = ("--nthreads", "4", "--nworkers", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")


@contextmanager
def running_dask() -> Iterator[str]:
    """Its address; one worker of four threads."""
    (port,) = free_ports(1)
    address = f"tcp://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="fgdask-") as folder:
        log = (Path(folder) / "log").open("ab")
        started = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
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


def _dask(what: str) -> list[str]:
    return [sys.executable, "-m", f"distributed.cli.dask_{what}"]


@contextmanager
def running_ray() -> Iterator[str]:
    """Its address; a head that says it has four processors."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="fgray-", dir="/tmp") as folder:
        # Of this process, too, which joins it; read when ray is imported.
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
        command += ["--node-ip-address=127.0.0.2", "--num-cpus=4", "--memory=8000000000", f"--temp-dir={folder}"]
        command += ["--object-store-memory=100000000", "--include-dashboard=false", "--disable-usage-stats"]
        with (Path(folder) / "said").open("ab") as said:
            head = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            end = time.monotonic() + _READY_S
            while "Ray runtime started" not in (Path(folder) / "said").read_text(errors="replace"):
                if head.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((Path(folder) / "said").read_text(errors="replace")[-2000:])
                time.sleep(0.2)
            yield f"127.0.0.2:{port}"
        finally:
            head.terminate()
            try:
                head.wait(30)
            except subprocess.TimeoutExpired:
                head.kill()
                head.wait()
