# pragma version ==0.4.3
"""
@title Settlement: who is paid, slashed and refunded when a task or a run ends
@license Apache-2.0
@notice Everybody's share follows from the deal and from who proved; nobody chooses it. A task is one unit, a run has as many as
        tasks: prices and stakes are those of one task, rounded as such, times the units.
@dev Nothing here calls a foreign contract. `ref` is the task, run or deal that the events name.
"""

from . import blob
from . import deals
from . import escrow
from . import packing
from . import scores
from . import state
from . import types

uses: blob
uses: escrow
uses: scores
uses: state


@internal
@pure
def units_of(count: uint256) -> uint256:
    """
    @dev How many tasks a task word stands for.
    """
    return max(count, 1)


@internal
@view
def check_finalizable(task: packing.TaskFields, deal: deals.Head):
    """
    @notice The scheduler may end what is revealed: by all winners, or by one at least when the time for it is over.
    @dev Reverts without data otherwise.
    """
    assert task.status == types.TASK_REVEALING
    assert msg.sender == deals.pool_owner(deal)
    assert block.timestamp < deals.final_deadline(deal)
    assert task.revealed == task.winners or (
        task.revealed > 0 and block.timestamp >= task.reveal_deadline
    )


@internal
def store_results(
    task_id: bytes32, results: Bytes[types.MAX_RESULT], results_callback: Bytes[types.MAX_RESULT]
):
    """
    @dev Record `task_id`: length of the results (2 bytes), results, callback data. No record if both are empty.
    """
    if len(results) == 0 and len(results_callback) == 0:
        return
    state.blob = concat(
        convert(convert(len(results), uint16), bytes2), results, results_callback
    )
    blob.create(task_id)


@internal
def pay_sellers(ref: bytes32, deal: deals.Head, options: deals.Options, units: uint256):
    """
    @notice Takes the price from the sponsor, pays app and dataset, gives the scheduler its stake back and its part of the kitty,
            of which there is one whatever the units.
    @dev What is left with the hub is the pool's price, for one of the two functions that follow.
    """
    escrow.seize(options.sponsor, self.price_of(deal, options) * units, ref)
    app_price: uint256 = deals.app_price(deal)
    if app_price > 0:
        escrow.reward(deals.app_owner(deal), app_price * units, ref)
    if options.dataset_price > 0:
        escrow.reward(options.dataset_owner, options.dataset_price * units, ref)
    pool_owner: address = deals.pool_owner(deal)
    escrow.unlock(pool_owner, deals.pool_stake(deal) * units)
    part: uint256 = self.take_from_kitty(ref)
    if part > 0:
        escrow.reward(pool_owner, part, ref)


@internal
def take_from_kitty(ref: bytes32) -> uint256:
    """
    @notice Takes what a success takes out of the kitty; the caller pays it to the scheduler.
    @return Zero only if the kitty is empty.
    """
    kitty: uint256 = escrow.frozen_of(types.KITTY_ADDRESS)
    if kitty == 0:
        return 0
    part: uint256 = min(max(kitty * types.KITTY_RATIO // 100, types.KITTY_MIN), kitty)
    escrow.seize(types.KITTY_ADDRESS, part, ref)
    return part


@internal
def pay_workers(ref: bytes32, deal: deals.Head, contributors: uint256, units: uint256):
    """
    @notice Shares the pool's price and the seized stakes among who proved, by the logarithm of their weights; the scheduler gets
            its ratio and what rounding leaves. One score step each, whatever the units.
    @dev At least one worker proved: `check_finalizable` demands a reveal.
    """
    stake: uint256 = deals.worker_stake(deal) * units
    total_reward: uint256 = deals.pool_price(deal) * units
    total_weight: uint256 = 0
    words: DynArray[uint256, types.MAX_CONTRIBUTORS] = []
    for i: uint256 in range(contributors, bound=types.MAX_CONTRIBUTORS):
        word: uint256 = state.contributions[ref][i]
        words.append(word)
        if packing.contribution_status(word) == types.CONTRIBUTION_PROVED:
            total_weight += scores.log2(packing.contribution_weight(word))
        else:
            total_reward += stake
    workers_reward: uint256 = total_reward * (100 - deals.scheduler_reward_ratio(deal)) // 100
    for word: uint256 in words:
        worker: address = packing.contribution_worker(word)
        if packing.contribution_status(word) == types.CONTRIBUTION_PROVED:
            share: uint256 = workers_reward * scores.log2(packing.contribution_weight(word)) // total_weight
            total_reward -= share
            escrow.unlock(worker, stake)
            escrow.reward(worker, share, ref)
            if contributors > 1:
                scores.raise_score(worker, ref)
        else:
            escrow.seize(worker, stake, ref)
            scores.cut_score(worker, ref)
    escrow.reward(deals.pool_owner(deal), total_reward, ref)


@internal
def pay_lone_worker(ref: bytes32, deal: deals.Head, worker: address, units: uint256):
    """
    @notice Shares the pool's price between scheduler and a worker that locked no stake; no score changes.
    """
    pool_price: uint256 = deals.pool_price(deal) * units
    share: uint256 = pool_price * (100 - deals.scheduler_reward_ratio(deal)) // 100
    escrow.reward(worker, share, ref)
    escrow.reward(deals.pool_owner(deal), pool_price - share, ref)


@internal
def refund(ref: bytes32, deal: deals.Head, options: deals.Options, units: uint256):
    """
    @notice Gives the price back to who paid, and the scheduler's stake to the kitty.
    """
    pool_stake: uint256 = deals.pool_stake(deal) * units
    escrow.unlock(options.sponsor, self.price_of(deal, options) * units)
    escrow.seize(deals.pool_owner(deal), pool_stake, ref)
    escrow.freeze_for_kitty(pool_stake, ref)


@internal
@pure
def price_of(deal: deals.Head, options: deals.Options) -> uint256:
    """
    @dev What the sponsor pays for one task.
    """
    return deals.app_price(deal) + options.dataset_price + deals.pool_price(deal)
