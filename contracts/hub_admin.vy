# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Fairgrid hub, facet of administration
@license Apache-2.0
@notice The few things that the hub's owner may do: add categories, name the TEE broker, set the gas of callbacks, hand itself over.
        Runs by delegatecall in the storage of the hub (`hub.vy`).
@dev Who can stop it: nobody. What this facet does not know goes on to the facet of the escrow.
"""

from .lib import categories
from .lib import ownable
from .lib import state
from .lib import types

initializes: state
initializes: categories[state := state]
initializes: ownable[state := state]

HUB_ESCROW: immutable(address)


@deploy
def __init__(hub_escrow: address):
    """
    @dev The facet that is asked next; it may be created later.
    """
    HUB_ESCROW = hub_escrow


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


# ── Dispatch ───────────────────────────────────────────────────────────────────────────────────────────────────────

@external
@payable
@raw_return
def __default__() -> Bytes[types.MAX_ANSWER]:
    """
    @notice What this facet does not know is asked of the escrow's.
    """
    return raw_call(HUB_ESCROW, msg.data, max_outsize=types.MAX_ANSWER, is_delegate_call=True)
