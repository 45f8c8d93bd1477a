# pragma version ==0.4.3
"""
@title Escrow: who owns and who has locked how much
@license Apache-2.0
@notice Locked money is held as the hub's own balance, hence at all times
            balance(hub) = Σ frozen (+ what somebody gave to the hub)   and   total supply = Σ balances.
        `lock`, `unlock` and `mint`/`burn` move both sides together; `seize` takes a frozen claim away and leaves the
        money with the hub, where `reward` or `freeze_for_kitty` give it to somebody else within the same settlement.
@dev Field names of these events are those of the ABI but for Vyper's reserved words (`sender` for `from`); names are no part of
     a log.
"""

from . import packing
from . import state
from . import types

uses: state

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

event Lock:
    owner: address
    amount: uint256

event Unlock:
    owner: address
    amount: uint256

event Reward:
    owner: address
    amount: uint256
    ref: bytes32

event Seize:
    owner: address
    amount: uint256
    ref: bytes32


@internal
@view
def balance_of(account: address) -> uint256:
    return packing.account_balance(state.accounts[account])


@internal
@view
def frozen_of(account: address) -> uint256:
    return packing.account_frozen(state.accounts[account])


@internal
def move(sender: address, receiver: address, amount: uint256):
    """
    @notice Moves a balance. Safe when sender and receiver are the same: the debit is stored before the credit is read.
    @dev No check and no event: the callers differ in both. Reverts without data if the balance is too small.
    """
    word: uint256 = state.accounts[sender]
    state.accounts[sender] = packing.account(
        packing.account_balance(word) - amount, packing.account_frozen(word), packing.account_score(word)
    )
    word = state.accounts[receiver]
    state.accounts[receiver] = packing.account(
        packing.account_balance(word) + amount, packing.account_frozen(word), packing.account_score(word)
    )


@internal
def open_hub_account():
    """
    @notice Makes the hub's own word different from zero for ever, by a score that nothing else can change (the hub never
            contributes): locking the first and freeing the last nRLC then costs as little as any other (17,100 gas less).
    """
    state.accounts[self] = packing.account(0, 0, 1)


@internal
def _take_from_hub(amount: uint256):
    word: uint256 = state.accounts[self]
    assert amount <= packing.account_balance(word), "IexecEscrow: Transfer amount exceeds balance"
    state.accounts[self] = packing.account(
        packing.account_balance(word) - amount, packing.account_frozen(word), packing.account_score(word)
    )


@internal
def lock(account: address, amount: uint256):
    """
    @notice Takes `amount` out of the account's balance and freezes it.
    """
    assert account != empty(address), "IexecEscrow: Transfer from empty address"
    word: uint256 = state.accounts[account]
    assert amount <= packing.account_balance(word), "IexecEscrow: Transfer amount exceeds balance"
    state.accounts[account] = packing.account(
        packing.account_balance(word) - amount,
        packing.account_frozen(word) + amount,
        packing.account_score(word),
    )
    word = state.accounts[self]
    state.accounts[self] = packing.account(
        packing.account_balance(word) + amount, packing.account_frozen(word), packing.account_score(word)
    )
    log Transfer(sender=account, receiver=self, value=amount)
    log Lock(owner=account, amount=amount)


@internal
def unlock(account: address, amount: uint256):
    """
    @notice Gives frozen money back to its owner.
    @dev Reverts without data if less is frozen.
    """
    assert account != empty(address), "IexecEscrow: Transfer to empty address"
    self._take_from_hub(amount)
    word: uint256 = state.accounts[account]
    state.accounts[account] = packing.account(
        packing.account_balance(word) + amount,
        packing.account_frozen(word) - amount,
        packing.account_score(word),
    )
    log Transfer(sender=self, receiver=account, value=amount)
    log Unlock(owner=account, amount=amount)


@internal
def reward(account: address, amount: uint256, ref: bytes32):
    """
    @notice Pays money that was seized before.
    """
    assert account != empty(address), "IexecEscrow: Transfer to empty address"
    self._take_from_hub(amount)
    word: uint256 = state.accounts[account]
    state.accounts[account] = packing.account(
        packing.account_balance(word) + amount, packing.account_frozen(word), packing.account_score(word)
    )
    log Transfer(sender=self, receiver=account, value=amount)
    log Reward(owner=account, amount=amount, ref=ref)


@internal
def seize(account: address, amount: uint256, ref: bytes32):
    """
    @notice Takes a frozen claim away. The money stays with the hub until the same settlement pays it out.
    @dev Reverts without data if less is frozen.
    """
    word: uint256 = state.accounts[account]
    state.accounts[account] = packing.account(
        packing.account_balance(word), packing.account_frozen(word) - amount, packing.account_score(word)
    )
    log Seize(owner=account, amount=amount, ref=ref)


@internal
def freeze_for_kitty(amount: uint256, ref: bytes32):
    """
    @notice Turns seized money into a frozen claim of the kitty; no balance moves.
    """
    word: uint256 = state.accounts[types.KITTY_ADDRESS]
    state.accounts[types.KITTY_ADDRESS] = packing.account(
        packing.account_balance(word), packing.account_frozen(word) + amount, packing.account_score(word)
    )
    log Reward(owner=types.KITTY_ADDRESS, amount=amount, ref=ref)
    log Lock(owner=types.KITTY_ADDRESS, amount=amount)


@internal
def mint(account: address, amount: uint256):
    """
    @notice Creates SRLC for money that the hub received.
    @dev The supply stays below 2^96, so no balance and no frozen sum can overflow its 96 bits; a larger deposit reverts
         without data.
    """
    assert account != empty(address), "ERC20: mint to the zero address"
    supply: uint256 = state.total_supply + amount
    assert supply < 2**96
    state.total_supply = supply
    word: uint256 = state.accounts[account]
    state.accounts[account] = packing.account(
        packing.account_balance(word) + amount, packing.account_frozen(word), packing.account_score(word)
    )
    log Transfer(sender=empty(address), receiver=account, value=amount)


@internal
def burn(account: address, amount: uint256):
    """
    @notice Destroys SRLC before the hub pays the money out.
    @dev Reverts without data if the balance is too small; frozen money cannot be burnt.
    """
    assert account != empty(address), "ERC20: burn from the zero address"
    word: uint256 = state.accounts[account]
    state.accounts[account] = packing.account(
        packing.account_balance(word) - amount, packing.account_frozen(word), packing.account_score(word)
    )
    state.total_supply -= amount
    log Transfer(sender=account, receiver=empty(address), value=amount)
