# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Fairgrid hub, facet of administration
@license Apache-2.0
@notice The few things that the hub's owner may do: add categories, name the TEE broker, set the gas of callbacks, hand itself over;
        and what anybody may: take over an old score, make orders known on chain. Runs by delegatecall in the storage of the
        hub (`hub.vy`).
@dev Who can stop it: nobody. Token, registries, names and the hub before this one are fixed when the facets are created, so
     `configure` and `changeRegistries` are there and refuse. What this facet does not know goes on to the facet of the escrow.
"""

from .interfaces import IScores
from .lib import categories
from .lib import ownable
from .lib import scores
from .lib import state
from .lib import types

initializes: state
initializes: categories[state := state]
initializes: ownable[state := state]
initializes: scores[state := state]

# ERC-165 and ERC-173. The hub has neither cut nor loupe.
ERC165_ID: constant(bytes4) = 0x01ffc9a7
ERC173_ID: constant(bytes4) = 0x7f5828d0

HUB_ESCROW: immutable(address)
APP_REGISTRY: immutable(address)
DATASET_REGISTRY: immutable(address)
WORKERPOOL_REGISTRY: immutable(address)
V3_HUB: immutable(address)

event BroadcastAppOrder:
    apporder: types.AppOrder

event BroadcastDatasetOrder:
    datasetorder: types.DatasetOrder

event BroadcastWorkerpoolOrder:
    workerpoolorder: types.WorkerpoolOrder

event BroadcastRequestOrder:
    requestorder: types.RequestOrder


@deploy
def __init__(
    hub_escrow: address,
    app_registry: address,
    dataset_registry: address,
    workerpool_registry: address,
    v3_hub: address,
):
    """
    @dev The facet that is asked next (it may be created later), the registries for ever, and the hub whose scores may be taken
         over, if there is one.
    """
    HUB_ESCROW = hub_escrow
    APP_REGISTRY = app_registry
    DATASET_REGISTRY = dataset_registry
    WORKERPOOL_REGISTRY = workerpool_registry
    V3_HUB = v3_hub


# ── Administration ─────────────────────────────────────────────────────────────────────────────────────────────────

@external
@view
def owner() -> address:
    """
    @notice Who administers the hub; may be nobody.
    """
    return state.owner


@external
def transferOwnership(_newOwner: address):
    """
    @notice Hands the administration over, or ends it (zero address). Only the owner can.
    """
    if msg.sender != state.owner:
        raw_revert(
            abi_encode(msg.sender, state.owner, method_id=method_id("NotContractOwner(address,address)"))
        )
    ownable.set_owner(_newOwner)


@external
def createCategory(
    name: String[types.MAX_TEXT], description: String[types.MAX_TEXT], workClockTimeRef: uint256
) -> uint256:
    """
    @notice Appends a category; only the owner can. Existing ones never change.
    @return Its id.
    """
    ownable.check_owner()
    return categories.create(name, description, workClockTimeRef)


@external
@view
def teebroker() -> address:
    """
    @notice Who authorises contributions of enclaves; the scheduler if zero.
    """
    return state.tee_broker


@external
def setTeeBroker(_teebroker: address):
    """
    @notice Names the TEE broker; only the owner can.
    """
    ownable.check_owner()
    state.tee_broker = _teebroker


@external
@view
def callbackgas() -> uint256:
    """
    @notice Gas that a callback gets.
    """
    return state.callback_gas


@external
def setCallbackGas(_callbackgas: uint256):
    """
    @notice Sets the gas of callbacks; only the owner can.
    """
    ownable.check_owner()
    state.callback_gas = _callbackgas


# ── Configuration ──────────────────────────────────────────────────────────────────────────────────────────────────

@external
def configure(
    _token: address,
    _name: String[types.MAX_TEXT],
    _symbol: String[types.MAX_TEXT],
    _decimal: uint8,
    _appregistryAddress: address,
    _datasetregistryAddress: address,
    _workerpoolregistryAddress: address,
    _v3_iexecHubAddress: address,
):
    """
    @notice Always refused: the hub is configured by its creation, and nobody can do it over.
    """
    ownable.check_owner()
    raise "already-configured"


@external
def changeRegistries(
    _appregistryAddress: address, _datasetregistryAddress: address, _workerpoolregistryAddress: address
):
    """
    @notice Refused but for the registries that the hub has: what an app, a dataset or a pool is, nobody can change.
    """
    ownable.check_owner()
    assert _appregistryAddress == APP_REGISTRY, "registries-are-immutable"
    assert _datasetregistryAddress == DATASET_REGISTRY, "registries-are-immutable"
    assert _workerpoolregistryAddress == WORKERPOOL_REGISTRY, "registries-are-immutable"


@external
def updateDomainSeparator():
    """
    @notice Has nothing to do: the separator is computed from the chain's id and the hub's address at each use.
    """
    pass


@external
def importScore(_worker: address):
    """
    @notice Takes a worker's score over from the hub before this one, once, if it is higher. Anybody may, for anybody: a score
            never falls by it.
    @dev Without such a hub, or with a score of 2^64 or more, it reverts without data.
    """
    assert not state.imported_scores[_worker], "score-already-imported"
    state.imported_scores[_worker] = True
    assert V3_HUB != empty(address)
    scores.set_at_least(_worker, staticcall IScores(V3_HUB).viewScore(_worker))


@external
@view
def supportsInterface(_interfaceId: bytes4) -> bool:
    """
    @notice ERC-165: true for itself and for ERC-173 (ownership).
    """
    return _interfaceId in [ERC165_ID, ERC173_ID]


# ── Relay ──────────────────────────────────────────────────────────────────────────────────────────────────────────

@external
def broadcastAppOrder(_apporder: types.AppOrder):
    """
    @notice Makes an order known on chain. Nothing of it is checked.
    """
    log BroadcastAppOrder(apporder=_apporder)


@external
def broadcastDatasetOrder(_datasetorder: types.DatasetOrder):
    """
    @notice Makes an order known on chain. Nothing of it is checked.
    """
    log BroadcastDatasetOrder(datasetorder=_datasetorder)


@external
def broadcastWorkerpoolOrder(_workerpoolorder: types.WorkerpoolOrder):
    """
    @notice Makes an order known on chain. Nothing of it is checked.
    """
    log BroadcastWorkerpoolOrder(workerpoolorder=_workerpoolorder)


@external
def broadcastRequestOrder(_requestorder: types.RequestOrder):
    """
    @notice Makes an order known on chain. Nothing of it is checked.
    """
    log BroadcastRequestOrder(requestorder=_requestorder)


# ── Dispatch ───────────────────────────────────────────────────────────────────────────────────────────────────────

@external
@payable
@raw_return
def __default__() -> Bytes[types.MAX_ANSWER]:
    """
    @notice What this facet does not know is asked of the escrow's.
    """
    return raw_call(HUB_ESCROW, msg.data, max_outsize=types.MAX_ANSWER, is_delegate_call=True)
