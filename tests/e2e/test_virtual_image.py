"""A virtual image through the whole network: built by its recipe, run in a machine of a worker, verified and paid."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fairgrid.localnet.options import WorkerSpec
from tests.e2e.network import running_network
from tests.needs import need

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
EXAMPLE = Path(__file__).parents[2] / "examples" / "virtual_image"
TABLE = "station;temperature\nOslo;-3.0\nCairo;31.5\nOslo;7.0\nCairo;33.5\nLima;18.0\n"


def test_a_virtual_image_is_run_in_machines_of_two_owners_who_agree(tmp_path: Path) -> None:
    need(shutil.which("qemu-system-x86_64"), "no qemu-system-x86_64 (make system-deps)")
    need(shutil.which("busybox") and shutil.which("apt-get"), "no busybox and apt-get to build the image with")
    built = subprocess.run([EXAMPLE / "build.sh", tmp_path / "image"], capture_output=True, timeout=200, check=False)
    need(built.returncode == 0, f"the image cannot be built here: {built.stderr.decode()[-500:]}")
    (tmp_path / "stations.csv").write_text(TABLE)
    workers = [WorkerSpec("worker-1"), WorkerSpec("worker-2")]
    for worker in workers:
        folder = tmp_path / "network" / "workers" / worker.name
        folder.mkdir(parents=True)
        (folder / "policy.toml").write_text('levels = ["wasm", "vm"]\n')
    with running_network(tmp_path / "network", tmp_path, workers=workers) as network:
        answer = network.fairgrid(
            *("run", tmp_path / "image" / "image.vm.json"),
            *("--input", EXAMPLE / "main.sh", "--input", "stations.csv", "--arg", "stations.csv"),
            *("--memory", "128M", "--output-limit", "4M", "--trust", "0.7", "--out", "out", "--json"),
            timeout_s=300,
        )
    assert answer.code == 0, answer.stderr
    assert sum(line["agreed"] for line in answer.document["contributions"]) == 2
    assert (tmp_path / "out" / "summary.csv").read_text() == (
        "Cairo;31.5;32.5;33.5;2\nLima;18.0;18.0;18.0;1\nOslo;-3.0;2.0;7.0;2\n"
    )
    assert (tmp_path / "out" / "stdout.txt").read_text() == "3 stations\n"
