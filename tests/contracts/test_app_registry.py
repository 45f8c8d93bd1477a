"""The registry of apps: creation at predictable addresses, entries as code, look-ups, administration."""

from __future__ import annotations

import boa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgrid.chain.create2 import create2_address
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, address_bytes, from_hex, keccak, to_hex
from tests.contracts.registries import (
    NO_DATA,
    ChainContract,
    Log,
    account,
    compiled,
    deploy_contract,
    deploy_registry,
    public_abi,
    reverts,
)

CHECKSUM = "0x" + "c5" * 32
CONTENT = ("VanityEth", "DOCKER", b"registry.hub.docker.com/iexechub/vanityeth:1.1.1", CHECKSUM, b"{}")


@pytest.fixture(scope="module")
def registry_owner() -> str:
    return account("registry_owner")


@pytest.fixture(scope="module")
def provider() -> str:
    return account("provider")


@pytest.fixture(scope="module")
def stranger() -> str:
    return account("stranger")


@pytest.fixture(scope="module")
def registry(registry_owner: str) -> ChainContract:
    return deploy_registry("app_registry", registry_owner)


def _app(address: str) -> ChainContract:
    return ChainContract("app", address)


# --- creation ---------------------------------------------------------------------------------------------------


def test_created_app_has_its_content_owner_and_registry(registry: ChainContract, provider: str) -> None:
    app = _app(registry.call("createApp", provider, *CONTENT))
    assert app.call("m_appName") == CONTENT[0]
    assert app.call("m_appType") == CONTENT[1]
    assert app.call("m_appMultiaddr") == CONTENT[2]
    assert app.call("m_appChecksum") == CONTENT[3]
    assert app.call("m_appMREnclave") == CONTENT[4]
    assert app.call("owner") == provider
    assert app.call("registry") == registry.address


def test_creation_is_told_by_the_minted_token_alone(registry: ChainContract, provider: str, stranger: str) -> None:
    app, logs = registry.transact("createApp", provider, *CONTENT, sender=stranger)
    arguments = {"from": ZERO_ADDRESS, "to": provider, "tokenId": int(app, 16)}
    assert logs == [Log(registry.address, "Transfer", arguments)]
    assert registry.call("ownerOf", int(app, 16)) == provider


def test_address_follows_from_the_published_create2_rule(registry: ChainContract, provider: str) -> None:
    initializer = public_abi("app").encode_call("initialize", CONTENT)
    proxy_code = registry.call("proxyCode")
    expected = create2_address(registry.address, keccak(initializer + address_bytes(provider)), proxy_code)
    assert registry.call("predictApp", provider, *CONTENT) == expected
    assert registry.call("createApp", provider, *CONTENT) == expected
    assert registry.call("proxyCodeHash") == to_hex(keccak(proxy_code))


def test_app_is_a_minimal_proxy_of_the_master(registry: ChainContract, provider: str) -> None:
    app = registry.call("createApp", provider, *CONTENT)
    code = bytes(boa.env.get_code(app))
    master = address_bytes(registry.call("master"))
    assert code[:45] == from_hex("0x363d3d373d3d3d363d73") + master + from_hex("0x5af43d82803e903d91602b57fd5bf3")


def test_same_content_of_same_owner_is_created_once(registry: ChainContract, provider: str, stranger: str) -> None:
    registry.call("createApp", provider, *CONTENT)
    with reverts("Create2: Failed on deploy"):
        registry.call("createApp", provider, *CONTENT)
    assert registry.call("totalSupply") == 1
    registry.call("createApp", stranger, *CONTENT)
    assert registry.call("totalSupply") == 2


def test_app_for_nobody_is_refused(registry: ChainContract) -> None:
    with reverts(f"ERC721InvalidReceiver({ZERO_ADDRESS})"):
        registry.call("createApp", ZERO_ADDRESS, *CONTENT)
    assert registry.call("totalSupply") == 0


def test_creation_without_enough_gas_leaves_nothing(registry: ChainContract, provider: str) -> None:
    data = public_abi("app_registry").encode_call("createApp", (provider, *CONTENT))
    made = boa.env.execute_code(to_address=registry.address, data=data, simulate=True)
    enough = made.get_gas_used()
    for gas in range(0, enough, enough // 40):
        computation = boa.env.execute_code(to_address=registry.address, data=data, gas=gas)
        assert computation.is_error
    assert registry.call("totalSupply") == 0
    assert not boa.env.get_code(registry.call("predictApp", provider, *CONTENT))


_texts = st.text(max_size=64)
_bytes = st.binary(max_size=300)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=_texts,
    kind=st.text(max_size=16),
    multiaddr=_bytes,
    mrenclave=_bytes,
    checksum=st.binary(min_size=32, max_size=32),
)
def test_any_content_reads_back(
    registry: ChainContract, provider: str, name: str, kind: str, multiaddr: bytes, mrenclave: bytes, checksum: bytes
) -> None:
    content = (name, kind, multiaddr, to_hex(checksum), mrenclave)
    with boa.env.anchor():
        app = _app(registry.call("createApp", provider, *content))
        getters = ("m_appName", "m_appType", "m_appMultiaddr", "m_appChecksum", "m_appMREnclave")
        assert tuple(app.call(getter) for getter in getters) == content


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(("", "", b"", ZERO32, b""), id="empty"),
        pytest.param(("é" * 128, "t" * 64, b"m" * 1024, CHECKSUM, b"e" * 1024), id="longest"),
        pytest.param(("n" * 32, "t" * 32, b"m" * 32, CHECKSUM, b"e" * 32), id="whole words"),
        pytest.param(("", "", b"", CHECKSUM, b"e"), id="one byte"),
    ],
)
def test_edge_content_reads_back(registry: ChainContract, provider: str, content: tuple[object, ...]) -> None:
    app = _app(registry.call("createApp", provider, *content))
    getters = ("m_appName", "m_appType", "m_appMultiaddr", "m_appChecksum", "m_appMREnclave")
    assert tuple(app.call(getter) for getter in getters) == content


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(("n" * 257, "", b"", ZERO32, b""), id="name"),
        pytest.param(("", "t" * 65, b"", ZERO32, b""), id="type"),
        pytest.param(("", "", b"m" * 1025, ZERO32, b""), id="multiaddr"),
        pytest.param(("", "", b"", ZERO32, b"e" * 1025), id="mrenclave"),
    ],
)
def test_content_longer_than_the_limits_is_refused(
    registry: ChainContract, provider: str, content: tuple[object, ...]
) -> None:
    with reverts(NO_DATA):
        registry.call("createApp", provider, *content)


# --- the entry's own refusals -----------------------------------------------------------------------------------


def test_app_cannot_be_initialized_again(registry: ChainContract, provider: str) -> None:
    app = _app(registry.call("createApp", provider, *CONTENT))
    with reverts("already initialized"):
        app.call("initialize", *CONTENT, sender=provider)


def test_master_cannot_be_initialized_and_belongs_to_nobody(registry: ChainContract) -> None:
    master = _app(registry.call("master"))
    with reverts("already initialized"):
        master.call("initialize", *CONTENT)
    with reverts(f"ERC721NonexistentToken({int(master.address, 16)})"):
        master.call("owner")


def test_apps_name_service_is_refused_to_owner_and_stranger(
    registry: ChainContract, provider: str, stranger: str
) -> None:
    app = _app(registry.call("createApp", provider, *CONTENT))
    with reverts("caller is not the owner"):
        app.call("setName", stranger, "name", sender=stranger)
    with reverts("Operation not supported on this chain"):
        app.call("setName", stranger, "name", sender=provider)


def test_app_takes_no_coins(registry: ChainContract, provider: str) -> None:
    app = registry.call("createApp", provider, *CONTENT)
    boa.env.set_balance(provider, 5)
    assert boa.env.execute_code(to_address=app, sender=provider, value=5).is_error


def test_new_owner_of_the_token_owns_the_app(registry: ChainContract, provider: str, stranger: str) -> None:
    app = _app(registry.call("createApp", provider, *CONTENT))
    registry.call("transferFrom", provider, stranger, int(app.address, 16), sender=provider)
    assert app.call("owner") == stranger
    assert registry.call("lookup", app.address) == (stranger, 0, 0)


# --- look-ups ---------------------------------------------------------------------------------------------------


def test_lookup_names_the_owner_of_what_is_registered_only(
    registry: ChainContract, provider: str, stranger: str
) -> None:
    app = registry.call("createApp", provider, *CONTENT)
    assert registry.call("lookup", app) == (provider, 0, 0)
    assert registry.call("isRegistered", app) is True
    for other in (stranger, ZERO_ADDRESS, registry.address, registry.call("master")):
        assert registry.call("lookup", other) == (ZERO_ADDRESS, 0, 0)
        assert registry.call("isRegistered", other) is False


def test_entries_of_older_registries_stay_registered(
    registry: ChainContract, registry_owner: str, provider: str, stranger: str
) -> None:
    oldest, older = (deploy_registry("app_registry", registry_owner) for _ in range(2))
    older.call("initialize", oldest.address, sender=registry_owner)
    registry.call("initialize", older.address, sender=registry_owner)
    app = oldest.call("createApp", provider, *CONTENT)
    for asked in (registry, older, oldest):
        assert asked.call("isRegistered", app) is True
        assert asked.call("lookup", app) == (provider, 0, 0)
        assert asked.call("isRegistered", stranger) is False
        assert asked.call("lookup", stranger) == (ZERO_ADDRESS, 0, 0)
    newest_app = registry.call("createApp", stranger, *CONTENT)
    assert oldest.call("isRegistered", newest_app) is False


# --- administration ---------------------------------------------------------------------------------------------


def test_new_registry_is_not_initialized(registry: ChainContract, registry_owner: str) -> None:
    assert registry.call("name") == "iExec Application Registry (V5)"
    assert registry.call("symbol") == "iExecAppsV5"
    assert registry.call("owner") == registry_owner
    assert registry.call("initialized") is False
    assert registry.call("previous") == ZERO_ADDRESS
    assert registry.call("baseURI") == ""


def test_registry_without_owner_is_refused() -> None:
    with reverts(NO_DATA):
        deploy_contract("app_registry", registry_owner=ZERO_ADDRESS, entry_initcode=compiled("app").bytecode)


def test_registry_is_initialized_once_by_its_owner(registry: ChainContract, registry_owner: str, stranger: str) -> None:
    with reverts("Ownable: caller is not the owner"):
        registry.call("initialize", stranger, sender=stranger)
    registry.call("initialize", ZERO_ADDRESS, sender=registry_owner)
    assert registry.call("initialized") is True
    with reverts(NO_DATA):
        registry.call("initialize", stranger, sender=registry_owner)
    assert registry.call("previous") == ZERO_ADDRESS


def test_base_uri_is_set_by_the_owner_and_leads_every_token_uri(
    registry: ChainContract, registry_owner: str, provider: str, stranger: str
) -> None:
    token_id = int(registry.call("createApp", provider, *CONTENT), 16)
    assert registry.call("tokenURI", token_id) == ""
    with reverts("Ownable: caller is not the owner"):
        registry.call("setBaseURI", "https://example.org/", sender=stranger)
    registry.call("setBaseURI", "https://example.org/", sender=registry_owner)
    assert registry.call("baseURI") == "https://example.org/"
    assert registry.call("tokenURI", token_id) == f"https://example.org/{token_id}"
    with reverts("ERC721NonexistentToken(1)"):
        registry.call("tokenURI", 1)


def test_registrys_name_service_is_refused_to_owner_and_stranger(
    registry: ChainContract, registry_owner: str, stranger: str
) -> None:
    with reverts("Ownable: caller is not the owner"):
        registry.call("setName", stranger, "name", sender=stranger)
    with reverts("Operation not supported on this chain"):
        registry.call("setName", stranger, "name", sender=registry_owner)


def test_ownership_moves_by_the_owner_only(registry: ChainContract, registry_owner: str, stranger: str) -> None:
    with reverts("Ownable: caller is not the owner"):
        registry.call("transferOwnership", stranger, sender=stranger)
    with reverts(f"OwnableInvalidOwner({ZERO_ADDRESS})"):
        registry.call("transferOwnership", ZERO_ADDRESS, sender=registry_owner)
    _, logs = registry.transact("transferOwnership", stranger, sender=registry_owner)
    arguments = {"previousOwner": registry_owner, "newOwner": stranger}
    assert logs == [Log(registry.address, "OwnershipTransferred", arguments)]
    assert registry.call("owner") == stranger


def test_renounced_registry_has_no_owner(registry: ChainContract, registry_owner: str, stranger: str) -> None:
    with reverts("Ownable: caller is not the owner"):
        registry.call("renounceOwnership", sender=stranger)
    registry.call("renounceOwnership", sender=registry_owner)
    assert registry.call("owner") == ZERO_ADDRESS
    with reverts("Ownable: caller is not the owner"):
        registry.call("setBaseURI", "x", sender=registry_owner)
