"""Certificates: one JSON document a task, from which anybody can check what was agreed on, without asking anybody.

It holds the signed orders; the receipts of the transactions that made the deal and ended the task, with proofs under
the headers of their blocks; for files of the result their paths in its tree (`fairgrid.protocol.digest`), for a task of
a run the path to its root (`fairgrid.protocol.runs`). What follows from it: `fairgrid.protocol.certificate_check`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from fairgrid.errors import VerificationError
from fairgrid.protocol.digest import Entry, Sibling, merkle_proof
from fairgrid.protocol.hexes import to_hex
from fairgrid.protocol.orders import Order

__all__ = [
    "MAX_CERTIFICATE_BYTES",
    "Certificate",
    "FileProof",
    "ReceiptProof",
    "RunPlace",
    "file_proofs",
    "orders_document",
    "parse_certificate",
]

MAX_CERTIFICATE_BYTES: Final = 16 << 20
"""A certificate of a task of four workers has about 43 KB; more than this is not read."""


class _Document(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    pass


class ReceiptProof(_Document, frozen=True):
    """The receipt of the transaction at ``index`` of a block: the nodes from the root of its receipts, 0x-hex."""

    block: int
    index: int
    proof: tuple[str, ...]


class FileProof(_Document, frozen=True):
    """One file of the result. ``proof``: pairs of "left" or "right" (where the sibling stands) and the sibling."""

    path: str
    size: int
    sha256: str
    proof: tuple[tuple[Literal["left", "right"], str], ...]

    def siblings(self) -> tuple[Sibling, ...]:
        """The proof, for `fairgrid.protocol.digest.proof_holds`."""
        return tuple(Sibling(is_left=side == "left", node=node) for side, node in self.proof)


class RunPlace(_Document, frozen=True):
    """The run that settled the task, and the proof that leads from the task's digest to the run's root."""

    first: int
    count: int
    proof: tuple[str, ...]


class Certificate(_Document, frozen=True):
    """The document. ``headers`` are RLP in 0x-hex, of rising blocks; ``orders`` are as the market has them, by kind."""

    fairgrid_certificate: Literal[1]
    chain_id: int
    hub: str
    deal_id: str
    bot_first: int
    task_id: str
    index: int
    digest: str
    orders: dict[str, dict[str, Any]]
    run: RunPlace | None
    files: tuple[FileProof, ...]
    receipts: tuple[ReceiptProof, ...]
    headers: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """The JSON text, one member a line."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def parse_certificate(data: bytes) -> Certificate:
    """The certificate in JSON text; nothing of it is checked but its form.

    Raises:
        VerificationError: it has another form.
    """
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise VerificationError(f"It has {len(data)} bytes; a certificate has at most {MAX_CERTIFICATE_BYTES}.")
    try:
        return msgspec.json.decode(data, type=Certificate)
    except (msgspec.DecodeError, RecursionError) as error:
        raise VerificationError(f"It is no certificate: {error}.") from error


def file_proofs(entries: Sequence[Entry], paths: Sequence[str]) -> tuple[FileProof, ...]:
    """Proofs of some files of a result.

    Raises:
        VerificationError: the result has no such file.
    """
    by_path = {entry.path: entry for entry in entries}
    proofs = []
    for path in paths:
        siblings = merkle_proof(entries, path)
        entry = by_path[path]
        steps: tuple[tuple[Literal["left", "right"], str], ...] = tuple(
            ("left" if sibling.is_left else "right", sibling.node) for sibling in siblings
        )
        proofs.append(FileProof(path=path, size=entry.size, sha256=to_hex(entry.sha256), proof=steps))
    return tuple(proofs)


def orders_document(orders: Sequence[Order]) -> dict[str, dict[str, Any]]:
    """Orders by their kind, as a certificate has them."""
    return {order.KIND: order.to_wire() for order in orders}
