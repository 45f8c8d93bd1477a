"""The RLC token in the reference model (`spec/poco.md` §23): 87,000,000 RLC with 9 decimals, owned by its deployer."""

from __future__ import annotations

from typing import Final, Protocol

from fairgrid.protocol.model_state import Table, World, require, transaction
from fairgrid.protocol.orders import AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder

__all__ = ["RLC_SUPPLY_NRLC", "ApprovalReceiver", "MatchedOrders", "Rlc"]

MatchedOrders = tuple[AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder]
"""What a match takes, in its order."""

RLC_SUPPLY_NRLC: Final = 87_000_000 * 10**9


class ApprovalReceiver(Protocol):
    """A contract that may be told of an approval (`approveAndCall`)."""

    @property
    def address(self) -> str: ...

    def receive_approval(
        self, caller: str, sender: str, amount: int, token: str, orders: MatchedOrders | None = None
    ) -> bool: ...


class Rlc:
    """The token that the escrow holds. Everything that fails reverts without data."""

    def __init__(self, world: World, address: str, deployer: str) -> None:
        self.world = world
        self.address = address
        self.owner = deployer
        self.total_supply = RLC_SUPPLY_NRLC
        self._balances: Table[str, int] = Table(world, 0)
        self._allowances: Table[tuple[str, str], int] = Table(world, 0)
        self._balances[deployer] = RLC_SUPPLY_NRLC

    def balance_of(self, account: str) -> int:
        """nRLC of ``account`` outside the escrow."""
        return self._balances[account]

    def allowance(self, owner: str, spender: str) -> int:
        """nRLC that ``spender`` may still take from ``owner``."""
        return self._allowances[owner, spender]

    @transaction
    def transfer(self, caller: str, to: str, amount: int) -> bool:
        """Pay ``amount`` from the caller to ``to``."""
        self._move(caller, to, amount)
        return True

    @transaction
    def approve(self, caller: str, spender: str, amount: int) -> bool:
        """Let ``spender`` take up to ``amount`` from the caller."""
        self._allowances[caller, spender] = amount
        self.world.emit(self.address, "Approval", owner=caller, spender=spender, value=amount)
        return True

    @transaction
    def transfer_from(self, caller: str, owner: str, to: str, amount: int) -> bool:
        """Pay ``amount`` from ``owner`` to ``to`` out of the caller's allowance."""
        require(amount <= self._allowances[owner, caller])
        self._move(owner, to, amount)
        self._allowances[owner, caller] -= amount
        return True

    @transaction
    def approve_and_call(
        self, caller: str, spender: ApprovalReceiver, amount: int, orders: MatchedOrders | None = None
    ) -> None:
        """Approve ``spender`` and tell it at once: a deposit in one transaction, and a match of ``orders``."""
        self.approve(caller, spender.address, amount)
        spender.receive_approval(self.address, caller, amount, self.address, orders)

    def _move(self, sender: str, to: str, amount: int) -> None:
        require(amount <= self._balances[sender])
        self._balances[sender] -= amount
        self._balances[to] += amount
        self.world.emit(self.address, "Transfer", from_=sender, to=to, value=amount)
