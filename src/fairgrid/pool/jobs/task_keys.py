"""The keys of private jobs: unsealed for the pool, sealed again for each worker that has a lease, never stored.

A data key is in this process's memory while its deal is worked on, and nowhere else in plain form: database, logs and
traces know the sealed form only, which is part of the job's manifest.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from fairgrid.chain.interface import Chain
from fairgrid.errors import ManifestError, ServiceUnavailable
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.jobs.manifests import ManifestReader
from fairgrid.protocol.data_keys import DataKey, TaskKeys
from fairgrid.protocol.hexes import from_hex, to_hex, to_hex32
from fairgrid.protocol.private_job import SealingPlace, open_data_key, result_key
from fairgrid.protocol.runs import units_of
from fairgrid.protocol.sealing import EncryptionKey, encryption_key_of, pool_key_message, seal_for
from fairgrid.wallet.signer import Signer

__all__ = ["PrivateKeys", "TaskKeyKeeper"]

_KEPT: Final = 1_000


@dataclass(frozen=True, slots=True)
class PrivateKeys:
    """How the result of one task, or of one run, is opened that a worker uploaded."""

    keeper: TaskKeyKeeper
    deal_id: str
    """Empty: the pool does not know the task any more."""
    index: int = 0
    """Of the task, or of the first one of the run."""
    is_private: bool = False
    """False: its results are plain, or the pool could not read its manifest."""

    async def of_result(self, index: int) -> bytes:
        """The key of the result of task ``index``.

        Raises:
            as `TaskKeyKeeper.keys_of`.
        """
        if not self.deal_id:
            raise ServiceUnavailable("pool", "its tasks", "it does not know the task any more")
        return result_key((await self.keeper.keys_of(self.deal_id, index, 0)).of(index))


class TaskKeyKeeper:
    """The keys of one pool's private deals; the last 1,000 that were used are remembered."""

    def __init__(self, identity: PoolIdentity, *, chain: Chain, manifests: ManifestReader, signer: Signer) -> None:
        self._identity = identity
        self._chain = chain
        self._manifests = manifests
        self._signer = signer
        self._own: EncryptionKey | None = None
        self._signature = ""
        self._known: OrderedDict[str, DataKey] = OrderedDict()

    def __repr__(self) -> str:
        return f"TaskKeyKeeper({self._identity!r})"

    async def published(self) -> tuple[str, str]:
        """The pool's public encryption key (0x-hex), and its scheduler's signature of it.

        Raises:
            UsageError: the scheduler's key cannot have one.
        """
        own = await asyncio.to_thread(self._key)
        if not self._signature:
            identity = self._identity
            message = pool_key_message(identity.chain_id, identity.hub, identity.workerpool, own.public)
            self._signature = await asyncio.to_thread(self._signer.sign_message, message)
        return to_hex32(own.public), self._signature

    async def keys_of(self, deal_id: str, first: int, count: int) -> TaskKeys:
        """The keys of task ``first`` of a deal, or of a run of ``count`` tasks.

        Raises:
            ServiceUnavailable: the chain or storage does not answer, or does not know the deal or its manifest (yet).
            ManifestError: the job has no sealed key, or it was sealed for another pool or app than the deal's.
            VerificationError: the key was not sealed for this pool, deal and manifest.
        """
        key = self._known.get(deal_id) or await self._read(deal_id)
        self._known[deal_id] = key
        self._known.move_to_end(deal_id)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return await asyncio.to_thread(key.keys_for, first, units_of(count))

    async def sealed_for(self, public_key: str, context: bytes, deal_id: str, first: int, count: int) -> str:
        """`keys_of` as 0x-hex that only the owner of ``public_key`` opens, in ``context``.

        Raises:
            everything of `keys_of`; UsageError: ``public_key`` is none.
        """
        keys = await self.keys_of(deal_id, first, count)
        return to_hex(seal_for(from_hex(public_key), keys.to_bytes(), context))

    async def _read(self, deal_id: str) -> DataKey:
        deal = await self._chain.view_deal(deal_id)
        if deal is None:
            raise ServiceUnavailable("chain", deal_id, "it does not know the deal now")
        manifest = await self._manifests.manifest_of(deal.params)
        if manifest is None:
            raise ServiceUnavailable("storage", deal_id, "it does not have the manifest of the deal")
        identity = self._identity
        if deal.workerpool.pointer.lower() != identity.workerpool.lower():
            raise ManifestError(f"The deal is with another pool, {deal.workerpool.pointer}.")
        place = SealingPlace(identity.chain_id, identity.hub, identity.workerpool, deal.app.pointer, deal.requester)
        own = await asyncio.to_thread(self._key)
        return await asyncio.to_thread(open_data_key, manifest, own, place, of_pool=True)

    def _key(self) -> EncryptionKey:
        if self._own is None:
            self._own = encryption_key_of(self._signer.sign_message)
        return self._own
