# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Fairgrid hub, facet of orders
@license Apache-2.0
@notice Matching of signed orders into deals, and presigning and closing of orders. Runs by delegatecall in the storage of
        the hub (`hub.vy`); called by itself it knows no category and no account and can do nothing.
@dev Who can stop it: nobody. The registries are fixed when the facet is deployed.
"""

from .interfaces import IEntry
from .interfaces import IRegistry
from .lib import blob
from .lib import deals
from .lib import escrow
from .lib import hashing
from .lib import matching
from .lib import packing
from .lib import signatures
from .lib import state
from .lib import types

initializes: state
initializes: blob[state := state]
initializes: deals[blob := blob, state := state]
initializes: escrow[state := state]
initializes: matching[state := state]
initializes: signatures[state := state]

APP_REGISTRY: immutable(address)
DATASET_REGISTRY: immutable(address)
WORKERPOOL_REGISTRY: immutable(address)

event SchedulerNotice:
    workerpool: indexed(address)
    dealid: bytes32

event OrdersMatched:
    dealid: bytes32
    appHash: bytes32
    datasetHash: bytes32
    workerpoolHash: bytes32
    requestHash: bytes32
    volume: uint256

event DealSponsored:
    dealId: bytes32
    sponsor: address

event SignedAppOrder:
    appHash: bytes32

event SignedDatasetOrder:
    datasetHash: bytes32

event SignedWorkerpoolOrder:
    workerpoolHash: bytes32

event SignedRequestOrder:
    requestHash: bytes32

event ClosedAppOrder:
    appHash: bytes32

event ClosedDatasetOrder:
    datasetHash: bytes32

event ClosedWorkerpoolOrder:
    workerpoolHash: bytes32

event ClosedRequestOrder:
    requestHash: bytes32


@deploy
def __init__(app_registry: address, dataset_registry: address, workerpool_registry: address):
    """
    @dev The three registries, for ever. A registry can itself acknowledge a previous one.
    """
    APP_REGISTRY = app_registry
    DATASET_REGISTRY = dataset_registry
    WORKERPOOL_REGISTRY = workerpool_registry


# ── Matching ───────────────────────────────────────────────────────────────────────────────────────────────────────

@external
def matchOrders(
    _apporder: types.AppOrder,
    _datasetorder: types.DatasetOrder,
    _workerpoolorder: types.WorkerpoolOrder,
    _requestorder: types.RequestOrder,
) -> bytes32:
    """
    @notice Makes a deal out of four compatible orders; the requester pays. Anybody may call: nothing happens that the four
            owners did not sign.
    @return The deal id.
    """
    return self._match(_apporder, _datasetorder, _workerpoolorder, _requestorder, _requestorder.requester)


@external
def sponsorMatchOrders(
    _apporder: types.AppOrder,
    _datasetorder: types.DatasetOrder,
    _workerpoolorder: types.WorkerpoolOrder,
    _requestorder: types.RequestOrder,
) -> bytes32:
    """
    @notice The same, but the caller pays, and gets refunds. Safe because only the caller's own money can be spent.
    @return The deal id.
    """
    deal_id: bytes32 = self._match(_apporder, _datasetorder, _workerpoolorder, _requestorder, msg.sender)
    log DealSponsored(dealId=deal_id, sponsor=msg.sender)
    return deal_id


@external
@view
def computeDealVolume(
    appOrder: types.AppOrder,
    datasetOrder: types.DatasetOrder,
    workerpoolOrder: types.WorkerpoolOrder,
    requestOrder: types.RequestOrder,
) -> uint256:
    """
    @notice How many tasks a match of these orders would take now; nothing else is checked.
    """
    separator: bytes32 = hashing.domain_separator()
    hashes: matching.Hashes = matching.Hashes(
        app=hashing.typed_hash(separator, hashing.app_order(appOrder)),
        dataset=empty(bytes32),
        workerpool=hashing.typed_hash(separator, hashing.workerpool_order(workerpoolOrder)),
        request=hashing.typed_hash(separator, hashing.request_order(requestOrder)),
    )
    if datasetOrder.dataset != empty(address):
        hashes.dataset = hashing.typed_hash(separator, hashing.dataset_order(datasetOrder))
    volume: uint256 = matching.volume(
        hashes,
        appOrder.volume,
        datasetOrder.volume,
        workerpoolOrder.volume,
        requestOrder.volume,
        deals.consumed_by_request(hashes.request),
    )
    return min(types.MAX_VOLUME, volume)


@external
@view
def assertDatasetDealCompatibility(datasetOrder: types.DatasetOrder, dealId: bytes32):
    """
    @notice Reverts with `IncompatibleDatasetOrder(reason)` unless a deal without a dataset may use this one (bulk processing).
            Nothing is consumed or paid.
    @dev Price, registration and the restrictions of the deal's own orders are not looked at, as in the protocol.
    """
    order_hash: bytes32 = hashing.typed_hash(hashing.domain_separator(), hashing.dataset_order(datasetOrder))
    if state.consumed[order_hash] >= datasetOrder.volume:
        self._refuse_dataset("Dataset order is revoked or fully consumed")
    dataset_owner: address = staticcall IEntry(datasetOrder.dataset).owner()
    if not signatures.is_signed_or_presigned(dataset_owner, order_hash, datasetOrder.sign):
        self._refuse_dataset("Invalid dataset order signature")
    deal: deals.Head = deals.find_classic(dealId)
    if deal.location == empty(address):
        self._refuse_dataset("Deal not found")
    if deals.flags(deal) & deals.FLAG_DATASET != 0:
        self._refuse_dataset("Deal already has a dataset")
    if not signatures.is_authorised(datasetOrder.apprestrict, deals.app(deal)):
        self._refuse_dataset("App restriction not satisfied")
    if not signatures.is_authorised(datasetOrder.workerpoolrestrict, deals.pool(deal)):
        self._refuse_dataset("Workerpool restriction not satisfied")
    if not signatures.is_authorised(datasetOrder.requesterrestrict, deals.requester(deal)):
        self._refuse_dataset("Requester restriction not satisfied")
    options: deals.Options = deals.options(deal)
    tag: uint256 = convert(datasetOrder.tag, uint256) & ~types.TAG_FRAMEWORKS
    if tag & ~convert(options.tag, uint256) != 0:
        self._refuse_dataset("Tag compatibility not satisfied")


@internal
@pure
def _refuse_dataset(reason: String[42]):
    raw_revert(abi_encode(reason, method_id=method_id("IncompatibleDatasetOrder(string)")))


@internal
def _match(
    app_order: types.AppOrder,
    dataset_order: types.DatasetOrder,
    workerpool_order: types.WorkerpoolOrder,
    request_order: types.RequestOrder,
    payer: address,
) -> bytes32:
    """
    @dev The checks stand in the order of the protocol; the code of each is the end of its message. Everything that calls a
         foreign contract (registries, owners, groups, ERC-1271) is a static call and happens before the first
         write, so nothing can be re-entered half way.
    """
    has_dataset: bool = dataset_order.dataset != empty(address)

    # Terms: category, trust, prices, tag.
    category_word: uint256 = state.categories[request_order.category]
    assert request_order.category == workerpool_order.category, "iExecV5-matchOrders-0x00"
    assert packing.category_exists(category_word), "iExecV5-matchOrders-0x01"
    assert request_order.trust <= workerpool_order.trust, "iExecV5-matchOrders-0x02"
    assert request_order.appmaxprice >= app_order.appprice, "iExecV5-matchOrders-0x03"
    assert request_order.datasetmaxprice >= dataset_order.datasetprice, "iExecV5-matchOrders-0x04"
    assert request_order.workerpoolmaxprice >= workerpool_order.workerpoolprice, "iExecV5-matchOrders-0x05"
    app_tag: uint256 = convert(app_order.tag, uint256)
    pool_tag: uint256 = convert(workerpool_order.tag, uint256)
    request_tag: uint256 = convert(request_order.tag, uint256)
    tag: uint256 = app_tag | (convert(dataset_order.tag, uint256) & ~types.TAG_FRAMEWORKS) | request_tag
    assert tag & ~pool_tag == 0, "iExecV5-matchOrders-0x06"
    assert tag & ~app_tag & types.TAG_TEE == 0, "iExecV5-matchOrders-0x07"

    # Assets, and the restrictions that each order puts on the others.
    assert request_order.app == app_order.app, "iExecV5-matchOrders-0x10"
    assert request_order.dataset == dataset_order.dataset, "iExecV5-matchOrders-0x11"
    assert signatures.is_authorised(
        request_order.workerpool, workerpool_order.workerpool
    ), "iExecV5-matchOrders-0x12"
    assert signatures.is_authorised(app_order.datasetrestrict, dataset_order.dataset), "iExecV5-matchOrders-0x13"
    assert signatures.is_authorised(
        app_order.workerpoolrestrict, workerpool_order.workerpool
    ), "iExecV5-matchOrders-0x14"
    assert signatures.is_authorised(app_order.requesterrestrict, request_order.requester), "iExecV5-matchOrders-0x15"
    assert signatures.is_authorised(dataset_order.apprestrict, app_order.app), "iExecV5-matchOrders-0x16"
    assert signatures.is_authorised(
        dataset_order.workerpoolrestrict, workerpool_order.workerpool
    ), "iExecV5-matchOrders-0x17"
    assert signatures.is_authorised(
        dataset_order.requesterrestrict, request_order.requester
    ), "iExecV5-matchOrders-0x18"
    assert signatures.is_authorised(workerpool_order.apprestrict, app_order.app), "iExecV5-matchOrders-0x19"
    assert signatures.is_authorised(
        workerpool_order.datasetrestrict, dataset_order.dataset
    ), "iExecV5-matchOrders-0x1a"
    assert signatures.is_authorised(
        workerpool_order.requesterrestrict, request_order.requester
    ), "iExecV5-matchOrders-0x1b"

    # Owners, registration and signatures.
    terms: deals.Terms = empty(deals.Terms)
    hashes: matching.Hashes = empty(matching.Hashes)
    separator: bytes32 = hashing.domain_separator()
    unused: uint256 = 0

    terms.app.owner, unused, unused = staticcall IRegistry(APP_REGISTRY).lookup(app_order.app)
    if terms.app.owner == empty(address):
        self._refuse_unregistered(app_order.app, "iExecV5-matchOrders-0x20")
    hashes.app = hashing.typed_hash(separator, hashing.app_order(app_order))
    assert signatures.is_signed_or_presigned(
        terms.app.owner, hashes.app, app_order.sign
    ), "iExecV5-matchOrders-0x21"

    if has_dataset:
        terms.dataset.owner, unused, unused = staticcall IRegistry(DATASET_REGISTRY).lookup(dataset_order.dataset)
        if terms.dataset.owner == empty(address):
            self._refuse_unregistered(dataset_order.dataset, "iExecV5-matchOrders-0x30")
        hashes.dataset = hashing.typed_hash(separator, hashing.dataset_order(dataset_order))
        assert signatures.is_signed_or_presigned(
            terms.dataset.owner, hashes.dataset, dataset_order.sign
        ), "iExecV5-matchOrders-0x31"

    terms.workerpool.owner, terms.worker_stake_ratio, terms.scheduler_reward_ratio = staticcall IRegistry(
        WORKERPOOL_REGISTRY
    ).lookup(workerpool_order.workerpool)
    if terms.workerpool.owner == empty(address):
        self._refuse_unregistered(workerpool_order.workerpool, "iExecV5-matchOrders-0x40")
    hashes.workerpool = hashing.typed_hash(separator, hashing.workerpool_order(workerpool_order))
    assert signatures.is_signed_or_presigned(
        terms.workerpool.owner, hashes.workerpool, workerpool_order.sign
    ), "iExecV5-matchOrders-0x41"

    hashes.request = hashing.typed_hash(separator, hashing.request_order(request_order))
    assert signatures.is_signed_or_presigned(
        request_order.requester, hashes.request, request_order.sign
    ), "iExecV5-matchOrders-0x50"

    # Volume. Nothing below calls a foreign contract.
    terms.bot_first = deals.consumed_by_request(hashes.request)
    volume: uint256 = min(
        types.MAX_VOLUME,
        matching.volume(
            hashes,
            app_order.volume,
            dataset_order.volume,
            workerpool_order.volume,
            request_order.volume,
            terms.bot_first,
        ),
    )
    assert volume > 0, "iExecV5-matchOrders-0x60"
    matching.consume(hashes, volume, request_order.volume, terms.bot_first)

    terms.app.pointer = app_order.app
    terms.app.price = app_order.appprice
    if has_dataset:
        terms.dataset.pointer = dataset_order.dataset
        terms.dataset.price = dataset_order.datasetprice
    terms.workerpool.pointer = workerpool_order.workerpool
    terms.workerpool.price = workerpool_order.workerpoolprice

    # Money, then the record.
    escrow.lock(payer, (terms.app.price + terms.dataset.price + terms.workerpool.price) * volume)
    escrow.lock(
        terms.workerpool.owner, terms.workerpool.price * types.WORKERPOOL_STAKE_RATIO // 100 * volume
    )

    terms.trust = max(request_order.trust, 1)
    terms.category = request_order.category
    terms.tag = tag
    terms.requester = request_order.requester
    terms.beneficiary = request_order.beneficiary
    terms.callback = request_order.callback
    terms.start_time = block.timestamp
    terms.bot_size = volume
    terms.sponsor = payer
    terms.time_reference = packing.category_time_reference(category_word)
    terms.in_batch_lane = request_tag & pool_tag & types.TAG_BATCH_LANE != 0
    deal_id: bytes32 = hashing.deal_id(hashes.request, terms.bot_first)
    deals.write(deal_id, terms, request_order.params)

    log SchedulerNotice(workerpool=workerpool_order.workerpool, dealid=deal_id)
    log OrdersMatched(
        dealid=deal_id,
        appHash=hashes.app,
        datasetHash=hashes.dataset,
        workerpoolHash=hashes.workerpool,
        requestHash=hashes.request,
        volume=volume,
    )
    return deal_id


@internal
@view
def _refuse_unregistered(entry: address, reason: String[24]):
    """
    @dev The protocol asks the entry for its owner before it asks the registry, so what is no contract, or has no owner, reverts
         without data.
    """
    entry_owner: address = staticcall IEntry(entry).owner()
    raise reason


# ── Order management ───────────────────────────────────────────────────────────────────────────────────────────────

@external
def manageAppOrder(_apporderoperation: types.AppOrderOperation):
    """
    @notice Presigns or closes an app order. Only the app's owner can, by calling or by a signature over the operation.
    """
    kind: uint8 = _apporderoperation.operation
    struct_hash: bytes32 = hashing.app_order(_apporderoperation.order)
    order_hash: bytes32 = self._manage(
        staticcall IEntry(_apporderoperation.order.app).owner(),
        kind,
        struct_hash,
        hashing.APP_OPERATION_TYPEHASH,
        _apporderoperation.sign,
        _apporderoperation.order.volume,
    )
    if kind == types.OPERATION_SIGN:
        log SignedAppOrder(appHash=order_hash)
    else:
        log ClosedAppOrder(appHash=order_hash)


@external
def manageDatasetOrder(_datasetorderoperation: types.DatasetOrderOperation):
    """
    @notice Presigns or closes a dataset order. Only the dataset's owner can, by calling or by a signature over the operation.
    """
    kind: uint8 = _datasetorderoperation.operation
    struct_hash: bytes32 = hashing.dataset_order(_datasetorderoperation.order)
    order_hash: bytes32 = self._manage(
        staticcall IEntry(_datasetorderoperation.order.dataset).owner(),
        kind,
        struct_hash,
        hashing.DATASET_OPERATION_TYPEHASH,
        _datasetorderoperation.sign,
        _datasetorderoperation.order.volume,
    )
    if kind == types.OPERATION_SIGN:
        log SignedDatasetOrder(datasetHash=order_hash)
    else:
        log ClosedDatasetOrder(datasetHash=order_hash)


@external
def manageWorkerpoolOrder(_workerpoolorderoperation: types.WorkerpoolOrderOperation):
    """
    @notice Presigns or closes a workerpool order. Only the pool's owner can, by calling or by a signature over the operation.
    """
    kind: uint8 = _workerpoolorderoperation.operation
    struct_hash: bytes32 = hashing.workerpool_order(_workerpoolorderoperation.order)
    order_hash: bytes32 = self._manage(
        staticcall IEntry(_workerpoolorderoperation.order.workerpool).owner(),
        kind,
        struct_hash,
        hashing.WORKERPOOL_OPERATION_TYPEHASH,
        _workerpoolorderoperation.sign,
        _workerpoolorderoperation.order.volume,
    )
    if kind == types.OPERATION_SIGN:
        log SignedWorkerpoolOrder(workerpoolHash=order_hash)
    else:
        log ClosedWorkerpoolOrder(workerpoolHash=order_hash)


@external
def manageRequestOrder(_requestorderoperation: types.RequestOrderOperation):
    """
    @notice Presigns or closes a request order. Only the requester can, by calling or by a signature over the operation.
    """
    kind: uint8 = _requestorderoperation.operation
    struct_hash: bytes32 = hashing.request_order(_requestorderoperation.order)
    order_hash: bytes32 = self._manage(
        _requestorderoperation.order.requester,
        kind,
        struct_hash,
        hashing.REQUEST_OPERATION_TYPEHASH,
        _requestorderoperation.sign,
        _requestorderoperation.order.volume,
    )
    if kind == types.OPERATION_SIGN:
        log SignedRequestOrder(requestHash=order_hash)
    else:
        log ClosedRequestOrder(requestHash=order_hash)


@internal
def _manage(
    order_owner: address,
    kind: uint8,
    order_struct_hash: bytes32,
    operation_typehash: bytes32,
    signature: Bytes[types.MAX_SIGNATURE],
    volume: uint256,
) -> bytes32:
    """
    @dev SIGN records who presigned the order; CLOSE consumes the whole of it, and nothing gives it back. Returns the order's
         hash.
    """
    assert kind <= types.OPERATION_CLOSE
    separator: bytes32 = hashing.domain_separator()
    if msg.sender != order_owner:
        operation_hash: bytes32 = hashing.typed_hash(
            separator, hashing.operation(operation_typehash, order_struct_hash, kind)
        )
        assert signatures.is_signed(order_owner, operation_hash, signature), "invalid-sender-or-signature"
    order_hash: bytes32 = hashing.typed_hash(separator, order_struct_hash)
    if kind == types.OPERATION_SIGN:
        state.presigned[order_hash] = order_owner
    else:
        state.consumed[order_hash] = volume
    return order_hash


# ── Registries ─────────────────────────────────────────────────────────────────────────────────────────────────────

@external
@view
def appregistry() -> address:
    """
    @notice The registry of apps.
    """
    return APP_REGISTRY


@external
@view
def datasetregistry() -> address:
    """
    @notice The registry of datasets.
    """
    return DATASET_REGISTRY


@external
@view
def workerpoolregistry() -> address:
    """
    @notice The registry of workerpools.
    """
    return WORKERPOOL_REGISTRY
