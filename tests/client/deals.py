"""Deals and tasks on the chain's twin, for tests of the requester's side."""

from __future__ import annotations

from pathlib import Path

from fairgrid.chain import calls
from fairgrid.client.journal import DealRecord
from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex
from fairgrid.protocol.ids import authorisation_message, result_hash, result_seal, task_id
from fairgrid.protocol.results import results_text
from fairgrid.wallet.keys import KeySigner
from tests.pool.grid import PRICE, Grid, key

__all__ = ["BAD", "GOOD", "PRICE", "Deals", "key"]

GOOD = "0x" + "aa" * 32
BAD = "0x" + "bb" * 32


class Deals:
    """A requester's deals on a `ModelChain`, and shortcuts through the life of their tasks."""

    def __init__(self, folder: Path) -> None:
        self.grid = Grid(folder)
        self.chain = self.grid.chain
        self.requester = self.grid.requester
        self.scheduler = self.grid.scheduler
        self.block = 0

    def worker(self, name: str) -> KeySigner:
        """A worker with a deposit."""
        signer = key(name)
        self.grid.deposit(signer.address)
        return signer

    async def record(self, trust: int) -> DealRecord:
        """The record of a new deal for one task."""
        deal = await self.grid.deal(trust)
        head = await self.chain.head()
        return DealRecord(
            deal_id=deal,
            task_ids=(task_id(deal, 0),),
            manifest_cid="bafy",
            job_name="job.py",
            trust=trust,
            price=PRICE,
            match_tx="0x" + "11" * 32,
            match_raw="0x",
            block_number=head.number,
        )

    async def initialize(self, record: DealRecord) -> None:
        await self.chain.transact(calls.initialize(self.chain.hub, record.deal_id, 0), self.scheduler)

    async def contribute(self, worker: KeySigner, task: str, digest: str = GOOD) -> None:
        message = authorisation_message(worker.address, task, ZERO_ADDRESS)
        call = calls.contribute(
            self.chain.hub,
            task,
            result_hash(task, digest),
            result_seal(worker.address, task, digest),
            self.scheduler.sign_message(from_hex(message) if isinstance(message, str) else message),
        )
        await self.chain.transact(call, worker)

    async def reveal(self, worker: KeySigner, task: str, digest: str = GOOD) -> None:
        await self.chain.transact(calls.reveal(self.chain.hub, task, digest), worker)

    async def finalize(self, task: str, cid: str = "bafy") -> None:
        await self.chain.transact(calls.finalize(self.chain.hub, task, results_text(cid)), self.scheduler)

    async def claim(self, task: str) -> None:
        await self.chain.transact(calls.claim(self.chain.hub, task), self.requester)

    async def complete(self, record: DealRecord) -> None:
        """From nothing to COMPLETED, by one worker (trust 1)."""
        worker, task = self.worker("quick"), record.task_ids[0]
        await self.initialize(record)
        await self.contribute(worker, task)
        await self.reveal(worker, task)
        await self.finalize(task)
