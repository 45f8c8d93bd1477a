"""What `LocalNetwork` refuses before anything is started; `tests/e2e/test_local_network.py` starts real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

import fairgrid
from fairgrid.errors import UsageError
from fairgrid.localnet.options import LocalNetworkOptions, WorkerSpec


@pytest.mark.parametrize("workers", [-1, 101])
def test_number_of_workers_that_cannot_be_is_refused(workers: int) -> None:
    with pytest.raises(UsageError, match="0 to 100 workers"):
        fairgrid.LocalNetwork(workers=workers)


def test_network_that_shall_outlive_its_block_is_refused() -> None:
    with pytest.raises(UsageError, match="fairgrid up --detach"):
        fairgrid.LocalNetwork(options=LocalNetworkOptions(detach=True))


def test_outside_of_its_block_there_is_nothing_to_use(tmp_path: Path) -> None:
    local = fairgrid.LocalNetwork(tmp_path)
    for use in (lambda: local.folder, lambda: local.network, local.executor, local.names, lambda: local.kill("pool")):
        with pytest.raises(UsageError, match="inside of its `with` block"):
            use()


async def test_folder_without_a_network_cannot_be_a_running_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fairgrid up"), fairgrid.LocalNetwork.running(tmp_path):
        raise AssertionError("entered")
    with pytest.raises(UsageError, match="fairgrid up"):
        async with fairgrid.LocalNetwork.running(tmp_path):
            raise AssertionError("entered")


def test_names_of_workers_are_checked_and_no_temporary_folder_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    local = fairgrid.LocalNetwork(workers=[WorkerSpec("a"), WorkerSpec("a")])
    with pytest.raises(UsageError, match="different names"), local:
        raise AssertionError("entered")
    assert list(tmp_path.iterdir()) == []
