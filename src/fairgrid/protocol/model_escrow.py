"""The escrow of the reference model (`spec/poco.md` §5): deposits as an ERC-20, locked money, slashing.

Locked money is held as the hub's own balance, so that ``balance_of(hub) == Σ frozen``, ``total_supply == Σ balances``,
and the hub holds at least ``total_supply`` of the token.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.model_state import Cell, Table, World, checked, require, transaction
from fairgrid.protocol.model_token import Rlc
from fairgrid.protocol.views import Account

__all__ = ["NOT_OWNER", "Escrow"]

NOT_OWNER = "Ownable: caller is not the owner"


class Escrow:
    """Accounts in nRLC. ``caller`` is always who sends the transaction."""

    def __init__(self, world: World, address: str, owner: str, token: Rlc) -> None:
        self.world = world
        self.address = address
        self.token = token
        self._owner: Cell[str] = Cell(world, owner)
        self._total_supply: Cell[int] = Cell(world, 0)
        self._balances: Table[str, int] = Table(world, 0)
        self._frozen: Table[str, int] = Table(world, 0)
        self._allowances: Table[tuple[str, str], int] = Table(world, 0)

    # --- views --------------------------------------------------------------------------------------------------

    @property
    def owner(self) -> str:
        """Who administers the hub."""
        return self._owner.value

    @property
    def total_supply(self) -> int:
        """All money in the escrow."""
        return self._total_supply.value

    @property
    def accounts(self) -> frozenset[str]:
        """Every account that ever had money here, free or locked."""
        return frozenset(self._balances) | frozenset(self._frozen)

    def balance_of(self, account: str) -> int:
        """What the account may spend or withdraw; for the hub itself, all locked money."""
        return self._balances[account]

    def frozen_of(self, account: str) -> int:
        """What is locked for the account."""
        return self._frozen[account]

    def allowance(self, owner: str, spender: str) -> int:
        """What ``spender`` may still take from ``owner`` inside the escrow."""
        return self._allowances[owner, spender]

    def view_account(self, account: str) -> Account:
        """Free and locked money of the account."""
        return Account(stake=self._balances[account], locked=self._frozen[account])

    # --- deposits and withdrawals -------------------------------------------------------------------------------

    @transaction
    def deposit(self, caller: str, amount: int) -> bool:
        """Bring ``amount`` of RLC, approved before, into the caller's account."""
        return self.deposit_for(caller, amount, caller)

    @transaction
    def deposit_for(self, caller: str, amount: int, target: str) -> bool:
        """Bring ``amount`` of the caller's RLC into the account of ``target``."""
        require(self.token.transfer_from(self.address, caller, self.address, amount), "failed-transferFrom")
        self._mint(target, amount)
        return True

    @transaction
    def deposit_for_array(self, caller: str, amounts: Sequence[int], targets: Sequence[str]) -> bool:
        """Bring ``amounts`` of the caller's RLC into the accounts of ``targets``: all of them, or none."""
        require(len(amounts) == len(targets), "invalid-array-length")
        for amount, target in zip(amounts, targets, strict=True):
            self.deposit_for(caller, amount, target)
        return True

    @transaction
    def deposit_with_permit(self, caller: str, amount: int) -> bool:
        """Bring ``amount`` of RLC in by a good permit of the caller. With a bad one it is a plain `deposit`."""
        self.token.approve(caller, self.address, amount)
        return self.deposit(caller, amount)

    @transaction
    def receive_approval(self, caller: str, sender: str, amount: int, token: str) -> bool:
        """Deposit for ``sender`` when it approved the hub (`approveAndCall` of RLC). Anybody may call."""
        require(token == self.token.address, "wrong-token")
        require(self.token.transfer_from(self.address, sender, self.address, amount), "failed-transferFrom")
        self._mint(sender, amount)
        return True

    @transaction
    def withdraw(self, caller: str, amount: int) -> bool:
        """Pay ``amount`` out to the caller in RLC."""
        return self.withdraw_to(caller, amount, caller)

    @transaction
    def withdraw_to(self, caller: str, amount: int, target: str) -> bool:
        """Pay ``amount`` of the caller's money out to ``target`` in RLC."""
        self._burn(caller, amount)
        self.token.transfer(self.address, target, amount)
        return True

    @transaction
    def recover(self, caller: str) -> int:
        """Credit RLC that was sent to the hub by mistake to the hub's owner."""
        require(caller == self.owner, NOT_OWNER)
        amount = checked(self.token.balance_of(self.address) - self.total_supply)
        self._mint(caller, amount)
        return amount

    # --- ERC-20 surface -----------------------------------------------------------------------------------------

    @transaction
    def transfer(self, caller: str, to: str, amount: int) -> bool:
        """Pay inside the escrow."""
        self._transfer(caller, to, amount)
        return True

    @transaction
    def transfer_from(self, caller: str, owner: str, to: str, amount: int) -> bool:
        """Pay inside the escrow out of an allowance; it always gets smaller, there is no unlimited one."""
        self._transfer(owner, to, amount)
        require(amount <= self._allowances[owner, caller])
        self._approve(owner, caller, self._allowances[owner, caller] - amount)
        return True

    @transaction
    def approve(self, caller: str, spender: str, amount: int) -> bool:
        """Let ``spender`` take up to ``amount`` of the caller's money in the escrow."""
        self._approve(caller, spender, amount)
        return True

    @transaction
    def increase_allowance(self, caller: str, spender: str, amount: int) -> bool:
        """Let ``spender`` take ``amount`` more."""
        self._approve(caller, spender, checked(self._allowances[caller, spender] + amount))
        return True

    @transaction
    def decrease_allowance(self, caller: str, spender: str, amount: int) -> bool:
        """Let ``spender`` take ``amount`` less."""
        require(amount <= self._allowances[caller, spender])
        self._approve(caller, spender, self._allowances[caller, spender] - amount)
        return True

    @transaction
    def transfer_ownership(self, caller: str, new_owner: str) -> None:
        """Hand the hub's administration over; nobody (the zero address) is accepted."""
        require(caller == self.owner, f"NotContractOwner({caller}, {self.owner})")
        before = self.owner
        self._owner.value = new_owner
        self.world.emit(self.address, "OwnershipTransferred", previousOwner=before, newOwner=new_owner)

    # --- what deals and tasks do with money -----------------------------------------------------------------------

    def _lock(self, account: str, amount: int) -> None:
        self._move(account, self.address, amount)
        self._frozen[account] = checked(self._frozen[account] + amount)
        self.world.emit(self.address, "Lock", owner=account, amount=amount)

    def _unlock(self, account: str, amount: int) -> None:
        self._move(self.address, account, amount)
        self._frozen[account] = checked(self._frozen[account] - amount)
        self.world.emit(self.address, "Unlock", owner=account, amount=amount)

    def _reward(self, account: str, amount: int, reference: str) -> None:
        self._move(self.address, account, amount)
        self.world.emit(self.address, "Reward", owner=account, amount=amount, ref=reference)

    def _seize(self, account: str, amount: int, reference: str) -> None:
        self._frozen[account] = checked(self._frozen[account] - amount)
        self.world.emit(self.address, "Seize", owner=account, amount=amount, ref=reference)

    def _move(self, sender: str, to: str, amount: int) -> None:
        require(sender != ZERO_ADDRESS, "IexecEscrow: Transfer from empty address")
        require(to != ZERO_ADDRESS, "IexecEscrow: Transfer to empty address")
        require(amount <= self._balances[sender], "IexecEscrow: Transfer amount exceeds balance")
        self._set_balances(sender, to, amount)

    # --- ERC-20 internals ---------------------------------------------------------------------------------------

    def _transfer(self, sender: str, to: str, amount: int) -> None:
        require(sender != ZERO_ADDRESS, "ERC20: transfer from the zero address")
        require(to != ZERO_ADDRESS, "ERC20: transfer to the zero address")
        require(amount <= self._balances[sender])
        self._set_balances(sender, to, amount)

    def _set_balances(self, sender: str, to: str, amount: int) -> None:
        self._balances[sender] -= amount
        self._balances[to] += amount
        self.world.emit(self.address, "Transfer", from_=sender, to=to, value=amount)

    def _mint(self, account: str, amount: int) -> None:
        require(account != ZERO_ADDRESS, "ERC20: mint to the zero address")
        self._total_supply.value = checked(self.total_supply + amount)
        self._balances[account] += amount
        self.world.emit(self.address, "Transfer", from_=ZERO_ADDRESS, to=account, value=amount)

    def _burn(self, account: str, amount: int) -> None:
        require(account != ZERO_ADDRESS, "ERC20: burn from the zero address")
        require(amount <= self._balances[account])
        self._total_supply.value -= amount
        self._balances[account] -= amount
        self.world.emit(self.address, "Transfer", from_=account, to=ZERO_ADDRESS, value=amount)

    def _approve(self, owner: str, spender: str, amount: int) -> None:
        require(owner != ZERO_ADDRESS, "ERC20: approve from the zero address")
        require(spender != ZERO_ADDRESS, "ERC20: approve to the zero address")
        self._allowances[owner, spender] = amount
        self.world.emit(self.address, "Approval", owner=owner, spender=spender, value=amount)
