# pragma version ==0.4.3
"""
@title Every getter and setter of `contracts/lib/packing.vy`, callable from a test
"""

from ....contracts.lib import packing


@external
@pure
def account(balance: uint256, frozen: uint256, score: uint256) -> uint256:
    return packing.account(balance, frozen, score)


@external
@pure
def account_fields(word: uint256) -> (uint256, uint256, uint256):
    return packing.account_balance(word), packing.account_frozen(word), packing.account_score(word)


@external
@pure
def task(fields: packing.TaskFields) -> uint256:
    return packing.pack_task(fields)


@external
@pure
def task_fields(word: uint256) -> packing.TaskFields:
    return packing.unpack_task(word)


@external
@pure
def task_shortcuts(word: uint256) -> (uint256, uint256, uint256, uint256):
    return (
        packing.task_status(word),
        packing.task_contributors(word),
        packing.task_count(word),
        packing.task_deal_key(word),
    )


@external
@pure
def with_task_status(word: uint256, status: uint256) -> uint256:
    return packing.with_task_status(word, status)


@external
@pure
def contribution(status: uint256, group: uint256, has_challenge: bool, weight: uint256, worker: address) -> uint256:
    return packing.contribution(status, group, has_challenge, weight, worker)


@external
@pure
def contribution_fields(word: uint256) -> (uint256, uint256, bool, uint256, address):
    return (
        packing.contribution_status(word),
        packing.contribution_group(word),
        packing.contribution_has_challenge(word),
        packing.contribution_weight(word),
        packing.contribution_worker(word),
    )


@external
@pure
def with_contribution_status(word: uint256, status: uint256) -> uint256:
    return packing.with_contribution_status(word, status)


@external
@pure
def category(time_reference: uint256) -> uint256:
    return packing.category(time_reference)


@external
@pure
def category_fields(word: uint256) -> (bool, uint256):
    return packing.category_exists(word), packing.category_time_reference(word)


@external
@pure
def lane(cursor: uint256, refunded: bool) -> uint256:
    return packing.lane(cursor, refunded)


@external
@pure
def lane_fields(word: uint256) -> (uint256, bool):
    return packing.lane_cursor(word), packing.lane_refunded(word)


@external
@pure
def pair(party: address, number: uint256) -> uint256:
    return packing.pair(party, number)


@external
@pure
def pair_fields(word: uint256) -> (address, uint256):
    return packing.pair_address(word), packing.pair_number(word)
