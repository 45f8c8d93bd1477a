"""`fairgrid contracts verify` on a real chain: a good deployment passes, each thing that is wrong is named."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain.abi import contract_abi
from fairgrid.chain.create2 import DEPLOY_SALT, DEPLOYER
from fairgrid.chain.deploy import Deployment, deploy, plan_contracts
from fairgrid.chain.rpc import JsonRpc, RpcError
from fairgrid.chain.verify import Verification, verify
from fairgrid.cli.main import main
from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol.hexes import ZERO_ADDRESS, to_hex
from fairgrid.wallet.keys import dev_signer

OWNER = dev_signer(0).address
HEIR = dev_signer(1).address
LAYOUT = json.loads((Path(__file__).parents[1] / "contracts" / "hub_layout.json").read_text())


def _send(anvil: AnvilProcess, to: str, data: bytes, *, wei: int = 0) -> None:
    """A transaction of the owner, mined."""
    call = {"from": OWNER, "to": to, "data": to_hex(data), "value": hex(wei)}
    tx_hash = anvil.request("eth_sendTransaction", call)
    deadline = time.monotonic() + 20
    while (receipt := anvil.request("eth_getTransactionReceipt", tx_hash)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert receipt["status"] == "0x1"


def _call(contract: str, function: str, *arguments: Any) -> bytes:
    return contract_abi(contract).encode_call(function, arguments)


def _failed(found: Verification) -> set[str]:
    return {check.name for check in found.checks if not check.ok}


def _detail(found: Verification, name: str) -> str:
    return next(check.detail for check in found.checks if check.name == name)


@pytest.fixture
async def deployment(anvil: AnvilProcess) -> Deployment:
    return await deploy(anvil.rpc_url)


async def test_fresh_deployment_passes_every_check(anvil: AnvilProcess, deployment: Deployment) -> None:
    found = await verify(anvil.rpc_url)
    assert _failed(found) == set()
    assert (found.ok, found.exit_code) == (True, 0)
    assert (found.hub, found.owner, found.chain_id) == (deployment.hub, OWNER, 31337)
    names = {check.name for check in found.checks}
    assert {f"{name} code" for name in plan_contracts(OWNER)} <= names
    assert {f"{name} code" for name in ("app", "workerpool", "role_account", "deposit_address", "group")} <= names
    assert await verify(anvil.rpc_url, hub=deployment.hub.lower(), owner=OWNER.lower()) == found


async def test_every_code_was_compared_and_not_only_found(anvil: AnvilProcess, deployment: Deployment) -> None:
    found = await verify(anvil.rpc_url)
    assert [check.name for check in found.checks if "by its address" in check.detail] == []
    assert deployment.hub_code_hash in _detail(found, "hub code")


async def test_deployment_in_use_still_passes(anvil: AnvilProcess, deployment: Deployment) -> None:
    _send(anvil, deployment.workerpool_registry, _call("workerpool_registry", "createWorkerpool", OWNER, "a pool"))
    _send(anvil, deployment.groups, _call("groups", "create", "a team"))
    _send(anvil, deployment.rlc, _call("rlc", "approveAndCall", deployment.hub, 10**9, b""))
    _send(anvil, deployment.hub, _call("hub", "createCategory", "XXL", '""', 100_000))
    found = await verify(anvil.rpc_url)
    assert _failed(found) == set()
    assert _detail(found, "categories").endswith("6 in all")


async def test_owner_that_handed_over_is_reported_until_the_new_one_is_named(
    anvil: AnvilProcess, deployment: Deployment
) -> None:
    _send(anvil, deployment.hub, _call("hub", "transferOwnership", HEIR))
    found = await verify(anvil.rpc_url)
    assert _failed(found) == {"hub owner"}
    assert found.exit_code == 5
    assert _detail(found, "hub owner") == f"It is {HEIR}; it should be {OWNER}."
    for registry in ("app_registry", "dataset_registry", "workerpool_registry"):
        _send(anvil, getattr(deployment, registry), _call(registry, "transferOwnership", HEIR))
    assert len(_failed(await verify(anvil.rpc_url))) == 4
    assert (await verify(anvil.rpc_url, owner=HEIR, first_owner=OWNER)).ok


async def test_missing_category_is_reported(anvil: AnvilProcess, deployment: Deployment) -> None:
    slot = to_hex(LAYOUT["category_count"].to_bytes(32, "big"))
    anvil.request("anvil_setStorageAt", deployment.hub, slot, to_hex((4).to_bytes(32, "big")))
    found = await verify(anvil.rpc_url)
    assert _failed(found) == {"categories"}
    assert _detail(found, "categories").startswith("There are 4")


@pytest.mark.parametrize("name", ["hub", "hub_orders", "app_registry", "role_accounts", "groups", "rlc"])
async def test_other_code_at_an_address_is_reported(anvil: AnvilProcess, deployment: Deployment, name: str) -> None:
    address = deployment.facets[name] if name in deployment.facets else getattr(deployment, name)
    code = anvil.request("eth_getCode", address, "latest")
    # One more byte at the end: everything works as before.
    anvil.request("anvil_setCode", address, code + "00")
    found = await verify(anvil.rpc_url)
    assert _failed(found) == {f"{name} code"}
    assert "this package's has" in _detail(found, f"{name} code")


@pytest.mark.parametrize("name", ["app", "group"])
async def test_other_code_behind_all_entries_is_reported(
    anvil: AnvilProcess, deployment: Deployment, name: str
) -> None:
    places = {"app": ("app_registry", "master"), "group": ("groups", "target")}
    maker, function = places[name]
    call = {"to": getattr(deployment, maker), "data": to_hex(_call(maker, function))}
    address = "0x" + anvil.request("eth_call", call, "latest")[-40:]
    anvil.request("anvil_setCode", address, "0x00")
    assert _failed(await verify(anvil.rpc_url)) == {f"{name} code"}


async def test_contract_that_is_gone_is_reported(anvil: AnvilProcess, deployment: Deployment) -> None:
    anvil.request("anvil_setCode", deployment.deposit_addresses, "0x")
    assert _failed(await verify(anvil.rpc_url)) == {"deposit_addresses code", "deposit_address code"}


async def test_unfinished_deployment_is_reported(anvil: AnvilProcess) -> None:
    # Facets that are alike are one contract.
    by_address = {contract.address: contract for contract in plan_contracts(OWNER).values()}
    for contract in by_address.values():
        _send(anvil, DEPLOYER, DEPLOY_SALT + contract.init_code)
    registries = ("app_registry", "dataset_registry", "workerpool_registry")
    expected = {f"{name} {what}" for name in registries for what in ("initialised", "base URI")}
    assert _failed(await verify(anvil.rpc_url)) == expected


async def test_registry_behind_a_registry_is_reported(anvil: AnvilProcess) -> None:
    registry = plan_contracts(OWNER)["app_registry"]
    _send(anvil, DEPLOYER, DEPLOY_SALT + registry.init_code)
    _send(anvil, registry.address, _call("app_registry", "initialize", HEIR))
    await deploy(anvil.rpc_url)
    assert _failed(await verify(anvil.rpc_url)) == {"app_registry previous"}


async def test_deployment_with_a_given_token_is_found_by_hub_or_by_token(
    anvil: AnvilProcess, deployment: Deployment
) -> None:
    other = await deploy(anvil.rpc_url, dev_signer(1), rlc=deployment.rlc)
    for found in (
        await verify(anvil.rpc_url, owner=HEIR, hub=other.hub),
        await verify(anvil.rpc_url, owner=HEIR, rlc=deployment.rlc),
    ):
        assert _failed(found) == set()
        assert found.hub == other.hub
        assert "rlc code" not in {check.name for check in found.checks}


async def test_native_flavour_passes_by_hub_or_by_name_and_must_hold_what_it_owes(anvil: AnvilProcess) -> None:
    native = await deploy(anvil.rpc_url, native=True)
    _send(anvil, native.hub, b"", wei=3 * 10**9)
    for found in (await verify(anvil.rpc_url, hub=native.hub), await verify(anvil.rpc_url, native=True)):
        assert _failed(found) == set()
        assert found.hub == native.hub
        names = {check.name for check in found.checks}
        assert "hub_escrow_native code" in names
        assert {"rlc code", "hub_escrow code", "deposit_address code", "RLC supply"}.isdisjoint(names)
        assert _detail(found, "escrow covered") == "3"
    anvil.request("anvil_setBalance", native.hub, hex(3 * 10**9 - 1))
    found = await verify(anvil.rpc_url, native=True)
    assert _failed(found) == {"escrow covered"}
    assert _detail(found, "escrow covered") == "It is 2; it should be at least 3."


async def test_address_without_a_hub_is_reported(anvil: AnvilProcess, deployment: Deployment) -> None:
    empty = await verify(anvil.rpc_url, hub=HEIR)
    assert _failed(empty) == {"hub code"}
    other_contract = await verify(anvil.rpc_url, hub=deployment.rlc)
    assert {"hub code", "categories", "domain"} <= _failed(other_contract)


async def test_hub_of_somebody_else_is_reported(anvil: AnvilProcess, deployment: Deployment) -> None:
    found = await verify(anvil.rpc_url, hub=deployment.hub, owner=HEIR)
    assert {"hub code", "hub owner", "app_registry owner"} <= _failed(found)


@pytest.mark.parametrize("silent", [False, True])
async def test_node_that_runs_no_creation_code_leaves_what_addresses_prove(
    anvil: AnvilProcess, deployment: Deployment, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    """Some refuse a call that brings code along, some ignore the code."""
    plain = JsonRpc.request

    async def without_overrides(self: JsonRpc, method: str, *parameters: Any) -> Any:
        if method == "eth_call" and len(parameters) > 2:
            if not silent:
                raise RpcError(method, -32602, "too many arguments")
            parameters = parameters[:2]
        return await plain(self, method, *parameters)

    monkeypatch.setattr(JsonRpc, "request", without_overrides)
    found = await verify(anvil.rpc_url)
    assert _failed(found) == set()
    assert "by its address" in _detail(found, "hub code")
    assert not (await verify(anvil.rpc_url, hub=deployment.rlc)).ok


async def test_other_chain_needs_an_owner(anvil: AnvilProcess, deployment: Deployment) -> None:
    anvil.request("anvil_setChainId", 4242)
    with pytest.raises(UsageError, match="--owner"):
        await verify(anvil.rpc_url)
    # The domain follows the chain, and so do the signatures.
    assert _failed(await verify(anvil.rpc_url, owner=OWNER)) == set()


async def test_silent_node_is_named() -> None:
    with pytest.raises(ServiceUnavailable):
        await verify("http://127.0.0.1:1")


# --- the command ------------------------------------------------------------------------------------------------


def _run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["contracts", "verify", *arguments])
    return int(ended.value.code or 0), capsys.readouterr().out


def test_command_prints_a_table_or_one_object_and_ends_with_the_verdict(
    anvil: AnvilProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["contracts", "deploy", "--rpc", anvil.rpc_url])
    capsys.readouterr()
    code, out = _run(["--rpc", anvil.rpc_url], capsys)
    assert code == 0
    assert "ok    hub code" in out
    assert out.splitlines()[-1].endswith("checks hold.")
    code, out = _run(["--rpc", anvil.rpc_url, "--json"], capsys)
    assert (code, json.loads(out)["ok"], json.loads(out)["exitCode"]) == (0, True, 0)

    arguments = ["--rpc", anvil.rpc_url, "--owner", HEIR, "--first-owner", OWNER]
    code, out = _run(arguments, capsys)
    assert code == 5
    assert "FAIL  hub owner" in out
    assert out.splitlines()[-1].startswith("4 of ")
    code, out = _run([*arguments, "--json"], capsys)
    assert (code, json.loads(out)["ok"], json.loads(out)["exitCode"]) == (5, False, 5)


def test_command_ends_with_4_when_no_node_answers_and_2_for_bad_input(
    module_anvil: AnvilProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(["--rpc", "http://127.0.0.1:1", "--json"], capsys)[0] == 4
    assert _run(["--rpc", module_anvil.rpc_url, "--hub", "0x12"], capsys)[0] == 2


def test_command_on_an_empty_chain_fails(module_anvil: AnvilProcess, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = _run(["--rpc", module_anvil.rpc_url, "--json"], capsys)
    assert code == 5
    assert [check["name"] for check in json.loads(out)["checks"]] == ["hub code"]
    assert json.loads(out)["owner"] != ZERO_ADDRESS
