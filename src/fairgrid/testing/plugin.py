"""A plugin of `pytest`: fixtures with a real network, loaded by itself where fairgrid is installed.

Nothing is imported or started until a test asks for a fixture; ``-p no:fairgrid`` leaves it out altogether.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fairgrid.executors.executor import Executor
    from fairgrid.testing.local_network import LocalNetwork

__all__ = ["fairgrid_executor", "fairgrid_network", "pytest_addoption"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--fairgrid-network``, and three keys of the configuration file."""
    group = parser.getgroup("fairgrid")
    group.addoption(
        "--fairgrid-network",
        metavar="DIR",
        default=None,
        help="Use the network that runs in this folder (`fairgrid up --detach`), instead of starting one.",
    )
    parser.addini("fairgrid_workers", "Honest workers of the network that is started.", default="3")
    parser.addini("fairgrid_budget", "Budget of `fairgrid_executor`, for each test.", default="5 RLC")
    parser.addini("fairgrid_trust", "Trust of `fairgrid_executor`; empty: two owners agree.", default="")


@pytest.fixture(scope="session")
def fairgrid_network(request: pytest.FixtureRequest) -> Iterator[LocalNetwork]:
    """A local network for the whole session: chain, market, storage, pool and workers as real processes."""
    from fairgrid.testing.local_network import LocalNetwork

    folder = request.config.getoption("--fairgrid-network")
    workers = str(request.config.getini("fairgrid_workers"))
    if not workers.isdigit():
        raise pytest.UsageError(f"fairgrid_workers is a number, not {workers!r}.")
    with LocalNetwork.running(folder) if folder else LocalNetwork(workers=int(workers)) as network:
        yield network


@pytest.fixture
def fairgrid_executor(request: pytest.FixtureRequest, fairgrid_network: LocalNetwork) -> Iterator[Executor]:
    """An `Executor` on `fairgrid_network`, with a budget of its own for each test."""
    budget = str(request.config.getini("fairgrid_budget"))
    trust = str(request.config.getini("fairgrid_trust")) or None
    with fairgrid_network.executor(budget=budget, trust=trust) as executor:
        yield executor
