"""Private runs at their requester: encrypted before they leave this machine, decrypted when they come back.

Nothing of a run's key is kept here. It is in the run's manifest, sealed for the pool, and for the requester's own
account: that account alone reads the results again, on any machine.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from fairgrid.chain.interface import Chain
from fairgrid.client.job import Job
from fairgrid.client.orders import Offer
from fairgrid.client.prepared_job import PreparedJob, file_ref, manifest_of, upload_files
from fairgrid.errors import (
    OrderError,
    ServiceRefused,
    UsageError,
    VerificationError,
)
from fairgrid.pool.client import PoolClient
from fairgrid.protocol.data_keys import DataKey
from fairgrid.protocol.encrypted_files import Purpose, encrypt_file
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum
from fairgrid.protocol.manifest import (
    MAX_MANIFEST_BYTES,
    FileRef,
    Manifest,
    manifest_cid_of_params,
    parse_manifest,
)
from fairgrid.protocol.private_job import (
    SealingPlace,
    open_data_key,
    private_document,
    public_manifest,
    result_key,
    seal_data_key,
    sealed_secrets,
)
from fairgrid.protocol.sealed_part import Hides, SealedPart
from fairgrid.protocol.sealing import EncryptionKey, encryption_key_of, pool_key_message
from fairgrid.protocol.seals import recover_message_signer
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.signer import Signer

__all__ = ["HONEST_WORDS", "HONEST_WORDS_OF_SECRETS", "PrivateRuns"]

HONEST_WORDS: Final = (
    "Private: storage, market, chain and everybody else see encrypted files and sizes only; the pool's scheduler and "
    "the owners of the machines that run it can read all of it."
)
"""What is said before a private run is signed."""
HONEST_WORDS_OF_SECRETS: Final = (
    "Secrets: storage, market, chain and everybody else see none of them; the pool's scheduler, the owners of the "
    "machines that run the job, and the job itself can read them."
)
"""What is said before a run with secrets is signed."""
_KEPT: Final = 256
_AT_ONCE: Final = 8


class PrivateRuns:
    """What one requester encrypts and decrypts on one network."""

    def __init__(self, chain: Chain, storage: StorageClient, pool: PoolClient, signer: Signer) -> None:
        self._chain = chain
        self._storage = storage
        self._pool = pool
        self._signer = signer
        self._own: EncryptionKey | None = None
        self._known: OrderedDict[str, DataKey] = OrderedDict()

    async def prepare(self, job: Job, offer: Offer, *, timeref: int) -> PreparedJob:
        """Encrypt and upload what is to be hidden of a job, and its manifest, sealed for the offer's pool and app.

        Raises:
            UsageError: the pool takes no private jobs, a file changed meanwhile, or the account cannot have a key.
            OrderError: the offer does not name one pool and one app.
            VerificationError: the pool's key is not signed by the owner of the workerpool.
            ManifestError: a worker would refuse the job.
            ServiceError: a service is down, or refuses.
        """
        app, pool = offer.app.app, offer.workerpool.workerpool
        if ZERO_ADDRESS in (app, pool):
            raise OrderError(
                "A private run must name one pool and one app, and this offer names any. Nothing was signed."
            )
        pool_key = await self._pool_key(pool)
        own_key = (await self._key()).public
        place = SealingPlace(self._chain.chain_id, self._chain.hub, pool, app, self._signer.address)
        key = DataKey.fresh()
        plain = await asyncio.to_thread(manifest_of, job, timeref=timeref)
        await asyncio.to_thread(plain.to_bytes)
        part = SealedPart(checksum(pool), checksum(app), Hides.EVERYTHING if job.private else Hides.SECRETS)
        if job.private:
            manifest = await self._encrypted(job, plain, key, part)
        else:
            secrets = sealed_secrets(key, [secret for _, secret in job.secrets])
            manifest = replace(plain, sealed=replace(part, secrets=secrets))
            await upload_files(job, manifest, self._storage)
        manifest = await asyncio.to_thread(
            seal_data_key, manifest, key, place, pool_key=pool_key, requester_key=own_key
        )
        data = await asyncio.to_thread(manifest.to_bytes)
        return PreparedJob(
            job.label or job.script.name, manifest, await self._storage.add_bytes(data, keep_s=job.uploads_keep_s)
        )

    async def result_key(self, deal_id: str, index: int) -> bytes:
        """The key of the result of the task at ``index`` (as the chain counts) of a private deal of this requester.

        Raises:
            UsageError: the deal is of somebody else, or there is none.
            VerificationError, ManifestError: its manifest has no key for this account.
            ServiceError: chain or storage does not answer, or the manifest is gone.
        """
        key = self._known.get(deal_id) or await self._read(deal_id)
        self._known[deal_id] = key
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return result_key(await asyncio.to_thread(key.of, index))

    async def _read(self, deal_id: str) -> DataKey:
        deal = await self._chain.view_deal(deal_id)
        if deal is None:
            raise UsageError(f"The hub does not know deal {deal_id}. Is this the right network?")
        if deal.requester.lower() != self._signer.address.lower():
            raise UsageError(
                f"The results of deal {deal_id} are encrypted for its requester {deal.requester}; this account is "
                f"{self._signer.address}. Name the requester's account with --wallet."
            )
        cid = manifest_cid_of_params(deal.params)
        if cid is None:
            raise VerificationError(f"The result of deal {deal_id} is encrypted, and the deal names no manifest.")
        manifest = parse_manifest(await self._storage.fetch_bytes(cid, max_bytes=MAX_MANIFEST_BYTES))
        place = SealingPlace(
            self._chain.chain_id, self._chain.hub, deal.workerpool.pointer, deal.app.pointer, deal.requester
        )
        own = await self._key()
        return await asyncio.to_thread(open_data_key, manifest, own, place, of_pool=False)

    async def _key(self) -> EncryptionKey:
        if self._own is None:
            self._own = await asyncio.to_thread(encryption_key_of, self._signer.sign_message)
        return self._own

    async def _pool_key(self, workerpool: str) -> bytes:
        try:
            told = await self._pool.encryption_key()
        except ServiceRefused as error:
            raise UsageError(
                f"This pool takes no private runs and no secrets: it has no encryption key ({error}). Nothing was "
                f"signed or sent. Run it without --private and --secret, or in another pool."
            ) from error
        message = pool_key_message(self._chain.chain_id, self._chain.hub, workerpool, told.public)
        owner = (await self._chain.view_workerpool(workerpool)).owner
        try:
            signed_by = recover_message_signer(message, told.signature)
        except OrderError:
            signed_by = ""
        if signed_by != checksum(owner):
            raise VerificationError(
                f"The encryption key that the pool gives is not signed by {owner}, who owns the workerpool "
                f"{workerpool} on chain. Nothing was sealed, signed or sent: somebody may listen in between."
            )
        return told.public

    async def _encrypted(self, job: Job, plain: Manifest, key: DataKey, part: SealedPart) -> Manifest:
        places: dict[tuple[str, int | None], str] = {}
        wanted = iter(list(_files(job, plain)))
        with tempfile.TemporaryDirectory(prefix="fairgrid-private-") as folder:

            async def some(number: int) -> None:
                for path, reference, index in wanted:
                    file = Path(folder) / str(number)
                    own = key.shared if index is None else key.of(index)
                    await asyncio.to_thread(encrypt_file, own, path, file, Purpose.INPUT)
                    if await asyncio.to_thread(file_ref, path) != reference:
                        raise UsageError(
                            f"{path} changed while it was being encrypted. Nothing was signed; run it again."
                        )
                    places[reference.cid, index] = await self._storage.add_file(file, keep_s=job.uploads_keep_s)

            workers = [asyncio.ensure_future(some(number)) for number in range(_AT_ONCE)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        secrets = [secret for _, secret in job.secrets]
        document = await asyncio.to_thread(private_document, plain, key, places, secrets)
        cid = await self._storage.add_bytes(document, keep_s=job.uploads_keep_s)
        return public_manifest(plain, FileRef("private", cid, len(document)), places, part)


def _files(job: Job, plain: Manifest) -> Iterator[tuple[Path, FileRef, int | None]]:
    """Every file with its reference, and the task whose key it gets; None: the shared one."""
    common = {plain.script.cid: job.script}
    named = {reference.name: reference for reference in plain.inputs}
    common |= {named[path.name].cid: path for path in job.inputs}
    references = {reference.cid: reference for reference in (plain.script, *plain.inputs)}
    for cid, path in common.items():
        yield path, replace(references[cid], name=path.name), None
    for index, more in enumerate(job.item_inputs):
        named = {reference.name: reference for reference in plain.items[index].inputs or ()}
        done: set[str] = set(common)
        for path in more:
            if named[path.name].cid not in done:
                done.add(named[path.name].cid)
                yield path, named[path.name], index
