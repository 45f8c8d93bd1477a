# pragma version ==0.4.3
"""
@title ERC-20 surface of the escrow: "Staked RLC"
@license Apache-2.0
@notice Free money moves inside the escrow as an ERC-20; locked money cannot move. The same in both flavours of the escrow.
"""

from ..interfaces import IApprovalReceiver
from . import escrow
from . import state
from . import types

uses: escrow
uses: state

event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256


@external
@view
def name() -> String[10]:
    """
    @notice Name of the escrowed token.
    """
    return "Staked RLC"


@external
@view
def symbol() -> String[4]:
    """
    @notice Symbol of the escrowed token.
    """
    return "SRLC"


@external
@view
def decimals() -> uint8:
    """
    @notice 9: amounts are in nRLC.
    """
    return 9


@external
@view
def totalSupply() -> uint256:
    """
    @notice All money in escrow, free and locked.
    """
    return state.total_supply


@external
@view
def balanceOf(account: address) -> uint256:
    """
    @notice What an account can spend; for the hub itself, all that is locked.
    """
    return escrow.balance_of(account)


@external
@view
def frozenOf(account: address) -> uint256:
    """
    @notice What is locked of an account.
    """
    return escrow.frozen_of(account)


@external
@view
def allowance(account: address, spender: address) -> uint256:
    """
    @notice What a spender may still move out of an account.
    """
    return state.allowances[account][spender]


@external
def transfer(recipient: address, amount: uint256) -> bool:
    """
    @notice Moves the caller's free money inside the escrow; locked money cannot move.
    """
    self._transfer(msg.sender, recipient, amount)
    return True


@external
def transferFrom(sender: address, recipient: address, amount: uint256) -> bool:
    """
    @notice Moves free money of somebody who approved the caller. The allowance always shrinks; none is unlimited.
    """
    self._transfer(sender, recipient, amount)
    self._approve(sender, msg.sender, state.allowances[sender][msg.sender] - amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    """
    @notice Sets what a spender may move out of the caller's account.
    """
    self._approve(msg.sender, spender, amount)
    return True


@external
def increaseAllowance(spender: address, addedValue: uint256) -> bool:
    """
    @notice Raises an allowance, whatever was spent of it meanwhile.
    """
    self._approve(msg.sender, spender, state.allowances[msg.sender][spender] + addedValue)
    return True


@external
def decreaseAllowance(spender: address, subtractedValue: uint256) -> bool:
    """
    @notice Lowers an allowance; reverts without data below zero.
    """
    self._approve(msg.sender, spender, state.allowances[msg.sender][spender] - subtractedValue)
    return True


@external
def approveAndCall(spender: address, amount: uint256, extraData: Bytes[types.MAX_CALL]) -> bool:
    """
    @notice Approves a spender and tells it so. The call is the last thing done, and the spender can do no more than anybody
            whom the caller approved.
    """
    self._approve(msg.sender, spender, amount)
    accepted: bool = extcall IApprovalReceiver(spender).receiveApproval(msg.sender, amount, self, extraData)
    assert accepted, "approval-refused"
    return True


@internal
def _transfer(sender: address, recipient: address, amount: uint256):
    assert sender != empty(address), "ERC20: transfer from the zero address"
    assert recipient != empty(address), "ERC20: transfer to the zero address"
    escrow.move(sender, recipient, amount)
    log escrow.Transfer(sender=sender, receiver=recipient, value=amount)


@internal
def _approve(account: address, spender: address, amount: uint256):
    assert account != empty(address), "ERC20: approve from the zero address"
    assert spender != empty(address), "ERC20: approve to the zero address"
    state.allowances[account][spender] = amount
    log Approval(owner=account, spender=spender, value=amount)
