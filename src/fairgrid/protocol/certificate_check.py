"""What a certificate proves: everything in it is recomputed, from the files of the result up to the hashes of blocks.

What is left to trust is named: the hashes of the blocks (`Proven.rests_on`), and that the hub at that address is an
honest one. Who knows both needs nobody's word, not even that of who made the certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from fairgrid.errors import OrderError, VerificationError
from fairgrid.protocol.certificate import Certificate
from fairgrid.protocol.digest import Entry, proof_holds
from fairgrid.protocol.hexes import ZERO_ADDRESS, bytes32, checksum, from_hex, hex32, keccak, to_hex, to_hex32
from fairgrid.protocol.ids import deal_id, result_hash, task_id
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.receipt_proofs import Header, Log, read_header, read_receipt
from fairgrid.protocol.runs import run_digest, run_id, task_proof_holds
from fairgrid.protocol.seals import recover_address
from fairgrid.protocol.typed_data import Domain, order_hash

__all__ = ["Proven", "check_certificate"]


def _topic(signature: str) -> bytes:
    return keccak(signature.encode())


_MATCHED: Final = _topic("OrdersMatched(bytes32,bytes32,bytes32,bytes32,bytes32,uint256)")
_CONTRIBUTE: Final = _topic("TaskContribute(bytes32,address,bytes32)")
_CONSENSUS: Final = _topic("TaskConsensus(bytes32,bytes32)")
_REVEAL: Final = _topic("TaskReveal(bytes32,address,bytes32)")
_FINALIZE: Final = _topic("TaskFinalize(bytes32,bytes)")
_FAULTY: Final = _topic("FaultyContribution(address,bytes32)")
_RUN_FINALIZE: Final = _topic("RunFinalize(bytes32,bytes32,uint256,bytes,address[])")
_ORDERS: Final[Mapping[str, type[Order]]] = {
    order.KIND: order for order in (AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder)
}


@dataclass(frozen=True, slots=True)
class Proven:
    """What follows from a certificate once the blocks in ``rests_on`` are known to be of the chain.

    ``signed`` names, for each order in it, the account whose signature it carries; None: it carries none that can be
    checked without the chain (presigned, or signed by a contract), and the hub's word that the orders matched stands.
    """

    chain_id: int
    hub: str
    deal_id: str
    task_id: str
    index: int
    volume: int
    digest: str
    results: bytes
    agreed: tuple[str, ...]
    faulty: tuple[str, ...]
    finalized_at: int
    """Chain time in seconds."""
    orders: tuple[Order, ...]
    signed: Mapping[str, str | None]
    files: tuple[Entry, ...]
    rests_on: tuple[Header, ...]
    """The newest first; older ones that are linked to a newer one by headers between are not named."""
    run_id: str = ""
    """The run that settled the task; empty for a task of its own."""

    @property
    def request(self) -> RequestOrder | None:
        """The request, if the certificate has it."""
        return next((order for order in self.orders if isinstance(order, RequestOrder)), None)


def check_certificate(certificate: Certificate) -> Proven:
    """Recompute everything.

    Raises:
        VerificationError: something in it does not follow; the message says what.
    """
    try:
        return _check(certificate)
    except OrderError as error:
        raise VerificationError(f"The certificate has a value of the wrong form: {error}") from error


def _check(certificate: Certificate) -> Proven:
    task, digest = hex32(certificate.task_id), hex32(certificate.digest)
    if task_id(certificate.deal_id, certificate.index) != task:
        raise VerificationError(f"Task {task} is not number {certificate.index} of deal {certificate.deal_id}.")
    headers = _headers(certificate)
    events = _Events(certificate, headers)
    volume, hashes = _match(certificate, events)
    orders, signed = _orders(certificate, hashes)
    outcome = _run_outcome(certificate, events) if certificate.run else _task_outcome(certificate, events)
    return Proven(
        chain_id=certificate.chain_id,
        hub=checksum(certificate.hub),
        deal_id=hex32(certificate.deal_id),
        task_id=task,
        index=certificate.index,
        volume=volume,
        digest=digest,
        results=outcome.results,
        agreed=outcome.agreed,
        faulty=outcome.faulty,
        finalized_at=headers[outcome.block].timestamp,
        orders=orders,
        signed=signed,
        files=_files(certificate, digest),
        rests_on=_loose_ends(headers, {receipt.block for receipt in certificate.receipts}),
        run_id=outcome.run_id,
    )


@dataclass(frozen=True, slots=True)
class _Event:
    block: int
    log: Log

    def word(self, position: int) -> str:
        return to_hex32(self.log.topics[position])

    def account(self, position: int) -> str:
        return checksum(to_hex(self.log.topics[position][12:]))

    def data(self, *types: str) -> tuple[object, ...]:
        try:
            return tuple(decode(types, self.log.data))
        except (DecodingError, OverflowError, ValueError) as error:
            raise VerificationError(f"An event of the hub in block {self.block} cannot be read: {error}.") from error


class _Events:
    """The hub's events in the certificate's receipts, in the order of the chain."""

    def __init__(self, certificate: Certificate, headers: Mapping[int, Header]) -> None:
        hub = checksum(certificate.hub)
        self._events: list[_Event] = []
        for receipt in sorted(certificate.receipts, key=lambda one: (one.block, one.index)):
            header = headers.get(receipt.block)
            if header is None:
                raise VerificationError(f"The header of block {receipt.block} is not in the certificate.")
            proven = read_receipt(header, receipt.index, [from_hex(node) for node in receipt.proof])
            if proven.succeeded:
                self._events += [_Event(receipt.block, log) for log in proven.logs if log.address == hub and log.topics]

    def of(self, topic: bytes, subject: str, *, position: int = 1) -> Iterator[_Event]:
        """Events of one kind whose indexed argument at ``position`` (from 1) is ``subject``."""
        for event in self._events:
            topics = event.log.topics
            if topics[0] == topic and len(topics) > position and to_hex32(topics[position]) == subject:
                yield event

    def only(self, topic: bytes, subject: str, what: str) -> _Event:
        """The one such event."""
        found = list(self.of(topic, subject))
        if len(found) != 1:
            raise VerificationError(f"No receipt in the certificate shows that {what}.")
        return found[0]

    def matching(self, accept: Callable[[tuple[object, ...]], bool]) -> tuple[object, ...]:
        """The values of the match of a deal."""
        for event in self._events:
            if event.log.topics[0] == _MATCHED:
                values = event.data("bytes32", "bytes32", "bytes32", "bytes32", "bytes32", "uint256")
                if accept(values):
                    return values
        raise VerificationError("No receipt in the certificate shows that the deal was matched.")


@dataclass(frozen=True, slots=True)
class _Outcome:
    block: int
    results: bytes
    agreed: tuple[str, ...]
    faulty: tuple[str, ...]
    run_id: str = ""


def _headers(certificate: Certificate) -> dict[int, Header]:
    headers = [read_header(from_hex(raw)) for raw in certificate.headers]
    return {header.number: header for header in headers}


def _match(certificate: Certificate, events: _Events) -> tuple[int, dict[str, str]]:
    """How many tasks the deal has, and the hashes of its orders by kind."""
    deal = bytes32(certificate.deal_id)
    _, app, dataset, workerpool, request, volume = events.matching(lambda values: values[0] == deal)
    assert isinstance(volume, int)
    pairs = (("app", app), ("dataset", dataset), ("workerpool", workerpool), ("request", request))
    hashes = {kind: to_hex32(value) for kind, value in pairs if isinstance(value, bytes)}
    if deal_id(hashes["request"], certificate.bot_first) != hex32(certificate.deal_id):
        raise VerificationError("The deal's id does not follow from its request.")
    if not certificate.bot_first <= certificate.index < certificate.bot_first + volume:
        raise VerificationError(f"The deal has {volume} tasks, none of them number {certificate.index}.")
    return volume, hashes


def _orders(certificate: Certificate, hashes: Mapping[str, str]) -> tuple[tuple[Order, ...], dict[str, str | None]]:
    domain = Domain(certificate.chain_id, certificate.hub)
    orders: list[Order] = []
    signed: dict[str, str | None] = {}
    for kind, document in certificate.orders.items():
        if kind not in _ORDERS:
            raise VerificationError(f"There are no orders of kind {kind!r}.")
        order = _ORDERS[kind].from_wire(document)
        found = order_hash(order, domain)
        if found != hashes[kind]:
            raise VerificationError(f"The {kind} order is not the one that was matched: its hash is {found}.")
        signer = recover_address(bytes32(found), order.sign)
        if isinstance(order, RequestOrder) and signer != order.requester:
            signer = ZERO_ADDRESS
        orders.append(order)
        signed[kind] = None if signer == ZERO_ADDRESS else signer
    return tuple(orders), signed


def _task_outcome(certificate: Certificate, events: _Events) -> _Outcome:
    task, digest = hex32(certificate.task_id), hex32(certificate.digest)
    end = events.only(_FINALIZE, task, "the task was finalized")
    (results,) = end.data("bytes")
    consensus = [event.data("bytes32")[0] for event in events.of(_CONSENSUS, task)]
    if not consensus or consensus[-1] != bytes32(result_hash(task, digest)):
        raise VerificationError("The workers' consensus, as the certificate shows it, is on another digest.")
    agreed = _accounts(
        event.account(2) for event in events.of(_REVEAL, task) if event.data("bytes32")[0] == bytes32(digest)
    )
    if not agreed:
        raise VerificationError("No receipt in the certificate shows a worker that revealed the digest.")
    contributed = {event.account(2) for event in events.of(_CONTRIBUTE, task)}
    if not contributed >= set(agreed):
        raise VerificationError("A worker revealed the digest whose contribution is not in the certificate.")
    faulty = _accounts(event.account(1) for event in events.of(_FAULTY, task, position=2))
    assert isinstance(results, bytes)
    return _Outcome(end.block, results, agreed, faulty)


def _run_outcome(certificate: Certificate, events: _Events) -> _Outcome:
    place = certificate.run
    assert place is not None
    run = run_id(certificate.deal_id, place.first, place.count)
    end = events.only(_RUN_FINALIZE, run, "the task's run was finalized")
    root, count, results, workers = end.data("bytes32", "uint256", "bytes", "address[]")
    assert isinstance(root, bytes) and isinstance(results, bytes) and isinstance(workers, tuple)
    if count != place.count:
        raise VerificationError(f"The run has {count} tasks, the certificate says {place.count}.")
    position = certificate.index - place.first
    if not task_proof_holds(hex32(certificate.digest), position, place.count, place.proof, to_hex32(root)):
        raise VerificationError("The task's digest is not under the root that the run's workers agreed on.")
    consensus = [event.data("bytes32")[0] for event in events.of(_CONSENSUS, run)]
    if consensus and consensus[-1] != bytes32(result_hash(run, run_digest(to_hex32(root), results))):
        raise VerificationError("The workers' consensus on the run, as the certificate shows it, is on another root.")
    faulty = _accounts(event.account(1) for event in events.of(_FAULTY, run, position=2))
    return _Outcome(end.block, results, _accounts(checksum(worker) for worker in workers), faulty, run)


def _accounts(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found))


def _files(certificate: Certificate, digest: str) -> tuple[Entry, ...]:
    entries = []
    for file in certificate.files:
        entry = Entry(file.path, file.size, bytes32(file.sha256))
        try:
            holds = file.size >= 0 and proof_holds(entry, file.siblings(), digest)
        except OverflowError:
            holds = False
        if not holds:
            raise VerificationError(f"The file {file.path!r} is not part of the result with digest {digest}.")
        entries.append(entry)
    return tuple(entries)


def _loose_ends(headers: Mapping[int, Header], needed: set[int]) -> tuple[Header, ...]:
    """The blocks whose hashes must be known, newest first: all needed ones but those that a newer one leads back to."""
    ends: list[Header] = []
    for number in sorted(needed, reverse=True):
        header = headers[number]
        if not (ends and _leads_back(headers, ends[-1], header)):
            ends.append(header)
    return tuple(ends)


def _leads_back(headers: Mapping[int, Header], newer: Header, older: Header) -> bool:
    at = newer
    while at.number > older.number:
        before = headers.get(at.number - 1)
        if before is None or before.hash != at.parent:
            return False
        at = before
    return at.hash == older.hash
