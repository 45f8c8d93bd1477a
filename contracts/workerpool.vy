# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Workerpool
@license Apache-2.0
@dev A pool of the registry of workerpools. Its metadata is its description alone. Its policy stands in the registry, in
     the word that the hub reads at a match, so that both always say the same.
@notice The policy is read at each match: a change concerns later matches only, and no order signs it.
"""

from .interfaces import IEntryRegistry
from .lib import entry
from .lib import limits

initializes: entry

exports: entry.__interface__

event PolicyUpdate:
    oldWorkerStakeRatioPolicy: uint256
    newWorkerStakeRatioPolicy: uint256
    oldSchedulerRewardRatioPolicy: uint256
    newSchedulerRewardRatioPolicy: uint256


@deploy
def __init__():
    entry.__init__()


@external
def initialize(_workerpoolDescription: String[limits.MAX_DESCRIPTION]):
    """
    @dev The call that names a pool in its address. Entries are born with their metadata, so it is always refused.
    """
    raise "already initialized"


@external
def changePolicy(_newWorkerStakeRatioPolicy: uint256, _newSchedulerRewardRatioPolicy: uint256):
    """
    @dev Set what later deals demand of workers and keep for the scheduler.
    @param _newWorkerStakeRatioPolicy Stake of a worker in percent of the pool's price, below 2**24.
    @param _newSchedulerRewardRatioPolicy Share of the scheduler in percent, at most 100.
    """
    entry._check_owner()
    old_stake: uint256 = 0
    old_reward: uint256 = 0
    old_stake, old_reward = extcall entry.registry.setPolicy(
        _newWorkerStakeRatioPolicy, _newSchedulerRewardRatioPolicy
    )
    log PolicyUpdate(
        oldWorkerStakeRatioPolicy=old_stake,
        newWorkerStakeRatioPolicy=_newWorkerStakeRatioPolicy,
        oldSchedulerRewardRatioPolicy=old_reward,
        newSchedulerRewardRatioPolicy=_newSchedulerRewardRatioPolicy,
    )


@external
@view
def m_workerpoolDescription() -> String[entry.MAX_FIELD]:
    """
    @dev What the pool says about itself.
    """
    return entry._text(0, entry._size())


@external
@view
def m_workerStakeRatioPolicy() -> uint256:
    """
    @dev Stake of a worker, in percent of the pool's price.
    """
    return self._policy()[0]


@external
@view
def m_schedulerRewardRatioPolicy() -> uint256:
    """
    @dev Share of the scheduler in what a task pays to the pool, in percent.
    """
    return self._policy()[1]


@internal
@view
def _policy() -> (uint256, uint256):
    pool_owner: address = empty(address)
    stake_ratio: uint256 = 0
    reward_ratio: uint256 = 0
    pool_owner, stake_ratio, reward_ratio = staticcall entry.registry.lookup(self)
    return stake_ratio, reward_ratio
