"""Fixtures of the contracts' tests: one hub for a test session, undone after each test."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import boa
import platformdirs
import pytest
from boa import Env

from tests.contracts.hub_parts import FACETS
from tests.contracts.registries import compiled
from tests.contracts.world import World, deploy_hub

HERE = Path(__file__).parent
CONTRACTS = ("rlc", "app", "dataset", "workerpool", "app_registry", "dataset_registry", "workerpool_registry")
AROUND = ("role_account", "role_accounts", "deposit_address", "deposit_addresses", "group", "groups")

START = 1_800_000_000


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile before any test's time is counted, once for all processes of a test run."""
    if not any(HERE in item.path.parents for item in session.items):
        return
    folder = platformdirs.user_cache_path("fairgrid")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "compiled-contracts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in (*CONTRACTS, *AROUND, *FACETS, "hub"):
            compiled(name)


@pytest.fixture(scope="module", autouse=True)
def chain() -> Iterator[Env]:
    """A chain of its own for every module: one that has seen thousands of accounts is many times slower."""
    with boa.swap_env(Env()) as env:
        yield env


@pytest.fixture(scope="module")
def deployed_world(chain: Env) -> World:
    """The hub as it is deployed; never changed."""
    return deploy_hub()


@pytest.fixture
def world(deployed_world: World) -> Iterator[World]:
    """A hub of one's own, at a fixed time."""
    with deployed_world.anchor():
        deployed_world.now = START
        yield deployed_world
