"""A hub whose escrow is of the chain's own coins, on an in-process chain."""

from __future__ import annotations

import boa

from tests.contracts.hub_parts import NATIVE_ESCROW
from tests.contracts.registries import ChainContract
from tests.contracts.world import RICH, Person, World, deploy_hub

__all__ = ["WEI_PER_NRLC", "NativeWorld", "deploy_native_hub"]

WEI_PER_NRLC = 10**9


class NativeWorld(World):
    """A hub whose escrow is of the chain's own coins. `rlc` has nothing to do with it."""

    @property
    def escrow(self) -> ChainContract:
        """The hub by the interface of its escrow."""
        return ChainContract(NATIVE_ESCROW, self.hub.address)

    def fund(self, person: Person | str, amount: int = RICH) -> None:
        """Put ``amount`` nRLC into an escrow account, in coins that the owner gets for it."""
        target = person if isinstance(person, str) else person.address
        self.give_coins(self.owner, amount * WEI_PER_NRLC)
        self.escrow.call("depositFor", target, sender=self.owner.address, value=amount * WEI_PER_NRLC)

    def give_coins(self, person: Person | str, wei: int) -> None:
        """Let an account have ``wei`` more."""
        address = person if isinstance(person, str) else person.address
        boa.env.set_balance(address, self.coins(address) + wei)

    def coins(self, person: Person | str) -> int:
        """Wei that an account has."""
        return int(boa.env.get_balance(person if isinstance(person, str) else person.address))

    def held(self) -> int:
        return self.coins(self.hub.address) // WEI_PER_NRLC


def deploy_native_hub() -> NativeWorld:
    """Everything deployed, and no deal yet."""
    world = deploy_hub(world_class=NativeWorld, native=True)
    assert isinstance(world, NativeWorld)
    return world
