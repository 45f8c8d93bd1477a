"""The registry of workerpools and the policy of a pool."""

from __future__ import annotations

import pytest

from fairgrid.chain.create2 import create2_address
from fairgrid.protocol.hexes import ZERO_ADDRESS, address_bytes, keccak
from tests.contracts.registries import NO_DATA, ChainContract, Log, account, deploy_registry, public_abi, reverts

DESCRIPTION = "a pool of many people's machines"


@pytest.fixture(scope="module")
def registry_owner() -> str:
    return account("registry_owner")


@pytest.fixture(scope="module")
def scheduler() -> str:
    return account("scheduler")


@pytest.fixture(scope="module")
def stranger() -> str:
    return account("stranger")


@pytest.fixture(scope="module")
def registry(registry_owner: str) -> ChainContract:
    return deploy_registry("workerpool_registry", registry_owner)


@pytest.fixture
def pool(registry: ChainContract, scheduler: str) -> ChainContract:
    return ChainContract("workerpool", registry.call("createWorkerpool", scheduler, DESCRIPTION))


def _policy(pool: ChainContract) -> tuple[int, int]:
    return pool.call("m_workerStakeRatioPolicy"), pool.call("m_schedulerRewardRatioPolicy")


def test_new_registry_has_its_own_names(registry: ChainContract) -> None:
    assert registry.call("name") == "iExec Workerpool Registry (V5)"
    assert registry.call("symbol") == "iExecWorkerpoolV5"


def test_new_pool_has_the_first_policy(registry: ChainContract, pool: ChainContract, scheduler: str) -> None:
    assert pool.call("m_workerpoolDescription") == DESCRIPTION
    assert pool.call("owner") == scheduler
    assert pool.call("registry") == registry.address
    assert _policy(pool) == (30, 1)
    assert registry.call("lookup", pool.address) == (scheduler, 30, 1)


def test_creation_is_told_by_the_minted_token_alone(registry: ChainContract, scheduler: str, stranger: str) -> None:
    pool, logs = registry.transact("createWorkerpool", scheduler, DESCRIPTION, sender=stranger)
    arguments = {"from": ZERO_ADDRESS, "to": scheduler, "tokenId": int(pool, 16)}
    assert logs == [Log(registry.address, "Transfer", arguments)]


def test_address_follows_from_the_published_create2_rule(registry: ChainContract, scheduler: str) -> None:
    initializer = public_abi("workerpool").encode_call("initialize", (DESCRIPTION,))
    salt = keccak(initializer + address_bytes(scheduler))
    expected = create2_address(registry.address, salt, registry.call("proxyCode"))
    assert registry.call("predictWorkerpool", scheduler, DESCRIPTION) == expected
    assert registry.call("createWorkerpool", scheduler, DESCRIPTION) == expected


def test_same_description_of_same_owner_is_created_once(
    registry: ChainContract, pool: ChainContract, scheduler: str, stranger: str
) -> None:
    with reverts("Create2: Failed on deploy"):
        registry.call("createWorkerpool", scheduler, DESCRIPTION)
    assert registry.call("createWorkerpool", stranger, DESCRIPTION) != pool.address


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 64, 1023, 1024])
def test_description_of_any_length_reads_back(registry: ChainContract, scheduler: str, length: int) -> None:
    description = "abcdefghijk" * 94
    pool = registry.call("createWorkerpool", scheduler, description[:length])
    assert ChainContract("workerpool", pool).call("m_workerpoolDescription") == description[:length]


def test_description_longer_than_the_limit_is_refused(registry: ChainContract, scheduler: str) -> None:
    with reverts(NO_DATA):
        registry.call("createWorkerpool", scheduler, "d" * 1025)


def test_owner_changes_the_policy_in_pool_and_registry(
    registry: ChainContract, pool: ChainContract, scheduler: str
) -> None:
    _, logs = pool.transact("changePolicy", 35, 5, sender=scheduler)
    arguments = {
        "oldWorkerStakeRatioPolicy": 30,
        "newWorkerStakeRatioPolicy": 35,
        "oldSchedulerRewardRatioPolicy": 1,
        "newSchedulerRewardRatioPolicy": 5,
    }
    assert logs == [Log(pool.address, "PolicyUpdate", arguments)]
    assert _policy(pool) == (35, 5)
    assert registry.call("lookup", pool.address) == (scheduler, 35, 5)
    assert registry.call("ownerOf", int(pool.address, 16)) == scheduler


@pytest.mark.parametrize(("stake", "reward"), [(0, 0), (100, 100), (2**24 - 1, 100)])
def test_policy_at_its_bounds_is_accepted(pool: ChainContract, scheduler: str, stake: int, reward: int) -> None:
    pool.call("changePolicy", stake, reward, sender=scheduler)
    assert _policy(pool) == (stake, reward)


@pytest.mark.parametrize(("stake", "reward"), [(30, 101), (2**24, 1), (2**256 - 1, 1), (30, 2**256 - 1)])
def test_policy_beyond_its_bounds_reverts_without_data(
    pool: ChainContract, scheduler: str, stake: int, reward: int
) -> None:
    with reverts(NO_DATA):
        pool.call("changePolicy", stake, reward, sender=scheduler)
    assert _policy(pool) == (30, 1)


def test_stranger_cannot_change_the_policy(
    registry: ChainContract, pool: ChainContract, stranger: str, registry_owner: str
) -> None:
    for sender in (stranger, registry_owner):
        with reverts("caller is not the owner"):
            pool.call("changePolicy", 1, 1, sender=sender)
    for sender in (stranger, registry_owner):
        with reverts(f"ERC721NonexistentToken({int(sender, 16)})"):
            registry.call("setPolicy", 1, 1, sender=sender)
    assert _policy(pool) == (30, 1)


def test_a_pools_policy_is_its_own(registry: ChainContract, pool: ChainContract, scheduler: str) -> None:
    other = ChainContract("workerpool", registry.call("createWorkerpool", scheduler, "other"))
    pool.call("changePolicy", 77, 7, sender=scheduler)
    assert _policy(other) == (30, 1)


def test_policy_survives_a_transfer_and_obeys_the_new_owner(
    registry: ChainContract, pool: ChainContract, scheduler: str, stranger: str
) -> None:
    pool.call("changePolicy", 77, 7, sender=scheduler)
    registry.call("transferFrom", scheduler, stranger, int(pool.address, 16), sender=scheduler)
    assert registry.call("lookup", pool.address) == (stranger, 77, 7)
    with reverts("caller is not the owner"):
        pool.call("changePolicy", 1, 1, sender=scheduler)
    pool.call("changePolicy", 78, 8, sender=stranger)
    assert registry.call("lookup", pool.address) == (stranger, 78, 8)


def test_pool_of_an_older_registry_keeps_its_policy_there(
    registry: ChainContract, pool: ChainContract, registry_owner: str, scheduler: str
) -> None:
    newer = deploy_registry("workerpool_registry", registry_owner)
    newer.call("initialize", registry.address, sender=registry_owner)
    pool.call("changePolicy", 40, 4, sender=scheduler)
    assert newer.call("lookup", pool.address) == (scheduler, 40, 4)
    assert newer.call("isRegistered", pool.address) is True


def test_pool_refuses_initialization_and_name_service(pool: ChainContract, scheduler: str, stranger: str) -> None:
    with reverts("already initialized"):
        pool.call("initialize", DESCRIPTION, sender=scheduler)
    with reverts("caller is not the owner"):
        pool.call("setName", stranger, "name", sender=stranger)
    with reverts("Operation not supported on this chain"):
        pool.call("setName", stranger, "name", sender=scheduler)
