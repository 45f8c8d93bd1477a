# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Fairgrid hub, facet of boost
@license Apache-2.0
@notice The fast path for deals of trust 0 or 1 (`PocoBoost`): one transaction makes the deal, one more by the worker that the
        scheduler authorised delivers a result and pays everybody. There is no worker stake, no reveal and no score: nothing but
        the scheduler's choice of the worker, or an enclave's signature, stands behind the result. Runs by
        delegatecall in the storage of the hub (`hub.vy`); called by itself it knows no category and no deal.
@dev Who can stop it: nobody. Tasks of a deal count from 0, whatever part of its request the deal is.
     Everything that calls a foreign contract is a static call and happens before the first write, but for the callback at the
     very end of `pushResultBoost`.
"""

from .interfaces import IRegistry
from .lib import blob
from .lib import callbacks
from .lib import deals
from .lib import escrow
from .lib import hashing
from .lib import matching
from .lib import packing
from .lib import scores
from .lib import settlement
from .lib import signatures
from .lib import state
from .lib import types

initializes: state
initializes: blob[state := state]
initializes: callbacks[state := state]
initializes: deals[blob := blob, state := state]
initializes: escrow[state := state]
initializes: matching[state := state]
initializes: scores[state := state]
initializes: settlement[blob := blob, escrow := escrow, scores := scores, state := state]
initializes: signatures[state := state]

# The low three bytes of a tag: all that the deal keeps of it.
SHORT_TAG: constant(uint256) = 2**24 - 1

APP_REGISTRY: immutable(address)
DATASET_REGISTRY: immutable(address)
WORKERPOOL_REGISTRY: immutable(address)

event SchedulerNoticeBoost:
    workerpool: indexed(address)
    dealId: bytes32
    app: address
    dataset: address
    category: uint256
    tag: bytes32
    params: String[types.MAX_PARAMS]
    beneficiary: address

event OrdersMatched:
    dealid: bytes32
    appHash: bytes32
    datasetHash: bytes32
    workerpoolHash: bytes32
    requestHash: bytes32
    volume: uint256

event DealSponsoredBoost:
    dealId: bytes32
    sponsor: address

event ResultPushedBoost:
    dealId: bytes32
    index: uint256
    results: Bytes[types.MAX_RESULT]

event TaskClaimed:
    taskid: indexed(bytes32)


@deploy
def __init__(app_registry: address, dataset_registry: address, workerpool_registry: address):
    """
    @dev The registries, for ever; those of `hub_orders.vy`.
    """
    APP_REGISTRY = app_registry
    DATASET_REGISTRY = dataset_registry
    WORKERPOOL_REGISTRY = workerpool_registry


# ── Matching ───────────────────────────────────────────────────────────────────────────────────────────────────────

@external
def matchOrdersBoost(
    appOrder: types.AppOrder,
    datasetOrder: types.DatasetOrder,
    workerpoolOrder: types.WorkerpoolOrder,
    requestOrder: types.RequestOrder,
) -> bytes32:
    """
    @notice Makes a deal of boost out of four compatible orders; the requester pays. Anybody may call: nothing happens that
            the four owners did not sign.
    @return The deal id.
    """
    return self._match(appOrder, datasetOrder, workerpoolOrder, requestOrder, requestOrder.requester)


@external
def sponsorMatchOrdersBoost(
    appOrder: types.AppOrder,
    datasetOrder: types.DatasetOrder,
    workerpoolOrder: types.WorkerpoolOrder,
    requestOrder: types.RequestOrder,
) -> bytes32:
    """
    @notice The same, but the caller pays, and gets refunds. Safe because only the caller's own money can be spent.
    @return The deal id.
    """
    deal_id: bytes32 = self._match(appOrder, datasetOrder, workerpoolOrder, requestOrder, msg.sender)
    log DealSponsoredBoost(dealId=deal_id, sponsor=msg.sender)
    return deal_id


@internal
def _match(
    app_order: types.AppOrder,
    dataset_order: types.DatasetOrder,
    workerpool_order: types.WorkerpoolOrder,
    request_order: types.RequestOrder,
    payer: address,
) -> bytes32:
    """
    @dev The checks stand in the order of the protocol. Differences to `matchOrders`: the pool's trust is not asked for, framework
         bits of the dataset order count, and an asset is looked up in its registry before anything is asked of itself.
    """
    has_dataset: bool = dataset_order.dataset != empty(address)

    # Terms: trust, category, prices, tag.
    category_word: uint256 = state.categories[request_order.category]
    assert request_order.trust <= 1, "PocoBoost: Bad trust level"
    assert request_order.category == workerpool_order.category, "PocoBoost: Category mismatch"
    assert packing.category_exists(category_word), "PocoBoost: Unknown category"
    assert request_order.appmaxprice >= app_order.appprice, "PocoBoost: Overpriced app"
    assert request_order.datasetmaxprice >= dataset_order.datasetprice, "PocoBoost: Overpriced dataset"
    assert (
        request_order.workerpoolmaxprice >= workerpool_order.workerpoolprice
    ), "PocoBoost: Overpriced workerpool"
    app_tag: uint256 = convert(app_order.tag, uint256)
    tag: uint256 = app_tag | convert(dataset_order.tag, uint256) | convert(request_order.tag, uint256)
    assert (
        tag & ~convert(workerpool_order.tag, uint256) == 0
    ), "PocoBoost: Workerpool tag does not match demand"
    assert tag & ~app_tag & types.TAG_TEE == 0, "PocoBoost: App tag does not match demand"

    # Assets, and the restrictions that each order puts on the others.
    assert request_order.app == app_order.app, "PocoBoost: App mismatch"
    assert request_order.dataset == dataset_order.dataset, "PocoBoost: Dataset mismatch"
    assert signatures.is_authorised(
        request_order.workerpool, workerpool_order.workerpool
    ), "PocoBoost: Workerpool restricted by request order"
    assert signatures.is_authorised(
        app_order.datasetrestrict, dataset_order.dataset
    ), "PocoBoost: Dataset restricted by app order"
    assert signatures.is_authorised(
        app_order.workerpoolrestrict, workerpool_order.workerpool
    ), "PocoBoost: Workerpool restricted by app order"
    assert signatures.is_authorised(
        app_order.requesterrestrict, request_order.requester
    ), "PocoBoost: Requester restricted by app order"
    assert signatures.is_authorised(
        dataset_order.apprestrict, app_order.app
    ), "PocoBoost: App restricted by dataset order"
    assert signatures.is_authorised(
        dataset_order.workerpoolrestrict, workerpool_order.workerpool
    ), "PocoBoost: Workerpool restricted by dataset order"
    assert signatures.is_authorised(
        dataset_order.requesterrestrict, request_order.requester
    ), "PocoBoost: Requester restricted by dataset order"
    assert signatures.is_authorised(
        workerpool_order.apprestrict, app_order.app
    ), "PocoBoost: App restricted by workerpool order"
    assert signatures.is_authorised(
        workerpool_order.datasetrestrict, dataset_order.dataset
    ), "PocoBoost: Dataset restricted by workerpool order"
    assert signatures.is_authorised(
        workerpool_order.requesterrestrict, request_order.requester
    ), "PocoBoost: Requester restricted by workerpool order"

    # Registration, owners and signatures.
    terms: deals.Terms = empty(deals.Terms)
    hashes: matching.Hashes = empty(matching.Hashes)
    separator: bytes32 = hashing.domain_separator()
    unused: uint256 = 0

    terms.app.owner, unused, unused = staticcall IRegistry(APP_REGISTRY).lookup(app_order.app)
    assert terms.app.owner != empty(address), "PocoBoost: App not registered"
    hashes.app = hashing.typed_hash(separator, hashing.app_order(app_order))
    assert signatures.is_signed_or_presigned(
        terms.app.owner, hashes.app, app_order.sign
    ), "PocoBoost: Invalid app order signature"

    if has_dataset:
        terms.dataset.owner, unused, unused = staticcall IRegistry(DATASET_REGISTRY).lookup(dataset_order.dataset)
        assert terms.dataset.owner != empty(address), "PocoBoost: Dataset not registered"
        hashes.dataset = hashing.typed_hash(separator, hashing.dataset_order(dataset_order))
        assert signatures.is_signed_or_presigned(
            terms.dataset.owner, hashes.dataset, dataset_order.sign
        ), "PocoBoost: Invalid dataset order signature"

    terms.workerpool.owner, unused, terms.scheduler_reward_ratio = staticcall IRegistry(
        WORKERPOOL_REGISTRY
    ).lookup(workerpool_order.workerpool)
    assert terms.workerpool.owner != empty(address), "PocoBoost: Workerpool not registered"
    hashes.workerpool = hashing.typed_hash(separator, hashing.workerpool_order(workerpool_order))
    assert signatures.is_signed_or_presigned(
        terms.workerpool.owner, hashes.workerpool, workerpool_order.sign
    ), "PocoBoost: Invalid workerpool order signature"

    hashes.request = hashing.typed_hash(separator, hashing.request_order(request_order))
    assert signatures.is_signed_or_presigned(
        request_order.requester, hashes.request, request_order.sign
    ), "PocoBoost: Invalid request order signature"

    # Volume. Nothing below calls a foreign contract.
    terms.bot_first = deals.consumed_by_request(hashes.request)
    terms.bot_size = matching.volume(
        hashes,
        app_order.volume,
        dataset_order.volume,
        workerpool_order.volume,
        request_order.volume,
        terms.bot_first,
    )
    assert terms.bot_size > 0, "PocoBoost: One or more orders consumed"

    # The widths that the protocol's own deal has.
    self._check_width(app_order.appprice, 96)
    self._check_width(workerpool_order.workerpoolprice, 96)
    self._check_width(terms.bot_first, 16)
    self._check_width(terms.bot_size, 16)
    terms.app.pointer = app_order.app
    terms.app.price = app_order.appprice
    terms.workerpool.pointer = workerpool_order.workerpool
    terms.workerpool.price = workerpool_order.workerpoolprice
    if has_dataset:
        self._check_width(dataset_order.datasetprice, 96)
        terms.dataset.pointer = dataset_order.dataset
        terms.dataset.price = dataset_order.datasetprice
    matching.consume(hashes, terms.bot_size, request_order.volume, terms.bot_first)

    # Money, then the record. Params and beneficiary are nowhere but in the event.
    escrow.lock(payer, (terms.app.price + terms.dataset.price + terms.workerpool.price) * terms.bot_size)
    escrow.lock(
        terms.workerpool.owner,
        terms.workerpool.price * types.WORKERPOOL_STAKE_RATIO // 100 * terms.bot_size,
    )
    terms.trust = max(request_order.trust, 1)
    terms.category = request_order.category
    terms.tag = tag & SHORT_TAG
    terms.requester = request_order.requester
    terms.callback = request_order.callback
    terms.start_time = block.timestamp
    terms.sponsor = payer
    terms.time_reference = packing.category_time_reference(category_word)
    terms.in_boost = True
    deal_id: bytes32 = hashing.deal_id(hashes.request, terms.bot_first)
    deals.write(deal_id, terms, "")

    log SchedulerNoticeBoost(
        workerpool=workerpool_order.workerpool,
        dealId=deal_id,
        app=app_order.app,
        dataset=dataset_order.dataset,
        category=request_order.category,
        tag=convert(tag, bytes32),
        params=request_order.params,
        beneficiary=request_order.beneficiary,
    )
    log OrdersMatched(
        dealid=deal_id,
        appHash=hashes.app,
        datasetHash=hashes.dataset,
        workerpoolHash=hashes.workerpool,
        requestHash=hashes.request,
        volume=terms.bot_size,
    )
    return deal_id


@internal
@pure
def _check_width(number: uint256, bits: uint256):
    """
    @dev Reverts with the error of the protocol's deal if the number has more bits.
    """
    if number >> bits != 0:
        raw_revert(
            abi_encode(bits, number, method_id=method_id("SafeCastOverflowedUintDowncast(uint8,uint256)"))
        )


# ── Tasks ──────────────────────────────────────────────────────────────────────────────────────────────────────────

@external
def pushResultBoost(
    dealId: bytes32,
    index: uint256,
    results: Bytes[types.MAX_RESULT],
    resultsCallback: Bytes[types.MAX_RESULT],
    authorizationSign: Bytes[types.MAX_SIGNATURE],
    enclaveChallenge: address,
    enclaveSign: Bytes[types.MAX_SIGNATURE],
):
    """
    @notice The caller, a worker that the scheduler (or, for an enclave, the TEE broker) authorised, delivers the result of task
            `index` and everybody is paid. The results are in the event only. The sponsor pays; in the published contracts the
            requester does, out of money that is locked for something else.
    @dev The callback runs last, with the gas that the hub's owner set, and cannot make the task fail.
    """
    deal: deals.Head = deals.find_boost(dealId)
    assert index < deals.bot_size(deal), "PocoBoost: Unknown task"
    task_id: bytes32 = hashing.task_id(dealId, index)
    assert state.tasks[task_id] == 0, "PocoBoost: Task status not unset"
    assert block.timestamp < deals.contribution_deadline(deal), "PocoBoost: Deadline reached"

    # Authorisation, and the enclave's word if there is one.
    has_challenge: bool = enclaveChallenge != empty(address)
    assert (
        has_challenge or deals.low_tag(deal) & types.TAG_TEE == 0
    ), "PocoBoost: Tag requires enclave challenge"
    pool_owner: address = deals.pool_owner(deal)
    authority: address = pool_owner
    if has_challenge and state.tee_broker != empty(address):
        authority = state.tee_broker
    assert signatures.is_signed(
        authority, hashing.authorisation(msg.sender, task_id, enclaveChallenge), authorizationSign
    ), "PocoBoost: Invalid contribution authorization signature"
    options: deals.Options = deals.options(deal)
    has_callback: bool = options.callback != empty(address)
    if has_challenge:
        digest: bytes32 = keccak256(resultsCallback) if has_callback else keccak256(results)
        assert signatures.is_signed(
            enclaveChallenge,
            hashing.signed_message(hashing.result_seal(msg.sender, task_id, digest)),
            enclaveSign,
        ), "PocoBoost: Invalid enclave signature"

    self._end_task(task_id, dealId, index, types.TASK_COMPLETED)
    app_price: uint256 = deals.app_price(deal)
    worker_reward: uint256 = self._worker_reward(deal)
    escrow.seize(options.sponsor, settlement.price_of(deal, options), task_id)
    escrow.reward(msg.sender, worker_reward, task_id)
    if app_price > 0:
        escrow.reward(deals.app_owner(deal), app_price, task_id)
    if options.dataset_price > 0:
        escrow.reward(options.dataset_owner, options.dataset_price, task_id)
    escrow.unlock(pool_owner, deals.pool_stake(deal))
    kitty_part: uint256 = settlement.take_from_kitty(task_id)
    escrow.reward(pool_owner, deals.pool_price(deal) - worker_reward + kitty_part, task_id)
    log ResultPushedBoost(dealId=dealId, index=index, results=results)

    if has_callback:
        assert len(resultsCallback) > 0, "PocoBoost: Callback requires data"
        assert callbacks.call(
            options.callback, task_id, resultsCallback
        ), "PocoBoost: Not enough gas after callback"


@external
def claimBoost(dealId: bytes32, index: uint256):
    """
    @notice Ends a task whose result was not pushed in time. Anybody may: the money goes back to who paid, and the scheduler's
            stake goes to the kitty.
    """
    deal: deals.Head = deals.find_boost(dealId)
    assert index < deals.bot_size(deal), "PocoBoost: Unknown task"
    task_id: bytes32 = hashing.task_id(dealId, index)
    assert state.tasks[task_id] == 0, "PocoBoost: Task status not unset"
    assert block.timestamp >= deals.contribution_deadline(deal), "PocoBoost: Deadline not reached"

    self._end_task(task_id, dealId, index, types.TASK_FAILED)
    settlement.refund(task_id, deal, deals.options(deal), 1)
    log TaskClaimed(taskid=task_id)


@internal
def _end_task(task_id: bytes32, deal_id: bytes32, index: uint256, status: uint256):
    """
    @dev A task of boost is unset until it is over. Its word is never empty again, so it ends once.
    """
    task: packing.TaskFields = empty(packing.TaskFields)
    task.status = status
    task.offset = index
    task.deal_key = deals.key_of(deal_id)
    state.tasks[task_id] = packing.pack_task(task)


@internal
@pure
def _worker_reward(deal: deals.Head) -> uint256:
    """
    @dev What the pool's policy at the match leaves to the worker.
    """
    return deals.pool_price(deal) * (100 - deals.scheduler_reward_ratio(deal)) // 100


# ── Views ──────────────────────────────────────────────────────────────────────────────────────────────────────────

@external
@view
def viewDealBoost(id: bytes32) -> types.DealBoost:
    """
    @notice The terms of a deal of boost; all zero if there is no such deal, or if it is another (`viewDeal`).
    """
    deal: deals.Head = deals.find_boost(id)
    if deal.location == empty(address):
        return empty(types.DealBoost)
    options: deals.Options = deals.options(deal)
    return types.DealBoost(
        appOwner=deals.app_owner(deal),
        appPrice=convert(deals.app_price(deal), uint96),
        datasetOwner=options.dataset_owner,
        datasetPrice=convert(options.dataset_price, uint96),
        workerpoolOwner=deals.pool_owner(deal),
        workerpoolPrice=convert(deals.pool_price(deal), uint96),
        requester=deals.requester(deal),
        workerReward=convert(self._worker_reward(deal), uint96),
        callback=options.callback,
        deadline=convert(deals.contribution_deadline(deal), uint40),
        botFirst=convert(deals.bot_first(deal), uint16),
        botSize=convert(deals.bot_size(deal), uint16),
        shortTag=convert(convert(deals.low_tag(deal), uint24), bytes3),
        sponsor=options.sponsor,
    )


# ── Dispatch ───────────────────────────────────────────────────────────────────────────────────────────────────────

@external
@payable
def __default__():
    """
    @notice What this facet does not know is refused.
    """
    raise "fallback-disabled"
