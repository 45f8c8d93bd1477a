# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Fairgrid hub, facet of legacy accessors
@license Apache-2.0
@notice The views once more with flat answers, for clients that cannot decode nested tuples. Changes nothing. Runs by delegatecall in
        the storage of the hub (`hub.vy`).
@dev What this facet does not know goes on to the facet of administration.
"""

from .lib import blob
from .lib import deal_views
from .lib import deals
from .lib import escrow
from .lib import packing
from .lib import state
from .lib import task_views
from .lib import types

initializes: state
initializes: blob[state := state]
initializes: deals[blob := blob, state := state]
initializes: escrow[state := state]
initializes: task_views[state := state]

PANIC_INDEX: constant(uint256) = 50  # 0x32: an index beyond the end

HUB_ADMIN: immutable(address)


@deploy
def __init__(hub_admin: address):
    """
    @dev The facet that is asked next; it may be created later.
    """
    HUB_ADMIN = hub_admin


@external
@view
def viewDealABILegacy_pt1(
    _id: bytes32,
) -> (address, address, uint256, address, address, uint256, address, address, uint256):
    """
    @notice Of a deal: address, owner and price of app, dataset and workerpool.
    """
    deal: types.Deal = deal_views.deal_of(_id)
    return (
        deal.app.pointer,
        deal.app.owner,
        deal.app.price,
        deal.dataset.pointer,
        deal.dataset.owner,
        deal.dataset.price,
        deal.workerpool.pointer,
        deal.workerpool.owner,
        deal.workerpool.price,
    )


@external
@view
def viewDealABILegacy_pt2(
    _id: bytes32,
) -> (uint256, bytes32, address, address, address, String[types.MAX_PARAMS]):
    """
    @notice Of a deal: trust, tag, requester, beneficiary, callback, params.
    """
    deal: types.Deal = deal_views.deal_of(_id)
    return deal.trust, deal.tag, deal.requester, deal.beneficiary, deal.callback, deal.params


@external
@view
def viewConfigABILegacy(_id: bytes32) -> (uint256, uint256, uint256, uint256, uint256, uint256):
    """
    @notice Of a deal: category, start time, first index, size, worker stake, scheduler reward ratio.
    """
    deal: types.Deal = deal_views.deal_of(_id)
    return deal.category, deal.startTime, deal.botFirst, deal.botSize, deal.workerStake, deal.schedulerRewardRatio


@external
@view
def viewAccountABILegacy(account: address) -> (uint256, uint256):
    """
    @notice What an account can spend or withdraw, and what is locked.
    """
    return escrow.balance_of(account), escrow.frozen_of(account)


@external
@view
def viewTaskABILegacy(
    _taskid: bytes32,
) -> (
    uint8,
    bytes32,
    uint256,
    uint256,
    uint256,
    uint256,
    uint256,
    bytes32,
    uint256,
    uint256,
    DynArray[address, types.MAX_CONTRIBUTORS],
    Bytes[types.MAX_RESULT],
):
    """
    @notice Of a task: status, deal, index, time reference, deadlines of contribution, reveal and end, consensus value, reveals, winners,
            contributors, results.
    """
    task: types.Task = task_views.task_of(_taskid)
    return (
        task.status,
        task.dealid,
        task.idx,
        task.timeref,
        task.contributionDeadline,
        task.revealDeadline,
        task.finalDeadline,
        task.consensusValue,
        task.revealCounter,
        task.winnerCounter,
        task.contributors,
        task.results,
    )


@external
@view
def viewContributionABILegacy(_taskid: bytes32, _worker: address) -> (uint8, bytes32, bytes32, address):
    """
    @notice Of a contribution: status, result hash, result seal, enclave challenge.
    """
    contribution: types.Contribution = task_views.contribution_of(_taskid, _worker)
    return (
        contribution.status,
        contribution.resultHash,
        contribution.resultSeal,
        contribution.enclaveChallenge,
    )


@external
@view
def viewCategoryABILegacy(_catid: uint256) -> (String[types.MAX_TEXT], String[types.MAX_TEXT], uint256):
    """
    @notice Of a category: name, description, time reference. One that does not exist is a panic of an index (0x32).
    """
    word: uint256 = state.categories[_catid]
    if not packing.category_exists(word):
        raw_revert(abi_encode(PANIC_INDEX, method_id=method_id("Panic(uint256)")))
    return (
        state.category_names[_catid],
        state.category_descriptions[_catid],
        packing.category_time_reference(word),
    )


# ── Dispatch ───────────────────────────────────────────────────────────────────────────────────────────────────────

@external
@payable
@raw_return
def __default__() -> Bytes[types.MAX_ANSWER]:
    """
    @notice What this facet does not know is asked of the next.
    """
    return raw_call(HUB_ADMIN, msg.data, max_outsize=types.MAX_ANSWER, is_delegate_call=True)
