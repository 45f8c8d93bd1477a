# pragma version ==0.4.3
"""
@title Hashing: EIP-712 hashes of orders and operations, and the identifiers of the protocol
@license Apache-2.0
@notice The domain separator is computed at each use from the chain's id and the hub's address: a signature given for one chain
        is worthless on a fork of it, and no facet has to know the hub beforehand.
"""

from . import types

DOMAIN_NAME: constant(String[16]) = "iExecODB"
DOMAIN_VERSION: constant(String[8]) = "5.0.0"

DOMAIN_TYPEHASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
APP_ORDER_TYPEHASH: constant(bytes32) = keccak256(
    "AppOrder(address app,uint256 appprice,uint256 volume,bytes32 tag,address datasetrestrict,address workerpoolrestrict,address requesterrestrict,bytes32 salt)"
)
DATASET_ORDER_TYPEHASH: constant(bytes32) = keccak256(
    "DatasetOrder(address dataset,uint256 datasetprice,uint256 volume,bytes32 tag,address apprestrict,address workerpoolrestrict,address requesterrestrict,bytes32 salt)"
)
WORKERPOOL_ORDER_TYPEHASH: constant(bytes32) = keccak256(
    "WorkerpoolOrder(address workerpool,uint256 workerpoolprice,uint256 volume,bytes32 tag,uint256 category,uint256 trust,address apprestrict,address datasetrestrict,address requesterrestrict,bytes32 salt)"
)
REQUEST_ORDER_TYPEHASH: constant(bytes32) = keccak256(
    "RequestOrder(address app,uint256 appmaxprice,address dataset,uint256 datasetmaxprice,address workerpool,uint256 workerpoolmaxprice,address requester,uint256 volume,bytes32 tag,uint256 category,uint256 trust,address beneficiary,address callback,string params,bytes32 salt)"
)
APP_OPERATION_TYPEHASH: constant(bytes32) = keccak256(
    "AppOrderOperation(AppOrder order,uint256 operation)AppOrder(address app,uint256 appprice,uint256 volume,bytes32 tag,address datasetrestrict,address workerpoolrestrict,address requesterrestrict,bytes32 salt)"
)
DATASET_OPERATION_TYPEHASH: constant(bytes32) = keccak256(
    "DatasetOrderOperation(DatasetOrder order,uint256 operation)DatasetOrder(address dataset,uint256 datasetprice,uint256 volume,bytes32 tag,address apprestrict,address workerpoolrestrict,address requesterrestrict,bytes32 salt)"
)
WORKERPOOL_OPERATION_TYPEHASH: constant(bytes32) = keccak256(
    "WorkerpoolOrderOperation(WorkerpoolOrder order,uint256 operation)WorkerpoolOrder(address workerpool,uint256 workerpoolprice,uint256 volume,bytes32 tag,uint256 category,uint256 trust,address apprestrict,address datasetrestrict,address requesterrestrict,bytes32 salt)"
)
REQUEST_OPERATION_TYPEHASH: constant(bytes32) = keccak256(
    "RequestOrderOperation(RequestOrder order,uint256 operation)RequestOrder(address app,uint256 appmaxprice,address dataset,uint256 datasetmaxprice,address workerpool,uint256 workerpoolmaxprice,address requester,uint256 volume,bytes32 tag,uint256 category,uint256 trust,address beneficiary,address callback,string params,bytes32 salt)"
)


# ── EIP-712 ────────────────────────────────────────────────────────────────────────────────────────────────────────

@internal
@view
def domain_separator() -> bytes32:
    return keccak256(
        abi_encode(DOMAIN_TYPEHASH, keccak256(DOMAIN_NAME), keccak256(DOMAIN_VERSION), chain.id, self)
    )


@internal
@pure
def typed_hash(separator: bytes32, struct_hash: bytes32) -> bytes32:
    """
    @dev The hash that is signed.
    """
    return keccak256(concat(x"1901", separator, struct_hash))


@internal
@pure
def app_order(order: types.AppOrder) -> bytes32:
    return keccak256(
        abi_encode(
            APP_ORDER_TYPEHASH,
            order.app,
            order.appprice,
            order.volume,
            order.tag,
            order.datasetrestrict,
            order.workerpoolrestrict,
            order.requesterrestrict,
            order.salt,
        )
    )


@internal
@pure
def dataset_order(order: types.DatasetOrder) -> bytes32:
    return keccak256(
        abi_encode(
            DATASET_ORDER_TYPEHASH,
            order.dataset,
            order.datasetprice,
            order.volume,
            order.tag,
            order.apprestrict,
            order.workerpoolrestrict,
            order.requesterrestrict,
            order.salt,
        )
    )


@internal
@pure
def workerpool_order(order: types.WorkerpoolOrder) -> bytes32:
    return keccak256(
        abi_encode(
            WORKERPOOL_ORDER_TYPEHASH,
            order.workerpool,
            order.workerpoolprice,
            order.volume,
            order.tag,
            order.category,
            order.trust,
            order.apprestrict,
            order.datasetrestrict,
            order.requesterrestrict,
            order.salt,
        )
    )


@internal
@pure
def request_order(order: types.RequestOrder) -> bytes32:
    return keccak256(
        abi_encode(
            REQUEST_ORDER_TYPEHASH,
            order.app,
            order.appmaxprice,
            order.dataset,
            order.datasetmaxprice,
            order.workerpool,
            order.workerpoolmaxprice,
            order.requester,
            order.volume,
            order.tag,
            order.category,
            order.trust,
            order.beneficiary,
            order.callback,
            keccak256(order.params),
            order.salt,
        )
    )


@internal
@pure
def operation(typehash: bytes32, order_struct_hash: bytes32, kind: uint8) -> bytes32:
    """
    @dev Struct hash of an operation on an order.
    """
    return keccak256(abi_encode(typehash, order_struct_hash, convert(kind, uint256)))


# ── Identifiers ────────────────────────────────────────────────────────────────────────────────────────────────────

@internal
@pure
def deal_id(request_hash: bytes32, consumed_before: uint256) -> bytes32:
    return keccak256(concat(request_hash, convert(consumed_before, bytes32)))


@internal
@pure
def task_id(deal_id: bytes32, index: uint256) -> bytes32:
    return keccak256(concat(deal_id, convert(index, bytes32)))


@internal
@pure
def run_id(deal_id: bytes32, first: uint256, count: uint256) -> bytes32:
    """
    @dev 96 bytes are hashed, 64 for a task: no run has the id of a task.
    """
    return keccak256(concat(deal_id, convert(first, bytes32), convert(count, bytes32)))


@internal
@pure
def run_digest(root: bytes32, results_hash: bytes32) -> bytes32:
    """
    @dev What the workers of a run agree on: the Merkle root of its tasks' digests, and the bytes that are finalized.
    """
    return keccak256(concat(root, results_hash))


@internal
@pure
def result_hash(task_id: bytes32, digest: bytes32) -> bytes32:
    return keccak256(concat(task_id, digest))


@internal
@pure
def result_seal(worker: address, task_id: bytes32, digest: bytes32) -> bytes32:
    return keccak256(concat(convert(worker, bytes20), task_id, digest))


@internal
@pure
def signed_message(message_hash: bytes32) -> bytes32:
    """
    @dev EIP-191 hash of a 32-byte message.
    """
    return keccak256(concat(b"\x19Ethereum Signed Message:\n32", message_hash))


@internal
@pure
def authorisation(worker: address, task_id: bytes32, challenge: address) -> bytes32:
    """
    @dev What a scheduler (or the TEE broker) signs to let a worker contribute.
    """
    return self.signed_message(
        keccak256(concat(convert(worker, bytes20), task_id, convert(challenge, bytes20)))
    )
