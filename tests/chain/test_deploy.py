"""Deployment on a real chain: addresses, the state that it leaves, a second run, a broken-off run, refusals."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from fairgrid.chain.abi import contract_abi
from fairgrid.chain.artifacts import artifact
from fairgrid.chain.create2 import DEPLOY_SALT, DEPLOYER, create2_address
from fairgrid.chain.deploy import FACETS, NATIVE_ESCROW, Deployment, deploy, plan_contracts
from fairgrid.errors import ContractReverted, FundsError, OrderError, ServiceUnavailable, UsageError
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, from_hex, keccak, to_hex
from fairgrid.wallet.keys import KeySigner, dev_signer

LARGEST_CODE = 24_576
OWNER = dev_signer(0)
SETTINGS = 6
"""`initialize` and `setBaseURI` of three registries."""
SUPPLY = 87_000_000 * 10**9


def _call(anvil: AnvilProcess, contract: str, address: str, function: str, *arguments: Any) -> Any:
    data = to_hex(contract_abi(contract).encode_call(function, arguments))
    answer = anvil.request("eth_call", {"to": address, "data": data}, "latest")
    values = contract_abi(contract).decode_answer(function, from_hex(answer))
    return values[0] if len(values) == 1 else values


def _send(anvil: AnvilProcess, to: str, data: bytes, *, wei: int = 0) -> int:
    """A transaction of the owner, mined; the gas that it used."""
    call = {"from": OWNER.address, "to": to, "data": to_hex(data), "value": hex(wei)}
    tx_hash = anvil.request("eth_sendTransaction", call)
    deadline = time.monotonic() + 20
    while (receipt := anvil.request("eth_getTransactionReceipt", tx_hash)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert receipt["status"] == "0x1"
    return int(receipt["gasUsed"], 16)


def _blocks(anvil: AnvilProcess) -> int:
    return int(anvil.request("eth_blockNumber"), 16)


def _addresses(deployment: Deployment) -> list[str]:
    return [
        deployment.hub,
        deployment.rlc,
        deployment.app_registry,
        deployment.dataset_registry,
        deployment.workerpool_registry,
        deployment.role_accounts,
        deployment.deposit_addresses,
        deployment.groups,
        *deployment.facets.values(),
    ]


# --- what a deployment leaves -----------------------------------------------------------------------------------


async def test_local_deployment_leaves_the_state_of_the_specification(module_anvil: AnvilProcess) -> None:
    deployment = await deploy(module_anvil.rpc_url)

    hub = deployment.hub
    assert deployment.chain_id == 31337
    assert deployment.owner == OWNER.address == _call(module_anvil, "hub", hub, "owner")
    assert _call(module_anvil, "hub", hub, "name") == "Staked RLC"
    assert _call(module_anvil, "hub", hub, "symbol") == "SRLC"
    assert _call(module_anvil, "hub", hub, "decimals") == 9
    assert _call(module_anvil, "hub", hub, "token") == deployment.rlc
    assert _call(module_anvil, "hub", hub, "appregistry") == deployment.app_registry
    assert _call(module_anvil, "hub", hub, "datasetregistry") == deployment.dataset_registry
    assert _call(module_anvil, "hub", hub, "workerpoolregistry") == deployment.workerpool_registry
    assert _call(module_anvil, "hub", hub, "teebroker") == ZERO_ADDRESS
    assert _call(module_anvil, "hub", hub, "callbackgas") == 200_000
    categories = [_call(module_anvil, "hub", hub, "viewCategory", index) for index in range(5)]
    assert categories == [
        ("XS", '""', 300),
        ("S", '""', 1_200),
        ("M", '""', 3_600),
        ("L", '""', 10_800),
        ("XL", '""', 36_000),
    ]
    assert _call(module_anvil, "hub", hub, "countCategory") == 5
    assert _call(module_anvil, "rlc", deployment.rlc, "balanceOf", OWNER.address) == SUPPLY
    registries = {
        "app": deployment.app_registry,
        "dataset": deployment.dataset_registry,
        "workerpool": deployment.workerpool_registry,
    }
    for entry, registry in registries.items():
        name = f"{entry}_registry"
        assert _call(module_anvil, name, registry, "owner") == OWNER.address
        assert _call(module_anvil, name, registry, "initialized") is True
        assert _call(module_anvil, name, registry, "previous") == ZERO_ADDRESS
        uri = f"https://nfts-metadata.iex.ec/{entry}/31337/"
        assert _call(module_anvil, name, registry, "baseURI") == uri
        master = _call(module_anvil, name, registry, "master")
        assert _call(module_anvil, entry, master, "registry") == registry


async def test_every_contract_fits_the_chains_limit_and_the_hub_hash_is_of_its_code(
    module_anvil: AnvilProcess,
) -> None:
    deployment = await deploy(module_anvil.rpc_url)
    for address in _addresses(deployment):
        code = from_hex(module_anvil.request("eth_getCode", address, "latest"))
        assert 0 < len(code) <= LARGEST_CODE
    hub_code = from_hex(module_anvil.request("eth_getCode", deployment.hub, "latest"))
    assert deployment.hub_code_hash == to_hex(keccak(hub_code))


async def test_addresses_are_known_before_anything_is_sent(module_anvil: AnvilProcess) -> None:
    plan = plan_contracts(OWNER.address)
    deployment = await deploy(module_anvil.rpc_url)
    assert sorted(_addresses(deployment)) == sorted(contract.address for contract in plan.values())


# --- a second run -----------------------------------------------------------------------------------------------


async def test_second_run_sends_nothing_and_says_so(anvil: AnvilProcess) -> None:
    steps: list[str] = []
    first = await deploy(anvil.rpc_url, progress=steps.append)
    assert not first.already_deployed
    assert len(steps) == len(first.gas_used) == len(plan_contracts(OWNER.address)) + SETTINGS
    blocks = _blocks(anvil)

    steps.clear()
    second = await deploy(anvil.rpc_url, progress=steps.append)
    assert second == replace(first, gas_used={}, already_deployed=True)
    assert _blocks(anvil) == blocks
    assert steps == []


async def test_broken_off_run_is_finished_by_the_next(anvil: AnvilProcess) -> None:
    plan = plan_contracts(OWNER.address)
    for name in ("rlc", "dataset_registry", "hub_views"):
        _send(anvil, DEPLOYER, DEPLOY_SALT + plan[name].init_code)
    initialize = contract_abi("dataset_registry").encode_call("initialize", (ZERO_ADDRESS,))
    _send(anvil, plan["dataset_registry"].address, initialize)

    deployment = await deploy(anvil.rpc_url)
    assert not deployment.already_deployed
    assert set(deployment.gas_used) == {
        "app_registry",
        "workerpool_registry",
        "hub_orders",
        "hub_batch",
        "hub_boost",
        "hub_escrow",
        "hub_admin",
        "hub_legacy",
        "hub",
        "role_accounts",
        "deposit_addresses",
        "groups",
        "app_registry.initialize",
        "app_registry.setBaseURI",
        "dataset_registry.setBaseURI",
        "workerpool_registry.initialize",
        "workerpool_registry.setBaseURI",
    }
    assert deployment.hub == plan["hub"].address
    assert (await deploy(anvil.rpc_url)).already_deployed


async def test_what_the_owner_changed_since_stays(anvil: AnvilProcess) -> None:
    deployment = await deploy(anvil.rpc_url)
    data = contract_abi("app_registry").encode_call("setBaseURI", ("https://example.org/",))
    _send(anvil, deployment.app_registry, data)
    assert (await deploy(anvil.rpc_url)).already_deployed
    assert _call(anvil, "app_registry", deployment.app_registry, "baseURI") == "https://example.org/"


async def test_creation_codes_lead_to_the_addresses(module_anvil: AnvilProcess) -> None:
    deployment = await deploy(module_anvil.rpc_url)
    codes = deployment.to_json()["creationCodes"]
    planned = codes["token"] | codes["registries"] | codes["facets"] | codes["factories"] | {"hub": codes["hub"]}
    assert set(planned) == set(plan_contracts(OWNER.address))
    reached = {create2_address(DEPLOYER, DEPLOY_SALT, from_hex(code)) for code in planned.values()}
    assert reached == set(_addresses(deployment))
    assert set(codes["entries"]) == {"app", "dataset", "workerpool"}
    assert set(codes["clones"]) == {"role_account", "deposit_address", "group"}
    for kind in ("app", "dataset", "workerpool"):
        registry = getattr(deployment, f"{kind}_registry")
        assert _call(module_anvil, f"{kind}_registry", registry, "proxyCode") == from_hex(codes["entryProxy"])


async def test_factories_serve_this_hub(module_anvil: AnvilProcess) -> None:
    deployment = await deploy(module_anvil.rpc_url)
    for name, factory in (
        ("role_accounts", deployment.role_accounts),
        ("deposit_addresses", deployment.deposit_addresses),
    ):
        assert _call(module_anvil, name, factory, "hub") == deployment.hub
    assert _call(module_anvil, "deposit_addresses", deployment.deposit_addresses, "token") == deployment.rlc


# --- other owners, tokens, chains -------------------------------------------------------------------------------


async def test_another_owner_gets_a_network_of_its_own(anvil: AnvilProcess, rich_signer: KeySigner) -> None:
    first = await deploy(anvil.rpc_url)
    second = await deploy(anvil.rpc_url, rich_signer)
    shared_by_all = {first.groups, *first.facets.values(), *second.facets.values()}
    owned = [set(_addresses(deployment)) - shared_by_all for deployment in (first, second)]
    assert not owned[0] & owned[1]
    assert first.groups == second.groups
    shared = {name for name, address in first.facets.items() if second.facets[name] == address}
    assert shared == {"hub_batch"}, "facets that know nobody, and keep nothing, serve every hub"
    assert _call(anvil, "hub", second.hub, "owner") == rich_signer.address
    assert _call(anvil, "rlc", second.rlc, "balanceOf", rich_signer.address) == SUPPLY


async def test_given_token_is_used_and_none_is_created(anvil: AnvilProcess, rich_signer: KeySigner) -> None:
    token = (await deploy(anvil.rpc_url)).rlc
    deployment = await deploy(anvil.rpc_url, rich_signer, rlc=token.lower())
    assert deployment.rlc == token == _call(anvil, "hub", deployment.hub, "token")
    assert "rlc" not in deployment.gas_used
    own = plan_contracts(rich_signer.address)["rlc"].address
    assert anvil.request("eth_getCode", own, "latest") == "0x"


async def test_native_flavour_has_no_token_and_takes_coins(anvil: AnvilProcess) -> None:
    token_flavour = await deploy(anvil.rpc_url)
    deployment = await deploy(anvil.rpc_url, native=True)
    assert (token_flavour.flavour, deployment.flavour) == ("token", "native")
    assert deployment.rlc == deployment.deposit_addresses == ZERO_ADDRESS
    assert _call(anvil, "hub", deployment.hub, "token") == ZERO_ADDRESS
    assert _call(anvil, "hub", deployment.hub, "owner") == OWNER.address
    assert deployment.hub != token_flavour.hub
    assert deployment.app_registry == token_flavour.app_registry, "registries know no hub"
    assert set(deployment.facets) == {*FACETS, NATIVE_ESCROW} - {"hub_escrow"}
    assert set(deployment.creation_codes["facets"]) == set(deployment.facets)
    assert deployment.creation_codes["token"] == {}
    plan = plan_contracts(OWNER.address, native=True)
    assert {"rlc", "hub_escrow", "deposit_addresses"}.isdisjoint(plan)
    assert deployment.facets[NATIVE_ESCROW] == plan[NATIVE_ESCROW].address
    for contract in plan.values():
        assert 0 < len(from_hex(anvil.request("eth_getCode", contract.address, "latest"))) <= LARGEST_CODE

    _send(anvil, deployment.hub, b"", wei=7 * 10**9 + 5)
    assert _call(anvil, "hub", deployment.hub, "balanceOf", OWNER.address) == 7
    assert int(anvil.request("eth_getBalance", deployment.hub, "latest"), 16) == 7 * 10**9
    _send(anvil, deployment.hub, contract_abi("hub").encode_call("withdraw", (7,)))
    assert int(anvil.request("eth_getBalance", deployment.hub, "latest"), 16) == 0
    assert (await deploy(anvil.rpc_url, native=True)).already_deployed


async def test_native_flavour_of_a_token_is_refused(anvil: AnvilProcess) -> None:
    token = (await deploy(anvil.rpc_url)).rlc
    blocks = _blocks(anvil)
    with pytest.raises(UsageError, match="leave --rlc or --native out"):
        await deploy(anvil.rpc_url, rlc=token, native=True)
    assert _blocks(anvil) == blocks


async def test_address_that_is_no_token_is_refused(anvil: AnvilProcess) -> None:
    for address in (OWNER.address, DEPLOYER):
        with pytest.raises(UsageError, match="no token with 9 decimals"):
            await deploy(anvil.rpc_url, rlc=address)
    with pytest.raises(OrderError, match="not an address"):
        await deploy(anvil.rpc_url, rlc="0x1234")
    assert _blocks(anvil) == 0


async def test_chain_without_the_create2_deployer_is_refused(anvil: AnvilProcess) -> None:
    anvil.request("anvil_setCode", DEPLOYER, "0x")
    with pytest.raises(UsageError, match=f"no CREATE2 deployer at {DEPLOYER}"):
        await deploy(anvil.rpc_url)
    anvil.request("anvil_setCode", DEPLOYER, "0x00")
    with pytest.raises(UsageError, match="Another contract than the CREATE2 deployer"):
        await deploy(anvil.rpc_url)
    assert _blocks(anvil) == 0


async def test_other_chain_needs_a_key(anvil: AnvilProcess, rich_signer: KeySigner) -> None:
    anvil.request("anvil_setChainId", 4242)
    with pytest.raises(UsageError, match="Chain 4242 is not a local chain"):
        await deploy(anvil.rpc_url)
    deployment = await deploy(anvil.rpc_url, rich_signer)
    assert deployment.chain_id == 4242
    uri = _call(anvil, "app_registry", deployment.app_registry, "baseURI")
    assert uri == "https://nfts-metadata.iex.ec/app/4242/"


async def test_owner_without_coins_sends_nothing(anvil: AnvilProcess) -> None:
    poor = KeySigner(bytes([9] * 32))
    with pytest.raises(FundsError, match=rf"{poor.address} has 0\.000000"):
        await deploy(anvil.rpc_url, poor)
    assert _blocks(anvil) == 0


async def test_owner_that_gave_its_registry_away_is_told_the_refusal(anvil: AnvilProcess) -> None:
    plan = plan_contracts(OWNER.address)
    registry = plan["app_registry"]
    _send(anvil, DEPLOYER, DEPLOY_SALT + registry.init_code)
    handover = contract_abi("app_registry").encode_call("transferOwnership", (dev_signer(1).address,))
    _send(anvil, registry.address, handover)
    with pytest.raises(ContractReverted, match=r"app_registry\.initialize failed: Ownable: caller is not the owner"):
        await deploy(anvil.rpc_url)


async def test_silent_node_is_named() -> None:
    with pytest.raises(ServiceUnavailable, match=r"The chain at http://127\.0\.0\.1:1"):
        await deploy("http://127.0.0.1:1")


# --- gas of what users do ---------------------------------------------------------------------------------------


async def test_creating_an_app_costs_at_most_300_000_gas(anvil: AnvilProcess) -> None:
    deployment = await deploy(anvil.rpc_url)
    content = ("VanityEth", "DOCKER", b"registry.hub.docker.com/iexechub/vanityeth:1.1.1", ZERO32, b"")
    data = contract_abi("app_registry").encode_call("createApp", (OWNER.address, *content))
    assert _send(anvil, deployment.app_registry, data) <= 300_000


def test_create2_addresses_are_those_of_the_standard() -> None:
    # EIP-1014, examples 0 and 2.
    assert create2_address(ZERO_ADDRESS, bytes(32), b"\x00") == "0x4D1A2e2bB4F88F0250f26Ffff098B0b30B26BF38"
    salt = from_hex("0x000000000000000000000000feed000000000000000000000000000000000000")
    creator = "0xdeadbeef00000000000000000000000000000000"
    assert create2_address(creator, salt, b"\x00") == "0xD04116cDd17beBE565EB2422F2497E06cC1C9833"


def test_shipped_hub_is_created_with_its_facets() -> None:
    inputs = next(entry["inputs"] for entry in artifact("hub").abi if entry["type"] == "constructor")
    assert [parameter["name"] for parameter in inputs] == [
        "hub_owner",
        "hub_orders",
        "hub_batch",
        "hub_boost",
        "hub_escrow",
        "hub_views",
    ]
