# pragma version ==0.4.3
"""
@title Types and constants of the hub
@license Apache-2.0
@notice The structs that cross the ABI (field order is the wire order), the numbers of the protocol, and the bounds
        that this implementation sets on inputs of variable length. A longer input reverts before anything happens.
"""

# ── Bounds (documented deviations: the protocol itself sets none) ──────────────────────────────────────────────────

MAX_PARAMS: constant(uint256) = 4096
MAX_SIGNATURE: constant(uint256) = 1024
MAX_RESULT: constant(uint256) = 2048
MAX_TEXT: constant(uint256) = 256
MAX_METADATA: constant(uint256) = 1024
MAX_CALL: constant(uint256) = 12288
MAX_ANSWER: constant(uint256) = 12288
MAX_ARRAY: constant(uint256) = 256
MAX_CONTRIBUTORS: constant(uint256) = 64
MAX_VOLUME: constant(uint256) = 2**32 - 1
MAX_RUN: constant(uint256) = 2**20 - 1
MAX_PROOF: constant(uint256) = 20

# ── Status of a task ───────────────────────────────────────────────────────────────────────────────────────────────

TASK_UNSET: constant(uint256) = 0
TASK_ACTIVE: constant(uint256) = 1
TASK_REVEALING: constant(uint256) = 2
TASK_COMPLETED: constant(uint256) = 3
TASK_FAILED: constant(uint256) = 4
TASK_SPLIT: constant(uint256) = 5  # a run in whose place two others came

# ── Status of a contribution ───────────────────────────────────────────────────────────────────────────────────────

CONTRIBUTION_UNSET: constant(uint256) = 0
CONTRIBUTION_CONTRIBUTED: constant(uint256) = 1
CONTRIBUTION_PROVED: constant(uint256) = 2
CONTRIBUTION_REJECTED: constant(uint256) = 3

# ── Numbers of the protocol ────────────────────────────────────────────────────────────────────────────────────────

CONTRIBUTION_DEADLINE_RATIO: constant(uint256) = 7
REVEAL_DEADLINE_RATIO: constant(uint256) = 2
FINAL_DEADLINE_RATIO: constant(uint256) = 10
WORKERPOOL_STAKE_RATIO: constant(uint256) = 30
KITTY_RATIO: constant(uint256) = 10
KITTY_MIN: constant(uint256) = 1_000_000_000
KITTY_ADDRESS: constant(address) = 0x99c2268479b93fDe36232351229815DF80837e23
GROUPMEMBER_PURPOSE: constant(uint256) = 4
DEFAULT_CALLBACK_GAS: constant(uint256) = 200_000

# ── Tag bits ───────────────────────────────────────────────────────────────────────────────────────────────────────

TAG_TEE: constant(uint256) = 1
TAG_FRAMEWORKS: constant(uint256) = 14  # bits 1, 2, 3: Scone, Gramine, TDX
TAG_BATCH_LANE: constant(uint256) = 2**16

# ── Orders ─────────────────────────────────────────────────────────────────────────────────────────────────────────

struct AppOrder:
    app: address
    appprice: uint256
    volume: uint256
    tag: bytes32
    datasetrestrict: address
    workerpoolrestrict: address
    requesterrestrict: address
    salt: bytes32
    sign: Bytes[MAX_SIGNATURE]

struct DatasetOrder:
    dataset: address
    datasetprice: uint256
    volume: uint256
    tag: bytes32
    apprestrict: address
    workerpoolrestrict: address
    requesterrestrict: address
    salt: bytes32
    sign: Bytes[MAX_SIGNATURE]

struct WorkerpoolOrder:
    workerpool: address
    workerpoolprice: uint256
    volume: uint256
    tag: bytes32
    category: uint256
    trust: uint256
    apprestrict: address
    datasetrestrict: address
    requesterrestrict: address
    salt: bytes32
    sign: Bytes[MAX_SIGNATURE]

struct RequestOrder:
    app: address
    appmaxprice: uint256
    dataset: address
    datasetmaxprice: uint256
    workerpool: address
    workerpoolmaxprice: uint256
    requester: address
    volume: uint256
    tag: bytes32
    category: uint256
    trust: uint256
    beneficiary: address
    callback: address
    params: String[MAX_PARAMS]
    salt: bytes32
    sign: Bytes[MAX_SIGNATURE]

# The arguments of a match, as they stand in calldata.
struct Orders:
    app: AppOrder
    dataset: DatasetOrder
    workerpool: WorkerpoolOrder
    request: RequestOrder

# ── Operations on orders ───────────────────────────────────────────────────────────────────────────────────────────

OPERATION_SIGN: constant(uint8) = 0
OPERATION_CLOSE: constant(uint8) = 1

struct AppOrderOperation:
    order: AppOrder
    operation: uint8
    sign: Bytes[MAX_SIGNATURE]

struct DatasetOrderOperation:
    order: DatasetOrder
    operation: uint8
    sign: Bytes[MAX_SIGNATURE]

struct WorkerpoolOrderOperation:
    order: WorkerpoolOrder
    operation: uint8
    sign: Bytes[MAX_SIGNATURE]

struct RequestOrderOperation:
    order: RequestOrder
    operation: uint8
    sign: Bytes[MAX_SIGNATURE]

# ── What the views return ──────────────────────────────────────────────────────────────────────────────────────────

struct EIP712Domain:
    name: String[16]
    version: String[8]
    chainId: uint256
    verifyingContract: address

struct Resource:
    pointer: address
    owner: address
    price: uint256

struct Deal:
    app: Resource
    dataset: Resource
    workerpool: Resource
    trust: uint256
    category: uint256
    tag: bytes32
    requester: address
    beneficiary: address
    callback: address
    params: String[MAX_PARAMS]
    startTime: uint256
    botFirst: uint256
    botSize: uint256
    workerStake: uint256
    schedulerRewardRatio: uint256
    sponsor: address

struct DealBoost:
    appOwner: address
    appPrice: uint96
    datasetOwner: address
    datasetPrice: uint96
    workerpoolOwner: address
    workerpoolPrice: uint96
    requester: address
    workerReward: uint96
    callback: address
    deadline: uint40
    botFirst: uint16
    botSize: uint16
    shortTag: bytes3
    sponsor: address

struct Task:
    status: uint8
    dealid: bytes32
    idx: uint256
    timeref: uint256
    contributionDeadline: uint256
    revealDeadline: uint256
    finalDeadline: uint256
    consensusValue: bytes32
    revealCounter: uint256
    winnerCounter: uint256
    contributors: DynArray[address, MAX_CONTRIBUTORS]
    resultDigest: bytes32
    results: Bytes[MAX_RESULT]
    resultsTimestamp: uint256
    resultsCallback: Bytes[MAX_RESULT]

struct Contribution:
    status: uint8
    resultHash: bytes32
    resultSeal: bytes32
    enclaveChallenge: address
    weight: uint256

struct Run:
    dealid: bytes32
    first: uint256
    count: uint256
    status: uint8

struct Lane:
    inBatchLane: bool
    cursor: uint256
    refunded: bool

struct Account:
    stake: uint256
    locked: uint256

struct Category:
    name: String[MAX_TEXT]
    description: String[MAX_TEXT]
    workClockTimeRef: uint256

struct AppInfo:
    owner: address
    m_appName: String[MAX_METADATA]
    m_appType: String[MAX_METADATA]
    m_appMultiaddr: Bytes[MAX_METADATA]
    m_appChecksum: bytes32
    m_appMREnclave: Bytes[MAX_METADATA]

struct DatasetInfo:
    owner: address
    m_datasetName: String[MAX_METADATA]
    m_datasetMultiaddr: Bytes[MAX_METADATA]
    m_datasetChecksum: bytes32

struct WorkerpoolInfo:
    owner: address
    m_workerpoolDescription: String[MAX_METADATA]
    m_workerStakeRatioPolicy: uint256
    m_schedulerRewardRatioPolicy: uint256
