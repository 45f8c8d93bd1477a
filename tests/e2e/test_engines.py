"""A cluster as one worker: a bag through a real network whose only worker is backed by a real Slurm."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairgrid.localnet.network import WorkerSpec
from tests.e2e.network import Network, running_network
from tests.runtime.engines.slurm_cluster import SlurmCluster, running_slurm

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

SQUARE = """
import os, sys
number = int(sys.argv[1])
with open(os.path.join(os.environ["IEXEC_OUT"], "square.txt"), "w") as file:
    file.write(str(number * number))
"""
POLICY = """
slots = 16
[engine]
kind = "slurm"
partition = "lab"
poll_s = 0.3
memory_overhead_bytes = 134217728
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    """A Slurm of one node with 32 processors, as it says."""
    with tempfile.TemporaryDirectory(prefix="fgslurm-", dir="/var/tmp") as folder:
        with running_slurm(Path(folder), cpus=32) as slurm:
            yield slurm


@pytest.fixture(scope="module")
def lone(cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A network whose one worker computes on the cluster."""
    folder, scratch = tmp_path_factory.mktemp("lone"), tmp_path_factory.mktemp("scratch")
    worker = folder / "workers" / "cluster"
    worker.mkdir(parents=True, mode=0o700)
    (worker / "policy.toml").write_text(POLICY)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        specs = [WorkerSpec("cluster", slots=16)]
        with running_network(folder, scratch, workers=specs, policy={"batch_run_s": 400.0}) as network:
            yield network


def test_a_bag_of_200_tasks_is_computed_by_slurm_and_verified(
    lone: Network, cluster: SlurmCluster, tmp_path: Path
) -> None:
    lone.scratch = tmp_path
    (tmp_path / "arguments.txt").write_text("".join(f"{number}\n" for number in range(200)))
    script = lone.script("square.py", SQUARE)
    answer = lone.fairgrid(
        "run", script, "--each", "arguments.txt", "--trust", "0", "--out", "out", "--json", timeout_s=800
    )
    assert answer.code == 0, answer.stderr
    document = answer.document
    assert (document["tasks"], document["completed"], document["refunded"]) == (200, 200, [])
    for number in range(200):
        assert (tmp_path / "out" / str(number) / "square.txt").read_text() == str(number * number)
    folder = lone.local.folder.worker("cluster")
    earned = lone.fairgrid("worker", "earnings", "--dir", folder, "--json")
    assert earned.code == 0, earned.stderr
    (cells,) = earned.document["cells"]
    assert cells["engine"] == "slurm" and cells["cells"] >= 200 and cells["cpuSeconds"] > 0
    assert not cluster.jobs()


def test_the_owner_sees_the_cluster_in_the_doctors_answer(lone: Network, cluster: SlurmCluster) -> None:
    folder = lone.local.folder.worker("cluster")
    answer = lone.fairgrid("worker", "doctor", "--dir", folder, "--json", timeout_s=300)
    assert answer.code == 0, answer.stderr + answer.stdout
    engine = answer.document["engine"]
    assert engine["kind"] == "slurm" and engine["works"] and engine["node"]
    assert any(row["works"] for row in answer.document["runtimes"])
    assert json.dumps(answer.document["runtimes"])
