# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Fairgrid hub, facet of the batch lane
@license Apache-2.0
@notice Runs: contiguous tasks of a deal that are settled as one, at the cost of one. A run is known by its id, under which it has a
        task word, contributions and groups like a task; `contribute`, `reveal`, `reopen` and `claim` of the hub take it
        for one. See `docs/batch-lane.md`. Runs by delegatecall in the storage of the hub (`hub.vy`); called by itself it knows
        no deal and can do nothing.
@dev Who can stop it: nobody. Every condition that fails reverts without data.
     Each task is settled or refunded once: both lanes open tasks at the deal's frontier only and move it past them, a run is
     split only while it is open and is over then, and `refundRest` closes the frontier for ever.
     No two runs have the same id: those that a deal opens start at different tasks, and the halves of a run are smaller than it.
     Signatures of contracts are asked by static call, which can change nothing; the only call that could re-enter is the callback
     at the very end of `materialise`.
"""

from .lib import blob
from .lib import callbacks
from .lib import contributions
from .lib import deals
from .lib import escrow
from .lib import hashing
from .lib import merkle
from .lib import packing
from .lib import scores
from .lib import settlement
from .lib import state
from .lib import types

initializes: state
initializes: blob[state := state]
initializes: callbacks[state := state]
initializes: contributions[state := state]
initializes: deals[blob := blob, state := state]
initializes: escrow[state := state]
initializes: scores[state := state]
initializes: settlement[blob := blob, escrow := escrow, scores := scores, state := state]

event RunOpen:
    runid: indexed(bytes32)
    dealid: indexed(bytes32)
    first: uint256
    count: uint256

event RunSplit:
    runid: indexed(bytes32)
    leftid: bytes32
    rightid: bytes32

event RunFinalize:
    runid: indexed(bytes32)
    root: bytes32
    count: uint256
    results: Bytes[types.MAX_RESULT]
    workers: DynArray[address, types.MAX_CONTRIBUTORS]

event TaskMaterialise:
    taskid: indexed(bytes32)
    runid: indexed(bytes32)
    idx: uint256
    digest: bytes32

event DealRefund:
    dealid: indexed(bytes32)
    first: uint256
    count: uint256


@deploy
def __init__():
    pass


# ── Opening ────────────────────────────────────────────────────────────────────────────────────────────────────────

@external
def openRun(dealid: bytes32, count: uint256) -> bytes32:
    """
    @notice Opens the next `count` tasks of a deal as one run. Only the scheduler, while contributions are taken: whoever opens
            decides how tasks are settled, and its stake is lost if they are not.
    @return The run id.
    """
    deal: deals.Head = self._load_deal(dealid)
    assert msg.sender == deals.pool_owner(deal)
    run: packing.TaskFields = self._take_next(dealid, deal, count)
    return self._open(dealid, deal, run)


@external
def splitRun(runid: bytes32, left: uint256) -> (bytes32, bytes32):
    """
    @notice Replaces a run that does not come to an end by two: its first `left` tasks, and the rest. Only the scheduler, while
            contributions are taken, and only if nobody contributed, two results were contributed, or a consensus was
            not revealed. Who contributed gets its stake back, because nobody is proven wrong; who did not reveal loses its
            stake to the kitty and a third of its score.
    @return The run ids of both.
    """
    word: uint256 = state.tasks[runid]
    run: packing.TaskFields = packing.unpack_task(word)
    assert run.status == types.TASK_ACTIVE
    deal: deals.Head = deals.load(run.deal_key)
    assert msg.sender == deals.pool_owner(deal)
    assert block.timestamp < deals.contribution_deadline(deal)
    # A task of the classic lane has no count.
    assert left > 0
    assert left < run.count
    state.tasks[runid] = packing.with_task_status(word, types.TASK_SPLIT)

    divided: bool = run.contributors == 0 or run.groups > 1
    stake: uint256 = deals.worker_stake(deal) * run.count
    for i: uint256 in range(run.contributors, bound=types.MAX_CONTRIBUTORS):
        contribution: uint256 = state.contributions[runid][i]
        worker: address = packing.contribution_worker(contribution)
        if packing.contribution_status(contribution) == types.CONTRIBUTION_REJECTED:
            divided = True
            escrow.seize(worker, stake, runid)
            escrow.freeze_for_kitty(stake, runid)
            scores.cut_score(worker, runid)
        else:
            escrow.unlock(worker, stake)
    assert divided

    dealid: bytes32 = deals.id_of(run.deal_key, deal)
    half: packing.TaskFields = empty(packing.TaskFields)
    half.deal_key = run.deal_key
    half.offset = run.offset
    half.count = left
    rest: packing.TaskFields = half
    rest.offset = run.offset + left
    rest.count = run.count - left
    leftid: bytes32 = self._run_id(dealid, deal, half)
    rightid: bytes32 = self._run_id(dealid, deal, rest)
    log RunSplit(runid=runid, leftid=leftid, rightid=rightid)
    self._open(dealid, deal, half)
    self._open(dealid, deal, rest)
    return leftid, rightid


# ── Ending ─────────────────────────────────────────────────────────────────────────────────────────────────────────

@external
def finalizeRun(runid: bytes32, root: bytes32, results: Bytes[types.MAX_RESULT]):
    """
    @notice The scheduler ends a run whose digest is revealed. Everybody is paid or slashed as for a task, times the tasks of the
            run; a score moves by one step. `results`, which say where the results are, are what the workers agreed on, because
            the digest binds them.
    @dev Callbacks come with `materialise`.
    """
    run: packing.TaskFields = packing.unpack_task(state.tasks[runid])
    assert run.count > 0
    deal: deals.Head = deals.load(run.deal_key)
    settlement.check_finalizable(run, deal)
    assert hashing.run_digest(root, keccak256(results)) == state.groups[runid][run.consensus_group]

    run.status = types.TASK_COMPLETED
    state.tasks[runid] = packing.pack_task(run)
    settlement.pay_sellers(runid, deal, deals.options(deal), run.count)
    settlement.pay_workers(runid, deal, run.contributors, run.count)
    workers: DynArray[address, types.MAX_CONTRIBUTORS] = []
    for i: uint256 in range(run.contributors, bound=types.MAX_CONTRIBUTORS):
        contribution: uint256 = state.contributions[runid][i]
        if packing.contribution_status(contribution) == types.CONTRIBUTION_PROVED:
            workers.append(packing.contribution_worker(contribution))
    log RunFinalize(runid=runid, root=root, count=run.count, results=results, workers=workers)


@external
def settleRun(
    dealid: bytes32,
    count: uint256,
    root: bytes32,
    results: Bytes[types.MAX_RESULT],
    enclaveChallenge: address,
    enclaveSign: Bytes[types.MAX_SIGNATURE],
    authorizationSign: Bytes[types.MAX_SIGNATURE],
) -> bytes32:
    """
    @notice The caller, a worker that the scheduler (or, for an enclave, the TEE broker) authorised for this very run, opens and
            ends the next `count` tasks of a deal of trust 1, and everybody is paid. As in `contributeAndFinalize` it locks no
            stake and its score stays.
    @return The run id.
    """
    deal: deals.Head = self._load_deal(dealid)
    assert deals.trust(deal) == 1
    run: packing.TaskFields = self._take_next(dealid, deal, count)
    runid: bytes32 = self._run_id(dealid, deal, run)
    contributions.prove_alone(
        runid,
        run,
        deal,
        hashing.run_digest(root, keccak256(results)),
        enclaveChallenge,
        enclaveSign,
        authorizationSign,
    )
    settlement.pay_sellers(runid, deal, deals.options(deal), count)
    settlement.pay_lone_worker(runid, deal, msg.sender, count)
    log RunOpen(runid=runid, dealid=dealid, first=deals.bot_first(deal) + run.offset, count=count)
    log RunFinalize(runid=runid, root=root, count=count, results=results, workers=[msg.sender])
    return runid


@external
def refundRest(dealid: bytes32) -> uint256:
    """
    @notice Refunds, in one step, all tasks of a deal that were never opened, once its final deadline has passed. Anybody may: the
            money goes back to who paid, and the scheduler's stakes go to the kitty. None of these tasks opens any more.
    @return How many they were.
    """
    deal: deals.Head = self._load_deal(dealid)
    assert block.timestamp >= deals.final_deadline(deal)
    key: uint256 = deals.key_of(dealid)
    lane: uint256 = state.lanes[key]
    assert not packing.lane_refunded(lane)
    cursor: uint256 = packing.lane_cursor(lane)
    count: uint256 = deals.bot_size(deal) - cursor
    assert count > 0
    state.lanes[key] = packing.lane(cursor, True)
    settlement.refund(dealid, deal, deals.options(deal), count)
    log DealRefund(dealid=dealid, first=deals.bot_first(deal) + cursor, count=count)
    return count


# ── One task of a run ──────────────────────────────────────────────────────────────────────────────────────────────

@external
def materialise(
    runid: bytes32,
    idx: uint256,
    resultDigest: bytes32,
    proof: DynArray[bytes32, types.MAX_PROOF],
    root: bytes32,
    resultsHash: bytes32,
    resultsCallback: Bytes[types.MAX_RESULT],
) -> bytes32:
    """
    @notice Proves the digest of one task of a run that was finalized, and gives the task a place of its own: `viewTask` knows
            it, and a deal's callback gets its bytes. Anybody may, once for each task; no money moves.
    @dev The callback runs last, as in `finalize`. The task was opened by its run, so that its word can only have been written by
         an earlier call of this.
    @return The task id.
    """
    run: packing.TaskFields = packing.unpack_task(state.tasks[runid])
    assert run.status == types.TASK_COMPLETED
    deal: deals.Head = deals.load(run.deal_key)
    first: uint256 = deals.bot_first(deal) + run.offset
    assert idx >= first
    position: uint256 = idx - first
    # A task of the classic lane has no count.
    assert position < run.count
    assert hashing.run_digest(root, resultsHash) == state.groups[runid][run.consensus_group]
    assert merkle.root_of(resultDigest, position, run.count, proof) == root
    task_id: bytes32 = hashing.task_id(deals.id_of(run.deal_key, deal), idx)
    assert state.tasks[task_id] == 0
    callback: address = deals.options(deal).callback
    callbacks.check_data(callback, resultsCallback, resultDigest)

    task: packing.TaskFields = empty(packing.TaskFields)
    task.status = types.TASK_COMPLETED
    task.materialised = True
    task.offset = run.offset + position
    task.deal_key = run.deal_key
    state.tasks[task_id] = packing.pack_task(task)
    state.groups[task_id][0] = resultDigest
    state.groups[task_id][1] = runid
    settlement.store_results(task_id, b"", resultsCallback)
    log TaskMaterialise(taskid=task_id, runid=runid, idx=idx, digest=resultDigest)
    callbacks.push(callback, task_id, resultsCallback)
    return task_id


# ── Views ──────────────────────────────────────────────────────────────────────────────────────────────────────────

@external
@view
def viewRun(runid: bytes32) -> types.Run:
    """
    @notice Which tasks a run is about, and its status; all zero for what is no run.
    """
    run: packing.TaskFields = packing.unpack_task(state.tasks[runid])
    if run.count == 0:
        return empty(types.Run)
    deal: deals.Head = deals.load(run.deal_key)
    return types.Run(
        dealid=deals.id_of(run.deal_key, deal),
        first=deals.bot_first(deal) + run.offset,
        count=run.count,
        status=convert(run.status, uint8),
    )


@external
@view
def viewLane(dealid: bytes32) -> types.Lane:
    """
    @notice Whether a deal is in the batch lane; the idx of its first task that was never opened (in the classic lane that of its
            first task); whether those from there on were refunded. All zero if there is no such deal.
    """
    deal: deals.Head = deals.find_classic(dealid)
    if deal.location == empty(address):
        return empty(types.Lane)
    lane: uint256 = state.lanes[deals.key_of(dealid)]
    return types.Lane(
        inBatchLane=deals.flags(deal) & deals.FLAG_BATCH_LANE != 0,
        cursor=deals.bot_first(deal) + packing.lane_cursor(lane),
        refunded=packing.lane_refunded(lane),
    )


@external
@pure
def computeRunId(dealid: bytes32, first: uint256, count: uint256) -> bytes32:
    """
    @notice The id of the run of `count` tasks from idx `first` on, whether it exists or not: what a scheduler signs to let a worker
            settle it.
    """
    return hashing.run_id(dealid, first, count)


# ── Dispatch ───────────────────────────────────────────────────────────────────────────────────────────────────────

@external
@payable
def __default__():
    """
    @notice What this facet does not know is refused.
    """
    raise "fallback-disabled"


# ── Internal ───────────────────────────────────────────────────────────────────────────────────────────────────────

@internal
@view
def _load_deal(deal_id: bytes32) -> deals.Head:
    """
    @dev This very deal, which must be in the batch lane.
    """
    key: uint256 = deals.key_of(deal_id)
    deal: deals.Head = deals.load(key)
    assert deals.id_of(key, deal) == deal_id
    assert deals.flags(deal) & deals.FLAG_BATCH_LANE != 0
    return deal


@internal
def _take_next(deal_id: bytes32, deal: deals.Head, count: uint256) -> packing.TaskFields:
    """
    @dev Moves the frontier past `count` tasks. Offset, count and deal of the run that they are.
    """
    assert block.timestamp < deals.contribution_deadline(deal)
    run: packing.TaskFields = empty(packing.TaskFields)
    run.deal_key = deals.key_of(deal_id)
    lane: uint256 = state.lanes[run.deal_key]
    assert not packing.lane_refunded(lane)
    run.offset = packing.lane_cursor(lane)
    run.count = count
    assert count > 0
    assert count <= types.MAX_RUN
    assert count <= deals.bot_size(deal) - run.offset
    state.lanes[run.deal_key] = packing.lane(run.offset + count, False)
    return run


@internal
@pure
def _run_id(deal_id: bytes32, deal: deals.Head, run: packing.TaskFields) -> bytes32:
    return hashing.run_id(deal_id, deals.bot_first(deal) + run.offset, run.count)


@internal
def _open(deal_id: bytes32, deal: deals.Head, run: packing.TaskFields) -> bytes32:
    opened: packing.TaskFields = run
    opened.status = types.TASK_ACTIVE
    run_id: bytes32 = self._run_id(deal_id, deal, run)
    state.tasks[run_id] = packing.pack_task(opened)
    log RunOpen(
        runid=run_id, dealid=deal_id, first=deals.bot_first(deal) + run.offset, count=run.count
    )
    return run_id

