"""What the published contracts 6.1.0 and ours are expected to differ in, each with its reason: one table.

``-`` is only theirs, ``+`` only ours, ``~`` in both and another: ``- function facets``. A difference that is not listed
fails, and so does one that is listed and no longer there. What is merged leaves the table.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EXPECTED"]

_REGISTRIES: Final = ("app_registry", "dataset_registry", "workerpool_registry")

_NO_CUT = "the hub's facets are fixed by its code: no cut, no loupe (docs/deviations.md)"
_NEWER = "specification 6.2.0, which the package 6.1.0 does not have"
_ABSENT = "promised by the published interface, in no facet of the peer either (specification, section 25)"
_INTERNAL = "an error of a library that can never arise here"
_WHOLE_ENTRY = "an entry's content is its code, which the hub and later registries ask the registry for"
_FIXED_CODE = "the proxy's code is a constant here"
_BATCH = "the batch lane, a superset (docs/batch-lane.md)"
_MORE = "permits and the domain as wallets ask for it (EIP-2612, EIP-5267), a superset"

EXPECTED: Final[dict[tuple[str, ...], dict[str, tuple[str, ...]]]] = {
    ("hub",): {
        _NO_CUT: (
            "- error CannotAddFunctionToDiamondThatAlreadyExists",
            "- error CannotAddSelectorsToZeroAddress",
            "- error CannotRemoveFunctionThatDoesNotExist",
            "- error CannotRemoveImmutableFunction",
            "- error CannotReplaceFunctionThatDoesNotExists",
            "- error CannotReplaceFunctionWithTheSameFunctionFromTheSameFacet",
            "- error CannotReplaceFunctionsFromFacetWithZeroAddress",
            "- error CannotReplaceImmutableFunction",
            "- error FunctionNotFound",
            "- error IncorrectFacetCutAction",
            "- error InitializationFunctionReverted",
            "- error NoBytecodeAtAddress",
            "- error NoSelectorsProvidedForFacetForCut",
            "- error RemoveFacetAddressMustBeZeroAddress",
            "- event DiamondCut",
            "- fallback",
            "- function diamondCut",
            "- function facetAddress",
            "- function facetAddresses",
            "- function facetFunctionSelectors",
            "- function facets",
            "- receive",
        ),
        _ABSENT: ("- function renounceOwnership",),
        _INTERNAL: ("- error MathOverflowedMulDiv",),
        _NEWER: (
            "+ error CallerIsNotTheRequester",
            "+ error OperationFailed",
            "+ error UnsupportedOperation",
        ),
        _BATCH: (
            "+ event DealRefund",
            "+ event RunFinalize",
            "+ event RunOpen",
            "+ event RunSplit",
            "+ event TaskMaterialise",
            "+ function computeRunId",
            "+ function finalizeRun",
            "+ function materialise",
            "+ function openRun",
            "+ function refundRest",
            "+ function settleRun",
            "+ function splitRun",
            "+ function viewLane",
            "+ function viewRun",
        ),
        _MORE: ("+ function depositWithPermit", "+ function eip712Domain"),
    },
    _REGISTRIES: {
        _NEWER: (
            "+ error ERC721IncorrectOwner",
            "+ error ERC721InsufficientApproval",
            "+ error ERC721InvalidApprover",
            "+ error ERC721InvalidOperator",
            "+ error ERC721InvalidOwner",
            "+ error ERC721InvalidReceiver",
            "+ error ERC721NonexistentToken",
            "+ error ERC721OutOfBoundsIndex",
            "+ error OwnableInvalidOwner",
        ),
        _WHOLE_ENTRY: ("+ function entryCode", "+ function lookup"),
        _FIXED_CODE: ("~ function proxyCode", "~ function proxyCodeHash"),
    },
    ("workerpool_registry",): {
        "a pool's policy stands in the registry's word of it, where one call finds all that a match asks": (
            "+ function setPolicy",
        ),
    },
}
"""By contract, then by reason."""
