# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Fairgrid hub, facet of the escrow, flavour of a token
@license Apache-2.0
@notice Deposits and withdrawals of an ERC-20 token (RLC), and the ERC-20 surface of what is deposited. Runs by delegatecall in the
        storage of the hub (`hub.vy`). `hub_escrow_native.vy` stands in its place where the chain's own coin is escrowed.
@dev Who can stop it: nobody; there is no pause. The token is fixed when the facet is deployed. What calls the token is locked
     against re-entry, over all facets: the lock is the same transient slot everywhere. This facet is the last in the hub's
     dispatch: what it does not know, nobody knows.
"""

from .interfaces import IToken
from .lib import erc20
from .lib import escrow
from .lib import ownable
from .lib import state
from .lib import types

initializes: state
initializes: escrow[state := state]
initializes: ownable[state := state]
initializes: erc20[escrow := escrow, state := state]

exports: erc20.__interface__

TOKEN: immutable(address)


@deploy
def __init__(base_token: address):
    """
    @dev The token in escrow, for ever.
    """
    TOKEN = base_token


@external
@view
def token() -> address:
    """
    @notice The token in escrow.
    """
    return TOKEN


# ── Deposits and withdrawals ───────────────────────────────────────────────────────────────────────────────────────

@external
@nonreentrant
def deposit(amount: uint256) -> bool:
    """
    @notice Takes tokens that the caller approved into its escrow account.
    """
    self._deposit(msg.sender, amount, msg.sender)
    return True


@external
@nonreentrant
def depositFor(amount: uint256, target: address) -> bool:
    """
    @notice Takes tokens of the caller into somebody's escrow account.
    """
    self._deposit(msg.sender, amount, target)
    return True


@external
@nonreentrant
def receiveApproval(sender: address, amount: uint256, token: address, data: Bytes[types.MAX_CALL]) -> bool:
    """
    @notice Deposit in one transaction: the token calls this out of its own `approveAndCall`. Anybody may call it as well, which
            can do no more than move what `sender` approved into the escrow account of `sender`.
    @dev With data: custom error `UnsupportedOperation(bytes4)`; fewer than 4 bytes revert without data.
    """
    assert token == TOKEN, "wrong-token"
    self._deposit(sender, amount, sender)
    if len(data) != 0:
        selector: bytes4 = convert(slice(data, 0, 4), bytes4)
        raw_revert(abi_encode(selector, method_id=method_id("UnsupportedOperation(bytes4)")))
    return True


@external
@nonreentrant
def withdraw(amount: uint256) -> bool:
    """
    @notice Pays free money out to the caller.
    """
    self._withdraw(amount, msg.sender)
    return True


@external
@nonreentrant
def withdrawTo(amount: uint256, target: address) -> bool:
    """
    @notice Pays the caller's free money out to somebody.
    """
    self._withdraw(amount, target)
    return True


@external
@nonreentrant
def recover() -> uint256:
    """
    @notice Credits tokens that somebody sent to the hub without depositing them to the hub's owner. Cannot touch anybody's
            account: only what exceeds the supply is credited.
    """
    ownable.check_owner()
    amount: uint256 = staticcall IToken(TOKEN).balanceOf(self) - state.total_supply
    escrow.mint(msg.sender, amount)
    return amount


@internal
def _deposit(payer: address, amount: uint256, target: address):
    """
    @dev The tokens come before the credit; callers hold the lock, so a token that calls back finds the doors closed.
    """
    assert extcall IToken(TOKEN).transferFrom(payer, self, amount), "failed-transferFrom"
    escrow.mint(target, amount)


@internal
def _withdraw(amount: uint256, target: address):
    """
    @dev The debit comes before the payment. Stricter than the protocol: a token that answers false reverts the withdrawal.
    """
    escrow.burn(msg.sender, amount)
    assert extcall IToken(TOKEN).transfer(target, amount), "failed-transfer"


# ── The end of the dispatch ────────────────────────────────────────────────────────────────────────────────────────

@external
@payable
def __default__():
    """
    @notice What nobody knows is refused, and so are plain coins.
    """
    raise "fallback-disabled"
