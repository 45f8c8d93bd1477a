# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Fairgrid hub: escrow, settlement and reputation for computations by strangers
@license Apache-2.0
@notice One address holds the money, the deals, the tasks and the scores. This contract is that address: the life of a task is
        here; everything else is in facets, reached by delegatecall, that are fixed when they are deployed: `hub_orders.vy` (matching,
        order management), `hub_batch.vy` (runs of many tasks), `hub_boost.vy` (the fast path), `hub_escrow.vy` (ERC-20 surface,
        deposits), `hub_views.vy`, `hub_legacy.vy` and `hub_admin.vy`.
@dev Who can stop it: nobody. The hub's owner adds categories and names the TEE broker; it cannot change code, deals or balances.
     Conditions that fail revert without data, as the protocol says. Signatures of contracts are asked by static call; the only
     call that could re-enter is the callback at the very end of `finalize` and `contributeAndFinalize`.
     `contribute`, `reveal`, `reopen` and `claim` take the id of a run of the batch lane as well: what they do for a task they do
     for the run, and stakes and prices count once for each of its tasks.
"""

from .lib import blob
from .lib import callbacks
from .lib import categories
from .lib import contributions
from .lib import deals
from .lib import escrow
from .lib import hashing
from .lib import ownable
from .lib import packing
from .lib import scores
from .lib import settlement
from .lib import state
from .lib import types

initializes: state
initializes: blob[state := state]
initializes: callbacks[state := state]
initializes: categories[state := state]
initializes: contributions[state := state]
initializes: deals[blob := blob, state := state]
initializes: escrow[state := state]
initializes: ownable[state := state]
initializes: scores[state := state]
initializes: settlement[blob := blob, escrow := escrow, scores := scores, state := state]

# Which facet a function is in, for those that cost somebody gas; everything else is asked of `hub_views.vy`, which passes on
# what it does not know to `hub_legacy.vy`, that to `hub_admin.vy`, and that to the facet of the escrow.

# matchOrders, sponsorMatchOrders, manageAppOrder, manageDatasetOrder, manageWorkerpoolOrder, manageRequestOrder,
# computeDealVolume, assertDatasetDealCompatibility, appregistry, datasetregistry, workerpoolregistry.
ORDER_SELECTORS: constant(bytes4[11]) = [
    0x156194d4,
    0x2f391533,
    0xb2b07e66,
    0x4b747106,
    0x7e34a077,
    0x8dd971d5,
    0x66517ca6,
    0x80f03425,
    0x45b637a9,
    0xb1b11d2c,
    0x90a0f546,
]
# transfer, transferFrom, approve, approveAndCall, deposit, depositFor, receiveApproval, withdraw, withdrawTo,
# depositForArray, depositWithPermit; deposit() and depositFor(address) of the native flavour.
ESCROW_SELECTORS: constant(bytes4[13]) = [
    0xa9059cbb, 0x23b872dd, 0x095ea7b3, 0xcae9ca51, 0xb6b55f25, 0x36efd16f, 0x8f4ffcb1, 0x2e1a7d4d, 0xc86283c8,
    0x3354f8a5, 0x4a970be7, 0xd0e30db0, 0xaa67c919
]
# openRun, splitRun, finalizeRun, settleRun, materialise, refundRest, viewRun, viewLane, computeRunId.
BATCH_SELECTORS: constant(bytes4[9]) = [
    0xb75f7560, 0xaae74347, 0xedfaabe7, 0x102efb17, 0xf76c9aeb, 0x31228414, 0x36d3c007, 0x1397c9c6, 0x88e8b920
]
# matchOrdersBoost, sponsorMatchOrdersBoost, pushResultBoost, claimBoost, viewDealBoost.
BOOST_SELECTORS: constant(bytes4[5]) = [0x8a8b3607, 0xc1f9a20e, 0x9bced28b, 0xaf24ba0b, 0x63fbac17]

HUB_ORDERS: immutable(address)
HUB_BATCH: immutable(address)
HUB_BOOST: immutable(address)
HUB_ESCROW: immutable(address)
HUB_VIEWS: immutable(address)

event TaskInitialize:
    taskid: indexed(bytes32)
    workerpool: indexed(address)

event TaskContribute:
    taskid: indexed(bytes32)
    worker: indexed(address)
    hash: bytes32

event TaskConsensus:
    taskid: indexed(bytes32)
    consensus: bytes32

event TaskReveal:
    taskid: indexed(bytes32)
    worker: indexed(address)
    digest: bytes32

event TaskReopen:
    taskid: indexed(bytes32)

event TaskFinalize:
    taskid: indexed(bytes32)
    results: Bytes[types.MAX_RESULT]

event TaskClaimed:
    taskid: indexed(bytes32)


@deploy
def __init__(
    hub_owner: address,
    hub_orders: address,
    hub_batch: address,
    hub_boost: address,
    hub_escrow: address,
    hub_views: address,
):
    """
    @dev Leaves a hub that is ready: owner, callback gas, the five categories of the protocol.
    """
    assert hub_orders.codesize != 0
    assert hub_batch.codesize != 0
    assert hub_boost.codesize != 0
    assert hub_escrow.codesize != 0
    assert hub_views.codesize != 0
    HUB_ORDERS = hub_orders
    HUB_BATCH = hub_batch
    HUB_BOOST = hub_boost
    HUB_ESCROW = hub_escrow
    HUB_VIEWS = hub_views
    ownable.set_owner(hub_owner)
    escrow.open_hub_account()
    state.callback_gas = types.DEFAULT_CALLBACK_GAS
    categories.create("XS", '""', 300)
    categories.create("S", '""', 1200)
    categories.create("M", '""', 3600)
    categories.create("L", '""', 10800)
    categories.create("XL", '""', 36000)


# ── Tasks ──────────────────────────────────────────────────────────────────────────────────────────────────────────

@external
def initialize(_dealid: bytes32, idx: uint256) -> bytes32:
    """
    @notice Opens task `idx` of a deal for contributions. Anybody may, at any time: the deal's money was locked for it when the
            deal was made, and each index opens once. In a deal of the batch lane it opens the next task only, and before the
            final deadline only for the scheduler, who may want it in a run.
    @return The task id.
    """
    return self._initialize(_dealid, idx)


@external
def initializeArray(_dealid: DynArray[bytes32, types.MAX_ARRAY], _idx: DynArray[uint256, types.MAX_ARRAY]) -> bool:
    """
    @notice `initialize` for each pair of deal and index, in order; all or nothing.
    """
    assert len(_dealid) == len(_idx)
    for i: uint256 in range(len(_idx), bound=types.MAX_ARRAY):
        self._initialize(_dealid[i], _idx[i])
    return True


@internal
def _initialize(deal_id: bytes32, idx: uint256) -> bytes32:
    key: uint256 = deals.key_of(deal_id)
    deal: deals.Head = deals.load(key)
    assert deals.id_of(key, deal) == deal_id
    assert deals.flags(deal) & deals.FLAG_BOOST == 0
    first: uint256 = deals.bot_first(deal)
    assert idx >= first
    offset: uint256 = idx - first
    assert offset < deals.bot_size(deal)
    task_id: bytes32 = hashing.task_id(deal_id, idx)
    assert state.tasks[task_id] == 0
    if deals.flags(deal) & deals.FLAG_BATCH_LANE != 0:
        # The lanes exclude each other: both open tasks at the frontier only, and move it.
        lane: uint256 = state.lanes[key]
        assert not packing.lane_refunded(lane)
        assert offset == packing.lane_cursor(lane)
        assert msg.sender == deals.pool_owner(deal) or block.timestamp >= deals.final_deadline(deal)
        state.lanes[key] = packing.lane(offset + 1, False)
    task: packing.TaskFields = empty(packing.TaskFields)
    task.status = types.TASK_ACTIVE
    task.offset = offset
    task.deal_key = key
    state.tasks[task_id] = packing.pack_task(task)
    log TaskInitialize(taskid=task_id, workerpool=deals.pool(deal))
    return task_id


@external
def contribute(
    _taskid: bytes32,
    _resultHash: bytes32,
    _resultSeal: bytes32,
    _enclaveChallenge: address,
    _enclaveSign: Bytes[types.MAX_SIGNATURE],
    _authorizationSign: Bytes[types.MAX_SIGNATURE],
):
    """
    @notice The caller, a worker that the scheduler (or, for an enclave, the TEE broker) authorised, commits to a result and
            locks its stake. When enough weight agrees, the task goes on to be revealed.
    @dev At most 64 workers contribute to a task. A worker contributes once, in whatever round.
    """
    task: packing.TaskFields = packing.unpack_task(state.tasks[_taskid])
    assert task.status == types.TASK_ACTIVE
    deal: deals.Head = deals.load(task.deal_key)
    assert block.timestamp < deals.contribution_deadline(deal)
    position: uint256 = task.contributors
    assert position < types.MAX_CONTRIBUTORS

    # The group that this result hash belongs to: an existing one, else the next.
    group: uint256 = task.groups
    for i: uint256 in range(task.groups, bound=types.MAX_CONTRIBUTORS):
        if state.groups[_taskid][i] == _resultHash:
            group = i
            break

    # The weight of a group is the product of the weights of its members; 0 if it has none. Rejected members do not count.
    group_weights: uint256[types.MAX_CONTRIBUTORS] = empty(uint256[types.MAX_CONTRIBUTORS])
    winners: uint256 = 1
    for i: uint256 in range(position, bound=types.MAX_CONTRIBUTORS):
        word: uint256 = state.contributions[_taskid][i]
        assert packing.contribution_worker(word) != msg.sender
        if packing.contribution_status(word) == types.CONTRIBUTION_CONTRIBUTED:
            other: uint256 = packing.contribution_group(word)
            group_weights[other] = max(group_weights[other], 1) * packing.contribution_weight(word)
            if other == group:
                winners += 1

    contributions.check_authorised(_taskid, deal, _enclaveChallenge, _authorizationSign)
    has_challenge: bool = _enclaveChallenge != empty(address)
    if has_challenge:
        contributions.check_enclave(_enclaveChallenge, _resultHash, _resultSeal, _enclaveSign)
        state.challenges[_taskid][position] = _enclaveChallenge

    weight: uint256 = scores.weight_of(msg.sender)
    state.contributions[_taskid][position] = packing.contribution(
        types.CONTRIBUTION_CONTRIBUTED, group, has_challenge, weight, msg.sender
    )
    state.seals[_taskid][position] = _resultSeal
    task.contributors = position + 1
    if group == task.groups:
        state.groups[_taskid][group] = _resultHash
        task.groups += 1
    escrow.lock(msg.sender, deals.worker_stake(deal) * settlement.units_of(task.count))
    log TaskContribute(taskid=_taskid, worker=msg.sender, hash=_resultHash)

    trust: uint256 = deals.trust(deal)
    agreed: bool = trust <= 1
    if not agreed:
        group_weights[group] = max(group_weights[group], 1) * weight
        total: uint256 = 1
        for i: uint256 in range(task.groups, bound=types.MAX_CONTRIBUTORS):
            total += group_weights[i]
        agreed = group_weights[group] * trust > total * (trust - 1)
    if agreed:
        task.status = types.TASK_REVEALING
        task.consensus_group = group
        task.winners = winners
        task.revealed = 0
        task.reveal_deadline = block.timestamp + types.REVEAL_DEADLINE_RATIO * deals.time_reference(deal)
        log TaskConsensus(taskid=_taskid, consensus=_resultHash)
    state.tasks[_taskid] = packing.pack_task(task)


@external
def reveal(_taskid: bytes32, _resultDigest: bytes32):
    """
    @notice The caller, a worker of the winning group, shows the digest behind its hash and seal. Only who had computed the
            digest when it contributed can have sealed it with its own address.
    """
    task: packing.TaskFields = packing.unpack_task(state.tasks[_taskid])
    assert task.status == types.TASK_REVEALING
    assert block.timestamp < task.reveal_deadline
    for i: uint256 in range(task.contributors, bound=types.MAX_CONTRIBUTORS):
        word: uint256 = state.contributions[_taskid][i]
        if packing.contribution_worker(word) != msg.sender:
            continue
        assert packing.contribution_status(word) == types.CONTRIBUTION_CONTRIBUTED
        assert packing.contribution_group(word) == task.consensus_group
        if task.revealed == 0:
            assert state.groups[_taskid][task.consensus_group] == hashing.result_hash(_taskid, _resultDigest)
            # From now on the digest stands where the hash was; the hash follows from it.
            state.groups[_taskid][task.consensus_group] = _resultDigest
        else:
            assert state.groups[_taskid][task.consensus_group] == _resultDigest
        assert state.seals[_taskid][i] == hashing.result_seal(msg.sender, _taskid, _resultDigest)
        state.seals[_taskid][i] = empty(bytes32)
        state.contributions[_taskid][i] = packing.with_contribution_status(word, types.CONTRIBUTION_PROVED)
        task.revealed += 1
        state.tasks[_taskid] = packing.pack_task(task)
        log TaskReveal(taskid=_taskid, worker=msg.sender, digest=_resultDigest)
        return
    raw_revert(b"")


@external
def reopen(_taskid: bytes32):
    """
    @notice The scheduler discards a consensus that nobody revealed in time, and the task takes contributions again. Who did not
            reveal keeps its stake locked and is slashed when the task is finalized.
    """
    task: packing.TaskFields = packing.unpack_task(state.tasks[_taskid])
    assert task.status == types.TASK_REVEALING
    deal: deals.Head = deals.load(task.deal_key)
    assert msg.sender == deals.pool_owner(deal)
    assert block.timestamp < deals.final_deadline(deal)
    assert block.timestamp >= task.reveal_deadline
    assert task.revealed == 0
    for i: uint256 in range(task.contributors, bound=types.MAX_CONTRIBUTORS):
        word: uint256 = state.contributions[_taskid][i]
        if packing.contribution_group(word) == task.consensus_group:
            state.contributions[_taskid][i] = packing.with_contribution_status(
                word, types.CONTRIBUTION_REJECTED
            )
    task.status = types.TASK_ACTIVE
    task.consensus_group = 0
    task.winners = 0
    task.reveal_deadline = 0
    state.tasks[_taskid] = packing.pack_task(task)
    log TaskReopen(taskid=_taskid)


@external
def finalize(
    _taskid: bytes32, _results: Bytes[types.MAX_RESULT], _resultsCallback: Bytes[types.MAX_RESULT]
):
    """
    @notice The scheduler ends a task whose result is revealed: app, dataset, workers and scheduler are paid, who dissented or
            did not reveal loses its stake. Everybody's share follows from the deal and from who revealed; the scheduler chooses
            nothing but the moment and the free text `_results`.
    @dev A deal with a callback demands the very bytes whose hash was agreed on. The callback runs last, with the gas
         that the hub's owner set, and cannot make the task fail.
    """
    task: packing.TaskFields = packing.unpack_task(state.tasks[_taskid])
    assert task.count == 0
    deal: deals.Head = deals.load(task.deal_key)
    settlement.check_finalizable(task, deal)
    options: deals.Options = deals.options(deal)
    if options.callback != empty(address) or len(_resultsCallback) != 0:
        # Only then: reading the digest costs 2,100 gas.
        callbacks.check_data(
            options.callback, _resultsCallback, state.groups[_taskid][task.consensus_group]
        )

    task.status = types.TASK_COMPLETED
    state.tasks[_taskid] = packing.pack_task(task)
    settlement.store_results(_taskid, _results, _resultsCallback)
    settlement.pay_sellers(_taskid, deal, options, 1)
    settlement.pay_workers(_taskid, deal, task.contributors, 1)
    log TaskFinalize(taskid=_taskid, results=_results)
    callbacks.push(options.callback, _taskid, _resultsCallback)


@external
def contributeAndFinalize(
    _taskid: bytes32,
    _resultDigest: bytes32,
    _results: Bytes[types.MAX_RESULT],
    _resultsCallback: Bytes[types.MAX_RESULT],
    _enclaveChallenge: address,
    _enclaveSign: Bytes[types.MAX_SIGNATURE],
    _authorizationSign: Bytes[types.MAX_SIGNATURE],
):
    """
    @notice The caller, a worker that the scheduler (or, for an enclave, the TEE broker) authorised, delivers the result of a task
            of trust 1 that nobody contributed to, and everybody is paid. It locks no stake and its score stays: nothing but
            the scheduler's choice of the worker, or the enclave, stands behind the result.
    @dev The callback runs last, as in `finalize`.
    """
    task: packing.TaskFields = packing.unpack_task(state.tasks[_taskid])
    assert task.status == types.TASK_ACTIVE
    assert task.count == 0
    deal: deals.Head = deals.load(task.deal_key)
    assert block.timestamp < deals.contribution_deadline(deal)
    assert task.contributors == 0
    assert deals.trust(deal) == 1
    options: deals.Options = deals.options(deal)
    callbacks.check_data(options.callback, _resultsCallback, _resultDigest)
    result_hash: bytes32 = contributions.prove_alone(
        _taskid, task, deal, _resultDigest, _enclaveChallenge, _enclaveSign, _authorizationSign
    )
    settlement.store_results(_taskid, _results, _resultsCallback)
    settlement.pay_sellers(_taskid, deal, options, 1)
    settlement.pay_lone_worker(_taskid, deal, msg.sender, 1)
    log TaskContribute(taskid=_taskid, worker=msg.sender, hash=result_hash)
    log TaskConsensus(taskid=_taskid, consensus=result_hash)
    log TaskReveal(taskid=_taskid, worker=msg.sender, digest=_resultDigest)
    log TaskFinalize(taskid=_taskid, results=_results)
    callbacks.push(options.callback, _taskid, _resultsCallback)


@external
def claim(_taskid: bytes32):
    """
    @notice Ends a task that was not finalized in time. Anybody may: the money goes back to who paid, every worker gets its stake
            back, and the scheduler's stake goes to the kitty.
    """
    self._claim(_taskid)


@external
def claimArray(_taskid: DynArray[bytes32, types.MAX_ARRAY]) -> bool:
    """
    @notice `claim` for each task, in order; all or nothing.
    """
    for task_id: bytes32 in _taskid:
        self._claim(task_id)
    return True


@external
def initializeAndClaimArray(
    _dealid: DynArray[bytes32, types.MAX_ARRAY], _idx: DynArray[uint256, types.MAX_ARRAY]
) -> bool:
    """
    @notice `initialize`, then `claim`, for each pair of deal and index, in order; all or nothing: refunds tasks that the
            scheduler never opened.
    """
    assert len(_dealid) == len(_idx)
    for i: uint256 in range(len(_idx), bound=types.MAX_ARRAY):
        self._claim(self._initialize(_dealid[i], _idx[i]))
    return True


@internal
def _claim(task_id: bytes32):
    word: uint256 = state.tasks[task_id]
    status: uint256 = packing.task_status(word)
    assert status == types.TASK_ACTIVE or status == types.TASK_REVEALING
    deal: deals.Head = deals.load(packing.task_deal_key(word))
    assert block.timestamp >= deals.final_deadline(deal)
    state.tasks[task_id] = packing.with_task_status(word, types.TASK_FAILED)

    units: uint256 = settlement.units_of(packing.task_count(word))
    settlement.refund(task_id, deal, deals.options(deal), units)
    worker_stake: uint256 = deals.worker_stake(deal) * units
    for i: uint256 in range(packing.task_contributors(word), bound=types.MAX_CONTRIBUTORS):
        escrow.unlock(packing.contribution_worker(state.contributions[task_id][i]), worker_stake)
    log TaskClaimed(taskid=task_id)


# ── Facets and records ─────────────────────────────────────────────────────────────────────────────────────────────

@external
@view
@raw_return
def blobData() -> Bytes[blob.MAX_BLOB]:
    """
    @notice The bytes of the record that is being written; empty outside. Called back by the record's init code (`blob.vy`).
    @dev Returns them bare, without ABI encoding.
    """
    return state.blob


@external
@payable
@raw_return
def __default__() -> Bytes[types.MAX_ANSWER]:
    """
    @notice Every other function: runs the facet's code on this contract's storage. What no facet knows is left to the escrow's
            flavour: a token's refuses it with `fallback-disabled`, and so plain coins.
    @dev Payable only to reach that text: every function of the facets refuses value but where it says so.
    """
    if len(msg.data) < 4:
        return raw_call(HUB_ESCROW, msg.data, max_outsize=32, is_delegate_call=True)
    selector: bytes4 = convert(slice(msg.data, 0, 4), bytes4)
    if selector in ORDER_SELECTORS:
        return raw_call(HUB_ORDERS, msg.data, max_outsize=32, is_delegate_call=True)
    if selector in ESCROW_SELECTORS:
        return raw_call(HUB_ESCROW, msg.data, max_outsize=32, is_delegate_call=True)
    if selector in BATCH_SELECTORS:
        return raw_call(HUB_BATCH, msg.data, max_outsize=128, is_delegate_call=True)
    if selector in BOOST_SELECTORS:
        return raw_call(HUB_BOOST, msg.data, max_outsize=448, is_delegate_call=True)
    return raw_call(HUB_VIEWS, msg.data, max_outsize=types.MAX_ANSWER, is_delegate_call=True)
