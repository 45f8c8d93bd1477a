"""What the published contracts 6.1.0 and ours are expected to differ in, each with its reason: one table.

``-`` is only theirs, ``+`` only ours, ``~`` in both and another: ``- function facets``. A difference that is not listed
fails, and so does one that is listed and no longer there. What is merged leaves the table.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EXPECTED"]

_REGISTRIES: Final = ("app_registry", "dataset_registry", "workerpool_registry")

_NO_CUT = "the hub's facets are fixed by its code: no cut, no loupe, no ERC-165 on the hub (docs/deviations.md)"
_NEWER = "specification 6.2.0, which the package 6.1.0 does not have"
_ABSENT = "promised by the published interface, in no facet of the peer either (specification, section 25)"
_INTERNAL = "an error of a library that can never arise here"
_ERRORS = "the peer reverts with it, its published ABI does not list it"
_WHOLE_ENTRY = "an entry's content is its code, which the hub and later registries ask the registry for"
_FIXED_CODE = "the proxy's code is a constant here"
_LATER_BOOST = "boost: not on this branch yet"
_LATER_TASKS = "contributeAndFinalize and arrays: not on this branch yet"
_LATER_ESCROW = "the rest of the escrow: not on this branch yet"
_LATER_COMPATIBILITY = "relay, legacy accessors, configuration, data sets of a deal: not on this branch yet"

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
            "- function supportsInterface",
            "- receive",
        ),
        _ABSENT: ("- function renounceOwnership",),
        _INTERNAL: ("- error MathOverflowedMulDiv",),
        _NEWER: ("+ error UnsupportedOperation",),
        _LATER_BOOST: (
            "- error SafeCastOverflowedUintDowncast",
            "- event DealSponsoredBoost",
            "- event ResultPushedBoost",
            "- event SchedulerNoticeBoost",
            "- function claimBoost",
            "- function matchOrdersBoost",
            "- function pushResultBoost",
            "- function sponsorMatchOrdersBoost",
            "- function viewDealBoost",
        ),
        _LATER_TASKS: (
            "- function claimArray",
            "- function contributeAndFinalize",
            "- function initializeAndClaimArray",
            "- function initializeArray",
        ),
        _LATER_ESCROW: ("- function depositForArray",),
        _LATER_COMPATIBILITY: (
            "- error IncompatibleDatasetOrder",
            "- event BroadcastAppOrder",
            "- event BroadcastDatasetOrder",
            "- event BroadcastRequestOrder",
            "- event BroadcastWorkerpoolOrder",
            "- function assertDatasetDealCompatibility",
            "- function broadcastAppOrder",
            "- function broadcastDatasetOrder",
            "- function broadcastRequestOrder",
            "- function broadcastWorkerpoolOrder",
            "- function changeRegistries",
            "- function configure",
            "- function importScore",
            "- function updateDomainSeparator",
            "- function viewAccountABILegacy",
            "- function viewCategoryABILegacy",
            "- function viewConfigABILegacy",
            "- function viewContributionABILegacy",
            "- function viewDealABILegacy_pt1",
            "- function viewDealABILegacy_pt2",
            "- function viewTaskABILegacy",
        ),
    },
    _REGISTRIES: {
        _ERRORS: (
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
