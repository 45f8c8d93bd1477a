"""Where the contracts differ from the published ones on purpose, as far as no other test of theirs shows it."""

from __future__ import annotations

import json
from typing import Any

import boa
import pytest

from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, from_hex
from tests.contracts.registries import (
    NO_DATA,
    SOURCES,
    ChainContract,
    Reverted,
    account,
    deploy_contract,
    deploy_registry,
    reverts,
    selector,
)
from tests.contracts.world import World

APP = ("app", "WASM", b"/ipfs/x", ZERO32, b"")


@pytest.fixture(scope="module")
def owner() -> str:
    return account("owner")


@pytest.fixture(scope="module")
def registry(owner: str) -> ChainContract:
    return deploy_registry("app_registry", owner)


@pytest.fixture(scope="module")
def rlc(owner: str) -> ChainContract:
    return deploy_contract("rlc", token_owner=owner)


def names(contract: str, kind: str) -> set[str]:
    """Names of the functions, events or errors of a public ABI."""
    entries: list[dict[str, Any]] = json.loads((SOURCES / "abi" / f"{contract}.json").read_text())
    return {entry["name"] for entry in entries if entry["type"] == kind}


def answers(contract: ChainContract, signature: str) -> bool:
    """True if the contract has the function; the arguments are zeros."""
    data = from_hex(selector(signature)) + bytes(320)
    return not boa.env.execute_code(to_address=contract.address, data=data).is_error


def test_base_uri_is_at_most_256_bytes(registry: ChainContract, owner: str) -> None:
    registry.call("setBaseURI", "u" * 256, sender=owner)
    with reverts(NO_DATA):
        registry.call("setBaseURI", "u" * 257, sender=owner)
    assert registry.call("baseURI") == "u" * 256


def test_data_of_a_safe_transfer_is_at_most_1024_bytes(registry: ChainContract, owner: str) -> None:
    token = int(registry.call("createApp", owner, *APP), 16)
    friend = account("friend")
    with reverts(NO_DATA):
        registry.call(
            "safeTransferFrom(address,address,uint256,bytes)", owner, friend, token, b"d" * 1025, sender=owner
        )
    registry.call("safeTransferFrom(address,address,uint256,bytes)", owner, friend, token, b"d" * 1024, sender=owner)
    assert registry.call("ownerOf", token) == friend


def test_too_long_reverse_name_reverts_without_the_text(registry: ChainContract, owner: str) -> None:
    with reverts("Operation not supported on this chain"):
        registry.call("setName", ZERO_ADDRESS, "n" * 256, sender=owner)
    with reverts(NO_DATA):
        registry.call("setName", ZERO_ADDRESS, "n" * 257, sender=owner)


def test_data_for_a_spender_is_at_most_12288_bytes(world: World, rlc: ChainContract, owner: str) -> None:
    person = account("person")
    for token, sender in ((world.hub, person), (rlc, owner)):
        with reverts(NO_DATA):
            token.call("approveAndCall", person, 1, b"d" * 12289, sender=sender)
        assert token.call("allowance", sender, person) == 0


def test_registry_before_must_answer_lookup(rlc: ChainContract, owner: str) -> None:
    newer = deploy_registry("app_registry", owner)
    newer.call("initialize", rlc.address, sender=owner)
    with pytest.raises(Reverted):
        newer.call("lookup", account("unknown"))


def test_entry_is_not_initialized_through_a_proxy(registry: ChainContract, owner: str) -> None:
    entry = ChainContract("app", registry.call("createApp", owner, "other", *APP[1:]))
    assert answers(entry, "owner()")
    assert not answers(entry, "initialize(address,bytes)")
    assert "Upgraded" not in {
        name for contract in ("app", "dataset", "workerpool") for name in names(contract, "event")
    }


def test_token_has_no_faucet_and_is_never_locked(rlc: ChainContract) -> None:
    assert rlc.call("locked") is False
    assert answers(rlc, "totalSupply()")
    for signature in (
        "refill(address,uint256)",
        "forceApprove(address,address,uint256)",
        "forceBurn(address,uint256)",
        "unlock()",
    ):
        assert not answers(rlc, signature), signature


@pytest.mark.parametrize(
    "error",
    [
        "Create2EmptyBytecode",
        "Create2FailedDeployment",
        "Create2InsufficientBalance",
        "ERC721EnumerableForbiddenBatchMint",
        "ERC721InvalidSender",
        "OwnableUnauthorizedAccount",
    ],
)
def test_error_that_cannot_arise_is_not_in_the_interface(error: str) -> None:
    registries = ("app_registry", "dataset_registry", "workerpool_registry")
    assert "ERC721NonexistentToken" in names("app_registry", "error")
    assert [registry for registry in registries if error in names(registry, "error")] == []


@pytest.mark.parametrize(
    "error",
    [
        "MathOverflowedMulDiv",
        "FunctionNotFound",
        "CannotAddFunctionToDiamondThatAlreadyExists",
        "CannotAddSelectorsToZeroAddress",
        "CannotRemoveFunctionThatDoesNotExist",
        "CannotRemoveImmutableFunction",
        "CannotReplaceFunctionThatDoesNotExists",
        "CannotReplaceFunctionWithTheSameFunctionFromTheSameFacet",
        "CannotReplaceFunctionsFromFacetWithZeroAddress",
        "CannotReplaceImmutableFunction",
        "IncorrectFacetCutAction",
        "InitializationFunctionReverted",
        "NoBytecodeAtAddress",
        "NoSelectorsProvidedForFacetForCut",
        "RemoveFacetAddressMustBeZeroAddress",
    ],
)
def test_error_of_a_cut_or_of_arithmetic_is_not_in_the_interface_of_the_hub(error: str) -> None:
    assert "NotContractOwner" in names("hub", "error")
    assert error not in names("hub", "error")
    assert "DiamondCut" not in names("hub", "event")


@pytest.mark.parametrize(
    "signature",
    [
        "diamondCut((address,uint8,bytes4[])[],address,bytes)",
        "facets()",
        "facetAddress(bytes4)",
        "facetAddresses()",
        "facetFunctionSelectors(address)",
        "renounceOwnership()",
    ],
)
def test_function_that_the_hub_lacks_is_refused(world: World, signature: str) -> None:
    assert answers(world.hub, "countCategory()")
    assert not answers(world.hub, signature)
    assert signature.partition("(")[0] not in names("hub", "function")
