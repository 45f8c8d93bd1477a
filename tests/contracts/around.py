"""The contracts around the hub, on the chain of a `World`: role accounts, deposit addresses, groups."""

from __future__ import annotations

from typing import Any

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, address_bytes, from_hex, to_hex
from fairgrid.protocol.seals import message_hash
from tests.contracts.registries import ChainContract, compiled, deploy_contract, public_abi
from tests.contracts.world import Person, World

__all__ = [
    "BOTH",
    "SCHEDULER",
    "WORKER",
    "RoleAccount",
    "authorisation_hash",
    "authorisation_preimage",
    "deposit_addresses",
    "groups",
    "role_accounts",
]

WORKER = 1
SCHEDULER = 2
BOTH = WORKER | SCHEDULER


def role_accounts(hub: str) -> ChainContract:
    """A factory of role accounts for that hub."""
    return deploy_contract("role_accounts", hub_address=hub, clone_initcode=compiled("role_account").bytecode)


def deposit_addresses(hub: str, token: str) -> ChainContract:
    """A factory of deposit addresses for that hub and token."""
    code = compiled("deposit_address").bytecode
    return deploy_contract("deposit_addresses", hub_address=hub, base_token=token, clone_initcode=code)


def groups() -> ChainContract:
    """A registry of groups."""
    return deploy_contract("groups", clone_initcode=compiled("group").bytecode)


def authorisation_preimage(worker: str, task: str, challenge: str = ZERO_ADDRESS) -> bytes:
    """What an operator spells out before its signature."""
    return address_bytes(worker) + from_hex(task) + address_bytes(challenge)


def authorisation_hash(worker: str, task: str, challenge: str = ZERO_ADDRESS) -> str:
    """What the hub asks the pool's owner about before a contribution."""
    return to_hex(message_hash(ids.authorisation_message(worker, task, challenge)))


class RoleAccount:
    """A role account with the keys of its owner and its operator; stands where a `World` wants a person.

    It signs hashes (orders) with the owner's key.
    """

    def __init__(self, factory: ChainContract, role: str, roles: int = BOTH) -> None:
        self.owner = Person(f"cold owner of {role}")
        self.operator = Person(f"hot operator of {role}")
        self.address = str(factory.call("create", self.owner.address, self.operator.address, roles, ZERO32))
        self.contract = ChainContract("role_account", self.address)

    def sign(self, hash_: str | bytes) -> str:
        """The owner's signature."""
        return self.owner.sign(hash_)

    def authorise(self, worker: str, task: str, challenge: str = ZERO_ADDRESS) -> bytes:
        """The operator's word that the worker may contribute, as the account takes it."""
        message = ids.authorisation_message(worker, task, challenge)
        return authorisation_preimage(worker, task, challenge) + self.operator.sign_message(message)

    def work(self, function: str, *arguments: Any, sender: Person | None = None) -> Any:
        """Call the hub through the account, as its operator."""
        return self.contract.call(function, *arguments, sender=(sender or self.operator).address)

    def execute(self, world: World, target: ChainContract, function: str, *arguments: Any) -> Any:
        """Call anything through the account, as its owner."""
        data = public_abi(target.name).encode_call(function, arguments)
        return self.contract.call("execute", target.address, 0, data, sender=self.owner.address)
