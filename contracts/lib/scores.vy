# pragma version ==0.4.3
"""
@title Scores: the reputation of workers, and the weight that follows from it
@license Apache-2.0
@notice A score changes when a task is finalized: one step up for a proved contribution beside others, two thirds for any other
        contribution; and once for each worker it may be lifted to what the hub before this one says. It lives in the account's
        word, so that paying a worker and raising its score is one write.
"""

from . import packing
from . import state

uses: state

event AccurateContribution:
    worker: indexed(address)
    taskid: indexed(bytes32)

event FaultyContribution:
    worker: indexed(address)
    taskid: indexed(bytes32)


@internal
@view
def score_of(worker: address) -> uint256:
    return packing.account_score(state.accounts[worker])


@internal
@view
def weight_of(worker: address) -> uint256:
    """
    @dev max(floor(score / 3), 3) - 1: 2 for a newcomer, more from score 12 on.
    """
    return max(self.score_of(worker) // 3, 3) - 1


@internal
@pure
def log2(number: uint256) -> uint256:
    """
    @dev floor(log2(number)); 0 for 0. The share of a reward goes by the logarithm of the weight.
    """
    exponent: uint256 = 0
    rest: uint256 = number >> 1
    for _: uint256 in range(64):
        if rest == 0:
            break
        rest >>= 1
        exponent += 1
    return exponent


@internal
def _set(worker: address, score: uint256):
    word: uint256 = state.accounts[worker]
    state.accounts[worker] = packing.account(
        packing.account_balance(word), packing.account_frozen(word), score
    )


@internal
def set_at_least(worker: address, score: uint256):
    """
    @notice Lifts a score to `score`, or leaves it.
    @dev Reverts without data beyond 64 bits.
    """
    if score > self.score_of(worker):
        self._set(worker, score)


@internal
def raise_score(worker: address, task_id: bytes32):
    """
    @notice The worker proved a result that others contributed to as well.
    """
    self._set(worker, self.score_of(worker) + 1)
    log AccurateContribution(worker=worker, taskid=task_id)


@internal
def cut_score(worker: address, task_id: bytes32):
    """
    @notice The worker dissented, or did not reveal.
    """
    self._set(worker, self.score_of(worker) * 2 // 3)
    log FaultyContribution(worker=worker, taskid=task_id)
