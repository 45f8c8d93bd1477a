"""One local network for all tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.network import Network, running_network


@pytest.fixture(scope="session")
def shared_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Eight honest workers."""
    with running_network(tmp_path_factory.mktemp("network"), tmp_path_factory.mktemp("scratch")) as network:
        yield network


@pytest.fixture
def network(shared_network: Network, tmp_path: Path) -> Network:
    """The shared network, with a scratch folder of the test's own."""
    shared_network.scratch = tmp_path
    return shared_network
