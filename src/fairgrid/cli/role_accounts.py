"""An owner that acts for its role account: what the key signs counts for the account, which has the money."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.chain.interface import Call, Chain
    from fairgrid.wallet.signer import Signer

__all__ = ["RoleSigner", "check_owner", "through"]


class RoleSigner:
    """Signs documents for a role account, as hub and market accept them (ERC-1271): by its owner's key."""

    def __init__(self, account: str, owner: Signer) -> None:
        self._account = account
        self._owner = owner

    @property
    def address(self) -> str:
        """The role account's."""
        return self._account

    def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
        """The owner's signature."""
        return self._owner.sign_typed_data(typed_data)

    def sign_message(self, message: bytes) -> str:
        """The owner's signature."""
        return self._owner.sign_message(message)

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        """A contract sends no transactions: its owner does, with a call that `through` made.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"The role account {self._account} sends no transactions: its owner does, in its name.")


async def check_owner(chain: Chain, account: str, key: str) -> None:
    """Make sure that ``account`` is a role account of this ``key`` on the hub.

    Raises:
        UsageError: it is none, or somebody else's. Nothing was signed.
    """
    found = await chain.view_role_account(account)
    if found is None:
        raise UsageError(
            f"There is no role account at {account}. Nothing was signed. Leave --as out if the key itself "
            f"has the money."
        )
    if found.owner != key:
        raise UsageError(
            f"The role account {account} belongs to {found.owner}, not to {key}. Nothing was signed. Name its owner's "
            f"key with --wallet."
        )


def through(account: str, call: Call) -> Call:
    """The call as its owner sends it, so that ``account`` makes it."""
    from fairgrid.chain.bulk import call_data
    from fairgrid.chain.interface import Call

    return Call("role_account", account, "execute", (call.address, call.value_wei, call_data(call)))
