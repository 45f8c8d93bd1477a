"""Fixtures of the contracts' tests: one hub for a test session, undone after each test."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boa
import platformdirs
import pytest
from boa import Env

from fairgrid.errors import HostFailure
from tests.contracts.hub_parts import FACETS, NATIVE_ESCROW, create_hub
from tests.contracts.native_world import NativeWorld, deploy_native_hub
from tests.contracts.peer import PEER_NAME, PEER_VERSION, PeerPackage, ensure_peer
from tests.contracts.peer_record import deploy_peer_world
from tests.contracts.registries import ChainContract, compiled, deploy_contract
from tests.contracts.world import Person, World, deploy_hub, mock

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
        for name in (*CONTRACTS, *AROUND, *FACETS, NATIVE_ESCROW, "hub"):
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


@pytest.fixture(scope="session")
def peer_package() -> PeerPackage:
    """The published contracts; tests that compare with them are skipped where they cannot be fetched."""
    try:
        return PeerPackage(ensure_peer())
    except HostFailure as failure:
        pytest.skip(f"{PEER_NAME} {PEER_VERSION} cannot be fetched: {failure}")


@pytest.fixture(scope="module")
def deployed_native_world(chain: Env) -> NativeWorld:
    """A hub of native coins as it is deployed; never changed."""
    return deploy_native_hub()


@pytest.fixture
def native(deployed_native_world: NativeWorld) -> Iterator[NativeWorld]:
    """A hub of native coins of one's own, at a fixed time."""
    with deployed_native_world.anchor():
        deployed_native_world.now = START
        yield deployed_native_world


@pytest.fixture
def holder(world: World) -> Person:
    """Somebody with 100 RLC outside the escrow."""
    person = Person("holder")
    world.rlc.call("transfer", person.address, 100 * 10**9, sender=world.owner.address)
    return person


@pytest.fixture
def odd(world: World) -> tuple[ChainContract, Any]:
    """A hub over a token of our own making, which owns the hub; in it the world's owner has 100."""
    token = mock("odd_token")
    parts = create_hub(
        lambda name, **arguments: deploy_contract(name, **arguments).address,
        owner=str(token.address),
        base_token=str(token.address),
        registries={kind: registry.address for kind, registry in world.registries.items()},
    )
    token.give(world.owner.address, 100)
    return ChainContract("hub", parts["hub"]), token


@pytest.fixture(scope="module")
def worlds(peer_package: PeerPackage, chain: Env) -> tuple[World, World]:
    """The published contracts, and ours, on one chain."""
    return deploy_peer_world(peer_package), deploy_hub()
