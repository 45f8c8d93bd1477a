"""A cluster as one worker, through a real network: a real Slurm both ways, a real Ray and a real Dask."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairgrid.localnet.options import LocalNetworkOptions, WorkerSpec
from fairgrid.worker.records.cells import CellSum, sum_of_cells
from fairgrid.worker.records.store import WorkerStore
from fairgrid.worker.setup.opening import DATABASE_NAME
from tests.e2e.acts import started, until
from tests.e2e.network import Network, running_network
from tests.runtime.engines.other_clusters import running_dask, running_ray
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


def test_an_allocation_a_ray_and_a_dask_are_three_workers_that_agree_on_every_task(
    cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    with running_ray() as ray, running_dask() as dask:
        tables = {
            "slurm": 'kind = "slurm"\nmode = "allocation"\nallocation_minutes = 30\nallocation_slots = 2',
            "ray": f'kind = "ray"\naddress = "{ray}"',
            "dask": f'kind = "dask"\naddress = "{dask}"\nshared_folder = false',
        }
        for name, table in tables.items():
            worker = tmp_path / "network" / "workers" / name
            worker.mkdir(parents=True, mode=0o700)
            text = f"slots = 2\n[engine]\n{table}\npoll_s = 0.3\nmemory_overhead_bytes = 134217728\n"
            (worker / "policy.toml").write_text(text)
        specs = [WorkerSpec(name, slots=2) for name in tables]
        options = LocalNetworkOptions(ready_within_s=300.0)
        with running_network(tmp_path / "network", tmp_path, workers=specs, options=options) as network:
            script = network.script("square.py", SQUARE)
            (tmp_path / "arguments.txt").write_text("7\n8\n")
            answer = network.fairgrid(
                *("run", script, "--each", "arguments.txt", "--trust", "0.5", "--workers-at-least", "3"),
                *("--lane", "classic", "--out", "out", "--json"),
                timeout_s=400,
            )
            assert answer.code == 0, answer.stderr
            assert (answer.document["completed"], answer.document["refunded"]) == (2, [])
            used = {name: cells_of(network, name) for name in tables}
    assert {name: [(one.engine, one.cells >= 2) for one in cells] for name, cells in used.items()} == {
        name: [(name, True)] for name in tables
    }
    assert [(tmp_path / "out" / str(place) / "square.txt").read_text() for place in range(2)] == ["49", "64"]
    assert not cluster.jobs()


def cells_of(network: Network, worker: str) -> tuple[CellSum, ...]:
    """What a worker wrote down of its cells."""
    store = WorkerStore.open(network.local.folder.worker(worker) / DATABASE_NAME)
    try:
        return sum_of_cells(store)
    finally:
        store.close()


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


def test_a_worker_that_is_killed_while_slurm_computes_goes_on_after_its_restart_and_leaves_no_orphans(
    lone: Network, cluster: SlurmCluster, tmp_path: Path
) -> None:
    lone.scratch = tmp_path
    script = lone.script("loop.py", "for _ in range(2_000_000): pass\n" + SQUARE)
    (tmp_path / "arguments.txt").write_text("".join(f"{number}\n" for number in range(24)))
    arguments = ("run", script, "--each", "arguments.txt", "--trust", "0", "--out", "out", "--json")
    with started(lone, *arguments) as command:
        until(lambda: cluster.ids("RUNNING"), "a cell that runs", within_s=120)
        lone.local.kill("cluster")
        left = set(cluster.ids())
        lone.wait(lone.local.restart("cluster"), 200)
        assert not left & set(cluster.ids()), "cells of the killed worker are still there"
        answer = command.finish(within_s=400)
    assert answer.code == 0, answer.stderr
    assert (answer.document["completed"], answer.document["refunded"]) == (24, [])
    until(lambda: not cluster.jobs(), "an empty queue")
