# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Fairgrid hub, facet of the escrow, flavour of the chain's own coin
@license Apache-2.0
@notice Deposits and withdrawals of native coins, and the ERC-20 surface of what is deposited: 1 nRLC is 10^9 wei. Runs by
        delegatecall in the storage of the hub (`hub.vy`), in the place of `hub_escrow.vy`.
@dev Who can stop it: nobody; there is no pause. Everything that sends coins is locked against re-entry, over all facets, and
     sends last: the lock is the same transient slot everywhere. Coins may also arrive unasked (a block's reward, a contract that
     destroys itself); only `recover` sees them. This facet is the last in the hub's dispatch: what nobody knows is a deposit.
"""

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

WEI_PER_NRLC: constant(uint256) = 10**9


@external
@view
def token() -> address:
    """
    @notice Zero: no token is in escrow.
    """
    return empty(address)


# ── Deposits and withdrawals ───────────────────────────────────────────────────────────────────────────────────────

@external
@payable
@nonreentrant
def deposit() -> bool:
    """
    @notice Credits the coins that came along to the caller, and sends back what is less than 1 nRLC.
    """
    self._deposit(msg.sender)
    return True


@external
@payable
@nonreentrant
def depositFor(target: address) -> bool:
    """
    @notice Credits the coins that came along to somebody; the caller gets back what is less than 1 nRLC.
    """
    self._deposit(target)
    return True


@external
@payable
@nonreentrant
def depositForArray(
    amounts: DynArray[uint256, types.MAX_ARRAY], targets: DynArray[address, types.MAX_ARRAY]
) -> bool:
    """
    @notice Credits parts (nRLC) of the coins that came along to several; the caller gets the rest back. All or nothing.
    @dev Reverts without data if the coins are too few.
    """
    assert len(amounts) == len(targets), "invalid-array-length"
    rest: uint256 = msg.value
    for i: uint256 in range(len(amounts), bound=types.MAX_ARRAY):
        escrow.mint(targets[i], amounts[i])
        rest -= amounts[i] * WEI_PER_NRLC
    self._send(msg.sender, rest)
    return True


@external
@nonreentrant
def withdraw(amount: uint256) -> bool:
    """
    @notice Pays free money (nRLC) out to the caller, in coins.
    """
    self._withdraw(amount, msg.sender)
    return True


@external
@nonreentrant
def withdrawTo(amount: uint256, target: address) -> bool:
    """
    @notice Pays the caller's free money (nRLC) out to somebody, in coins.
    """
    self._withdraw(amount, target)
    return True


@external
@nonreentrant
def recover() -> uint256:
    """
    @notice Credits coins that reached the hub without a deposit to the hub's owner. Cannot touch anybody's account: only what
            exceeds the supply is credited.
    """
    ownable.check_owner()
    amount: uint256 = self.balance // WEI_PER_NRLC - state.total_supply
    escrow.mint(msg.sender, amount)
    return amount


@internal
@payable
def _deposit(target: address):
    escrow.mint(target, msg.value // WEI_PER_NRLC)
    self._send(msg.sender, msg.value % WEI_PER_NRLC)


@internal
def _withdraw(amount: uint256, target: address):
    """
    @dev The debit comes before the payment.
    """
    escrow.burn(msg.sender, amount)
    self._send(target, amount * WEI_PER_NRLC)


@internal
def _send(receiver: address, amount_wei: uint256):
    """
    @dev The last thing that anybody does here, with all the gas there is: books are closed, and the caller holds the lock. A
         receiver with code is called even for nothing, as the protocol says. Its answer is not looked at.
    """
    success: bool = raw_call(receiver, b"", value=amount_wei, revert_on_failure=False)
    assert success, "native-transfer-failed"


# ── The end of the dispatch ────────────────────────────────────────────────────────────────────────────────────────

@external
@payable
@nonreentrant
def __default__():
    """
    @notice Plain coins, and coins with a call that nobody knows, are a deposit of the caller.
    """
    self._deposit(msg.sender)
