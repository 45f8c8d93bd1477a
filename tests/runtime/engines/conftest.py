"""Real engines, started once for all tests that use them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.engines.other_clusters import running_dask, running_ray
from tests.runtime.engines.slurm_cluster import SlurmCluster, running_slurm


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """A Slurm cluster of one node."""
    # Not below pytest's own folder: munge refuses folders whose parents others may write to, and long sockets.
    with tempfile.TemporaryDirectory(prefix="fgslurm-", dir="/var/tmp") as folder, running_slurm(Path(folder)) as slurm:
        yield slurm


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """The cluster, found by this process."""
    for name, value in slurm_cluster.environment.items():
        monkeypatch.setenv(name, value)
    return slurm_cluster


@pytest.fixture(scope="session")
def dask_address() -> Iterator[str]:
    """A Dask cluster."""
    with running_dask() as address:
        yield address


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A Ray cluster."""
    with running_ray() as address:
        yield address
