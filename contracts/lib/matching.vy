# pragma version ==0.4.3
"""
@title Matching: what the two ways of making a deal share
@license Apache-2.0
@notice `matchOrders` and `matchOrdersBoost` count an order's units in one place and number the deals of a request in one row: an
        order may be used by either, and by both one after the other, but never beyond its volume.
"""

from . import state

uses: state


# The EIP-712 hashes of the four orders of a match; `dataset` is zero when there is no dataset.
struct Hashes:
    app: bytes32
    dataset: bytes32
    workerpool: bytes32
    request: bytes32


@internal
@view
def volume(
    hashes: Hashes,
    app_volume: uint256,
    dataset_volume: uint256,
    workerpool_volume: uint256,
    request_volume: uint256,
    request_consumed: uint256,
) -> uint256:
    """
    @dev The smallest rest of the orders.
    """
    rest: uint256 = app_volume - state.consumed[hashes.app]
    if hashes.dataset != empty(bytes32):
        rest = min(rest, dataset_volume - state.consumed[hashes.dataset])
    rest = min(rest, workerpool_volume - state.consumed[hashes.workerpool])
    return min(rest, request_volume - request_consumed)


@internal
def consume(hashes: Hashes, units: uint256, request_volume: uint256, request_consumed: uint256):
    """
    @dev Takes `units` from each of the orders. A request that is filled at once needs no entry: the deal that the caller makes of
         it proves it (`deals.consumed_by_request`).
    """
    state.consumed[hashes.app] += units
    if hashes.dataset != empty(bytes32):
        state.consumed[hashes.dataset] += units
    state.consumed[hashes.workerpool] += units
    if request_consumed != 0 or units != request_volume:
        state.consumed[hashes.request] = request_consumed + units
