"""The executable reference model of the hub: what the contracts must do, written from the specification in Python.

Every call either happens or raises `Revert` with the exact text; `Hub.events` is the ordered list of what was emitted;
`Hub.now` is the block time and is set by whoever lets time pass. The parts, each a layer over the one before:

===================  ===========================================================================
`model_state`        tables that a revert undoes, events, time
`model_token`        RLC
`model_registry`     apps, datasets, workerpools as plain records
`model_escrow`       accounts, deposits, locks, rewards, slashing
`model_orders`       signatures, presigned and closed orders, categories
`model_deals`        matching
`model_tasks`        initialize, contribute, reveal, reopen, finalize, claim, scores
`model_fast`         contributeAndFinalize, array forms
`model_batch`        the batch lane: runs
`model_boost`        the fast path: deals of boost, pushed results, claims
`model_published`    the rest: configuration, relayed orders, datasets of bulk deals
===================  ===========================================================================

    hub = Hub.deploy(chain_id=31337, owner=owner)
    hub.token.approve(owner, hub.address, 100)
    hub.deposit(owner, 100)

Foreign contracts have no code here: ERC-1271 signatures are not modelled, restrictions to groups are
`Hub.group_members`, and the hub before this one is `Hub.old_scores`. Callbacks of deals are not called; nothing of the
hub depends on them. The model has none of the contracts' bounds (prices below 2**96, volumes and trust below 2**32,
64 contributors a task, 2,048 bytes of results, scores below 2**64): stay within them.
"""

from __future__ import annotations

from typing import Final

from fairgrid.protocol.hexes import checksum, keccak, to_hex
from fairgrid.protocol.model_published import PublishedBook
from fairgrid.protocol.model_registry import AppRegistry, DatasetRegistry, Registries, WorkerpoolRegistry
from fairgrid.protocol.model_state import Event, Revert, World
from fairgrid.protocol.model_token import Rlc

__all__ = ["DEFAULT_CATEGORIES", "Event", "Hub", "Revert", "World"]

DEFAULT_CATEGORIES: Final = (("XS", 300), ("S", 1_200), ("M", 3_600), ("L", 10_800), ("XL", 36_000))
"""Name and time reference (seconds) of the categories of a fresh deployment; their description is two quote marks."""


class Hub(PublishedBook):
    """The hub with its token and registries. See `Hub.deploy` for a fresh one as the contracts leave it."""

    name: Final = "Staked RLC"
    symbol: Final = "SRLC"
    decimals: Final = 9

    @classmethod
    def deploy(
        cls,
        *,
        chain_id: int,
        owner: str,
        address: str | None = None,
        rlc: str | None = None,
        registries: tuple[str, str, str] | None = None,
        now: int = 1_700_000_000,
    ) -> Hub:
        """A fresh chain with RLC (all owned by ``owner``), empty registries, a hub and the five categories.

        ``registries`` are the addresses of app, dataset and workerpool registry; addresses that are not given are
        derived from their role. ``now`` is the first block's time in seconds.
        """
        world = World(now=now)
        apps, datasets, workerpools = registries or tuple(
            _address_of(role) for role in ("app registry", "dataset registry", "workerpool registry")
        )
        hub = cls(
            world,
            chain_id,
            address or _address_of("hub"),
            owner,
            Rlc(world, rlc or _address_of("rlc"), owner),
            Registries(
                AppRegistry(world, apps), DatasetRegistry(world, datasets), WorkerpoolRegistry(world, workerpools)
            ),
        )
        for name, timeref in DEFAULT_CATEGORIES:
            hub.create_category(owner, name, '""', timeref)
        return hub

    @property
    def now(self) -> int:
        """Block time in seconds."""
        return self.world.now

    @now.setter
    def now(self, seconds: int) -> None:
        self.world.now = seconds

    @property
    def events(self) -> list[Event]:
        """Everything that was emitted by hub, token, registries and entries, in order."""
        return self.world.events


def _address_of(role: str) -> str:
    return checksum(to_hex(keccak(b"fairgrid/model/" + role.encode())[12:]))
