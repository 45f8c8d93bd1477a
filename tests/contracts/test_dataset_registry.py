"""The registry of datasets: what it does otherwise than the registry of apps."""

from __future__ import annotations

import boa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgrid.chain.create2 import create2_address
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, address_bytes, keccak, to_hex
from tests.contracts.registries import NO_DATA, ChainContract, Log, account, deploy_registry, public_abi, reverts

CHECKSUM = "0x" + "da" * 32
CONTENT = ("Mauna Loa", b"/ipfs/QmaSkJwCuKT7MBTGEm3f2tX2rPCwWTgzKNjGJmA2GqJ2GG", CHECKSUM)
GETTERS = ("m_datasetName", "m_datasetMultiaddr", "m_datasetChecksum")


@pytest.fixture(scope="module")
def provider() -> str:
    return account("provider")


@pytest.fixture(scope="module")
def stranger() -> str:
    return account("stranger")


@pytest.fixture(scope="module")
def registry() -> ChainContract:
    return deploy_registry("dataset_registry", account("registry_owner"))


def _read(address: str) -> tuple[object, ...]:
    return tuple(ChainContract("dataset", address).call(getter) for getter in GETTERS)


def test_new_registry_has_its_own_names(registry: ChainContract) -> None:
    assert registry.call("name") == "iExec Dataset Registry (V5)"
    assert registry.call("symbol") == "iExecDatasetsV5"


def test_created_dataset_has_its_content_and_owner(registry: ChainContract, provider: str, stranger: str) -> None:
    dataset, logs = registry.transact("createDataset", provider, *CONTENT, sender=stranger)
    arguments = {"from": ZERO_ADDRESS, "to": provider, "tokenId": int(dataset, 16)}
    assert logs == [Log(registry.address, "Transfer", arguments)]
    assert _read(dataset) == CONTENT
    assert ChainContract("dataset", dataset).call("owner") == provider
    assert ChainContract("dataset", dataset).call("registry") == registry.address
    assert registry.call("lookup", dataset) == (provider, 0, 0)


def test_address_follows_from_the_published_create2_rule(registry: ChainContract, provider: str) -> None:
    initializer = public_abi("dataset").encode_call("initialize", CONTENT)
    salt = keccak(initializer + address_bytes(provider))
    expected = create2_address(registry.address, salt, registry.call("proxyCode"))
    assert registry.call("predictDataset", provider, *CONTENT) == expected
    assert registry.call("createDataset", provider, *CONTENT) == expected


def test_same_content_of_same_owner_is_created_once(registry: ChainContract, provider: str, stranger: str) -> None:
    registry.call("createDataset", provider, *CONTENT)
    with reverts("Create2: Failed on deploy"):
        registry.call("createDataset", provider, *CONTENT)
    assert registry.call("createDataset", stranger, *CONTENT)


def test_dataset_for_nobody_is_refused(registry: ChainContract) -> None:
    with reverts(f"ERC721InvalidReceiver({ZERO_ADDRESS})"):
        registry.call("createDataset", ZERO_ADDRESS, *CONTENT)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=64), multiaddr=st.binary(max_size=200), checksum=st.binary(min_size=32, max_size=32))
def test_any_content_reads_back(
    registry: ChainContract, provider: str, name: str, multiaddr: bytes, checksum: bytes
) -> None:
    content = (name, multiaddr, to_hex(checksum))
    with boa.env.anchor():
        assert _read(registry.call("createDataset", provider, *content)) == content


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        pytest.param(("", b"", ZERO32), True, id="empty"),
        pytest.param(("n" * 256, b"m" * 1024, CHECKSUM), True, id="longest"),
        pytest.param(("n" * 257, b"", CHECKSUM), False, id="name too long"),
        pytest.param(("", b"m" * 1025, CHECKSUM), False, id="multiaddr too long"),
    ],
)
def test_limits_of_content(registry: ChainContract, provider: str, content: tuple[str, bytes, str], fits: bool) -> None:
    if fits:
        assert _read(registry.call("createDataset", provider, *content)) == content
    else:
        with reverts(NO_DATA):
            registry.call("createDataset", provider, *content)


def test_dataset_refuses_initialization_and_name_service(registry: ChainContract, provider: str, stranger: str) -> None:
    dataset = ChainContract("dataset", registry.call("createDataset", provider, *CONTENT))
    with reverts("already initialized"):
        dataset.call("initialize", *CONTENT, sender=provider)
    with reverts("caller is not the owner"):
        dataset.call("setName", stranger, "name", sender=stranger)
    with reverts("Operation not supported on this chain"):
        dataset.call("setName", stranger, "name", sender=provider)
