"""Making certificates: a finished task's orders, receipts, headers and files, put together and checked at once."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.chain.evidence import gather_evidence, matched_orders, read_logs, span_of_second
from fairgrid.chain.interface import Chain, ChainEvent
from fairgrid.chain.rpc import JsonRpc
from fairgrid.client.bags import fetch_run_results
from fairgrid.client.ledger import SettledRun
from fairgrid.client.results import MAX_RESULT_BYTES, ResultKeys, opened
from fairgrid.errors import UsageError, VerificationError
from fairgrid.protocol.archive import archive_entries
from fairgrid.protocol.certificate import (
    Certificate,
    FileProof,
    ReceiptProof,
    RunPlace,
    file_proofs,
    orders_document,
)
from fairgrid.protocol.certificate_check import check_certificate
from fairgrid.protocol.digest import Entry, tree_digest
from fairgrid.protocol.hexes import ZERO_ADDRESS, bytes32, to_hex
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.orders import DatasetOrder, Order
from fairgrid.protocol.results import cid_of_results
from fairgrid.protocol.runs import run_id
from fairgrid.protocol.typed_data import Domain, order_hash
from fairgrid.protocol.views import Deal, TaskStatus
from fairgrid.storage.client import StorageClient

__all__ = ["make_certificate"]

_SHOWN: Final = frozenset(
    ("TaskContribute", "TaskConsensus", "TaskReveal", "TaskFinalize", "RunFinalize", "FaultyContribution")
)
"""Events whose transactions a certificate shows."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """How the task ended: transactions, digest, where its archive lies (empty: nowhere), its place in a run."""

    transactions: tuple[str, ...]
    digest: str
    cid: str
    run: RunPlace | None = None


async def make_certificate(
    chain: Chain,
    rpc: JsonRpc,
    storage: StorageClient,
    deal_id: str,
    index: int,
    *,
    files: Sequence[str] | None = None,
    key: ResultKeys | None = None,
) -> Certificate:
    """The certificate of the task at ``index`` of a deal (counted as the chain does), checked before it is given.

    ``key`` is asked for the key of an encrypted result.
    ``files`` are the paths in its result to prove; None: all. A result that went to a callback has none.

    Raises:
        UsageError: there is no such deal or task, or it has no result (yet).
        VerificationError: the node or the storage gives what does not fit, or the result has no such file.
        ServiceUnavailable, ServiceRefused: the chain or the storage does not answer, or lacks something.
    """
    deal = await chain.view_deal(deal_id)
    if deal is None:
        raise UsageError(f"The hub {chain.hub} does not know deal {deal_id}. Is this the right network?")
    if not deal.bot_first <= index < deal.bot_first + deal.bot_size:
        last = deal.bot_first + deal.bot_size - 1
        raise UsageError(f"Deal {deal_id} has the tasks {deal.bot_first} to {last}, none with number {index}.")
    matched = await _match(rpc, chain.hub, deal_id, deal)
    ended = await _ended(chain, rpc, storage, deal_id, deal, index, matched.block_number)
    evidence = await gather_evidence(rpc, tuple(dict.fromkeys((matched.tx_hash, *ended.transactions))))
    orders = await matched_orders(rpc, matched.tx_hash)
    certificate = Certificate(
        fairgrid_certificate=1,
        chain_id=chain.chain_id,
        hub=chain.hub,
        deal_id=deal_id,
        bot_first=deal.bot_first,
        task_id=task_id(deal_id, index),
        index=index,
        digest=ended.digest,
        orders=orders_document(_fitting(orders, matched, Domain(chain.chain_id, chain.hub))),
        run=ended.run,
        files=await _files(storage, ended, files, deal_id, index, key),
        receipts=tuple(
            ReceiptProof(block=one.block, index=one.index, proof=tuple(to_hex(node) for node in one.proof))
            for one in evidence.receipts
        ),
        headers=tuple(to_hex(header) for header in evidence.headers),
    )
    check_certificate(certificate)
    return certificate


async def _match(rpc: JsonRpc, hub: str, deal_id: str, deal: Deal) -> ChainEvent:
    span = await span_of_second(rpc, deal.start_time)
    events = await read_logs(rpc, hub, [], *span) if span else []
    for event in events:
        if event.name == "OrdersMatched" and event.arguments["dealid"] == deal_id:
            return event
    raise UsageError(f"The node does not have the block in which deal {deal_id} was matched. Ask one that does.")


async def _ended(
    chain: Chain, rpc: JsonRpc, storage: StorageClient, deal_id: str, deal: Deal, index: int, since: int
) -> _Ended:
    task = task_id(deal_id, index)
    events = await _events(rpc, chain.hub, task, since, "TaskFinalize")
    if any(event.name == "TaskFinalize" for event in events):
        view = await chain.view_task(task)
        return _Ended(_transactions(events), view.result_digest, cid_of_results(view.results) or "")
    run = await _settled_run(chain, rpc, deal_id, index, since)
    if run is None:
        view = await chain.view_task(task)
        state = "failed" if view.status is TaskStatus.FAILED else "not finished yet"
        raise UsageError(f"Task {task} has no result: it is {state}.")
    results = await fetch_run_results(chain, storage, run, callback=deal.callback != ZERO_ADDRESS)
    events = await _events(rpc, chain.hub, run.run_id, since, "RunFinalize")
    place = RunPlace(first=run.first, count=run.count, proof=results.proof(index))
    return _Ended(_transactions(events), results.task(index).digest, results.task(index).cid, place)


async def _events(rpc: JsonRpc, hub: str, subject: str, since: int, last: str) -> list[ChainEvent]:
    """What concerns a task or a run, up to the block in which ``last`` is emitted."""
    return await read_logs(rpc, hub, [None, subject], since, until=last)


async def _settled_run(chain: Chain, rpc: JsonRpc, deal_id: str, index: int, since: int) -> SettledRun | None:
    """The finalized run that holds the task, by the hub's events alone."""
    opened = await read_logs(rpc, chain.hub, [None, None, deal_id], since)
    ranges = [(one.arguments["first"], one.arguments["count"]) for one in opened if one.name == "RunOpen"]
    for first, count in ranges:
        while first <= index < first + count:
            run = run_id(deal_id, first, count)
            events = await read_logs(rpc, chain.hub, [None, run], since)
            end = next((one for one in events if one.name == "RunFinalize"), None)
            if end is not None:
                told = end.arguments
                return SettledRun(run, first, count, told["root"], told["results"], tuple(told["workers"]))
            split = next((one for one in events if one.name == "RunSplit"), None)
            if split is None:
                break
            left = (await chain.view_run(split.arguments["leftid"])).count
            first, count = (first, left) if index < first + left else (first + left, count - left)
    return None


def _transactions(events: Sequence[ChainEvent]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(event.tx_hash for event in events if event.name in _SHOWN))


def _fitting(orders: Sequence[Order], matched: ChainEvent, domain: Domain) -> list[Order]:
    """The orders that the match's event names; a deal without a data set has no order for one."""
    names = {"app": "appHash", "dataset": "datasetHash", "workerpool": "workerpoolHash", "request": "requestHash"}
    return [
        order
        for order in orders
        if not (isinstance(order, DatasetOrder) and order.dataset == ZERO_ADDRESS)
        and bytes32(order_hash(order, domain)) == bytes32(matched.arguments[names[order.KIND]])
    ]


async def _files(
    storage: StorageClient,
    ended: _Ended,
    files: Sequence[str] | None,
    deal_id: str,
    index: int,
    key: ResultKeys | None,
) -> tuple[FileProof, ...]:
    if files is not None and not files:
        return ()
    if not ended.cid:
        if files:
            raise UsageError("The task's result went to the deal's callback: it has no files to prove.")
        return ()
    entries = await _entries(storage, ended, deal_id, index, key)
    return file_proofs(entries, files if files is not None else [entry.path for entry in entries])


async def _entries(
    storage: StorageClient, ended: _Ended, deal_id: str, index: int, key: ResultKeys | None
) -> tuple[Entry, ...]:
    with tempfile.TemporaryDirectory(prefix="fairgrid-certificate-") as scratch:
        archive = Path(scratch) / "result.zip"
        await storage.fetch(ended.cid, archive, max_bytes=MAX_RESULT_BYTES)
        archive = await opened(archive, deal_id, index, key)
        entries = await asyncio.to_thread(archive_entries, archive)
    if tree_digest(entries) != ended.digest:
        raise VerificationError(
            f"The result in storage is not what the workers agreed on: its digest is {tree_digest(entries)}, the "
            f"chain says {ended.digest}. Keep deal and CID {ended.cid} as evidence against the pool."
        )
    return entries
