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

MATCH_ORDERS: constant(bytes4) = 0x156194d4
# As much of the reason why a match failed is passed on; the longest of our own has 100 bytes.
MAX_REASON: constant(uint256) = 1024

TOKEN: immutable(address)
HUB_ORDERS: immutable(address)


@deploy
def __init__(base_token: address, hub_orders: address):
    """
    @dev The token in escrow, for ever, and the facet that matches orders; that may be created later.
    """
    TOKEN = base_token
    HUB_ORDERS = hub_orders


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
def depositForArray(
    amounts: DynArray[uint256, types.MAX_ARRAY], targets: DynArray[address, types.MAX_ARRAY]
) -> bool:
    """
    @notice Takes tokens of the caller into the escrow accounts of several, in one transfer each; all or nothing.
    """
    assert len(amounts) == len(targets), "invalid-array-length"
    for i: uint256 in range(len(amounts), bound=types.MAX_ARRAY):
        self._deposit(msg.sender, amounts[i], targets[i])
    return True


@external
@nonreentrant
def depositWithPermit(amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32) -> bool:
    """
    @notice Deposit in one transaction by the caller's signed permit (EIP-2612), for tokens that know one. Only the caller's
            own tokens move, and only into its own account.
    @dev Anybody may have shown the permit to the token before, to spoil this call: so it is not asked whether the token took
         it. Whether the allowance is there decides, as in `deposit`.
    """
    permitted: bool = raw_call(
        TOKEN,
        abi_encode(
            msg.sender,
            self,
            amount,
            deadline,
            v,
            r,
            s,
            method_id=method_id("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"),
        ),
        revert_on_failure=False,
    )
    self._deposit(msg.sender, amount, msg.sender)
    return True


@external
@nonreentrant
def receiveApproval(sender: address, amount: uint256, token: address, data: Bytes[types.MAX_CALL]) -> bool:
    """
    @notice Deposit, and match orders if `data` is a call of `matchOrders`, in one transaction: the token calls this out of its own
            `approveAndCall`. Anybody may call it as well, which can do no more than move what `sender` approved into the escrow
            account of `sender`, and match a request that `sender` signed. As in `matchOrders`, the requester pays.
    @dev After the deposit it refuses, in this order: fewer than 4 bytes (no data), another function
         (`UnsupportedOperation(bytes4)`), bytes that are not four orders (no data), the request of somebody else
         (`CallerIsNotTheRequester()`), and then what the match refuses, in its own words, or `OperationFailed()` if it has none.
         Matching is safe under the lock that is held here: the facet of orders runs on this storage and takes no lock itself, uses
         neither caller nor coins, and calls foreign contracts by static call only, before its first write. Whom it asks sees a
         deposit that is complete, and finds the doors of the escrow closed.
         All in one function: the room for four orders then lies behind everything else, and a plain deposit does not pay for it.
    """
    assert token == TOKEN, "wrong-token"
    self._deposit(sender, amount, sender)
    if len(data) == 0:
        return True
    selector: bytes4 = convert(slice(data, 0, 4), bytes4)
    if selector != MATCH_ORDERS:
        raw_revert(abi_encode(selector, method_id=method_id("UnsupportedOperation(bytes4)")))
    orders: types.Orders = abi_decode(slice(data, 4, len(data) - 4), types.Orders, unwrap_tuple=False)
    if orders.request.requester != sender:
        raw_revert(method_id("CallerIsNotTheRequester()"))
    success: bool = False
    answer: Bytes[MAX_REASON] = b""
    success, answer = raw_call(
        HUB_ORDERS, data, max_outsize=MAX_REASON, is_delegate_call=True, revert_on_failure=False
    )
    if len(answer) == 0:
        # A match that happened answers with the deal's id.
        raw_revert(method_id("OperationFailed()"))
    if not success:
        raw_revert(answer)
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
