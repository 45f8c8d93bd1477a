"""`fairgrid verify`: check a certificate, against block hashes that one trusts, or against a node."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from fairgrid.chain.network import Network, load_network
from fairgrid.cli.output import emit_json, run_async
from fairgrid.cli.shared_options import JsonOption
from fairgrid.errors import UsageError, VerificationError
from fairgrid.protocol.certificate import MAX_CERTIFICATE_BYTES, Certificate, parse_certificate
from fairgrid.protocol.certificate_check import Proven, check_certificate
from fairgrid.protocol.digest import Entry, file_sha256
from fairgrid.protocol.hexes import hex32, to_hex
from fairgrid.protocol.terminal import sanitise_terminal

__all__ = ["app"]

app = typer.Typer(add_completion=False)
_BY_HASH = "the block hash that you gave"


@dataclass(frozen=True, slots=True)
class _Anchor:
    """Why the blocks of a certificate are believed; ``hub_known`` if the network file names its hub and its code."""

    why: str
    hub_known: bool = False
    confirmations: int | None = None


@app.command("verify")
def verify(
    certificate: Annotated[Path, typer.Argument(help="The certificate, a JSON file.")],
    result: Annotated[
        Path | None,
        typer.Option("--result", help="A file, or a folder of files: are they what the certificate speaks of?"),
    ] = None,
    rpc: Annotated[
        str | None, typer.Option("--rpc", metavar="URL", help="Ask this node for the blocks' hashes.")
    ] = None,
    network: Annotated[
        Path | None,
        typer.Option(
            "--network",
            metavar="NETWORK",
            help="Ask the node of this network (name, file or folder), and see that the hub is the one that it names, "
            "with its code.",
        ),
    ] = None,
    block_hashes: Annotated[
        list[str] | None,
        typer.Option("--block-hash", help="A block's hash that you trust: checks offline; may be given again."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a certificate: what is proven, by whom, and on what it rests. No account, and with a hash no network.

    Example: `fairgrid verify total.certificate.json --result total.txt --rpc https://node.example`
    """
    _hash_lightly()
    started = time.perf_counter()
    document = _read(certificate)
    try:
        proven = check_certificate(document)
        matched = () if result is None else _match_result(proven, result)
    except VerificationError as error:
        raise VerificationError(f"{certificate} proves nothing: {error}") from error
    checked_ms = (time.perf_counter() - started) * 1000
    anchor = _anchor(proven, rpc, network, block_hashes or ())
    if as_json:
        emit_json(_document(proven, matched, anchor, checked_ms))
    else:
        typer.echo(sanitise_terminal(_sentence(proven, matched, anchor)))
    if anchor is None and as_json:
        raise typer.Exit(UsageError.exit_code)
    if anchor is None:
        loose = ", ".join(f"{header.number} ({header.hash})" for header in proven.rests_on)
        raise UsageError(
            f"The certificate is sound in itself, but nothing says yet that its block {loose} is of chain "
            f"{proven.chain_id}. Give --block-hash from a source that you trust, or --rpc, or --network."
        )


def _hash_lightly() -> None:
    """Let the library of tries hash with what is loaded already: its own choice takes longer than the check."""
    if "sha3" in sys.modules:
        os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")


def _read(path: Path) -> Certificate:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_CERTIFICATE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}). Name a certificate.") from error
    try:
        return parse_certificate(data)
    except VerificationError as error:
        raise VerificationError(f"{path}: {error}") from error


def _match_result(proven: Proven, result: Path) -> tuple[Entry, ...]:
    """The files of the certificate that are in ``result``, all of them if it is a folder."""
    if not proven.files:
        raise VerificationError("It speaks of no file of the result. Make it again without --file, or leave --result.")
    if result.is_dir():
        for entry in proven.files:
            _compare(entry, result / entry.path)
        return proven.files
    candidates = [entry for entry in proven.files if Path(entry.path).name == result.name] or list(proven.files)
    try:
        found = file_sha256(result)
    except OSError as error:
        raise UsageError(f"{result} cannot be read ({error.strerror}).") from error
    same = tuple(entry for entry in proven.files if (entry.size, entry.sha256) == found)
    if same:
        return same
    wanted = candidates[0]
    raise VerificationError(
        f"{result} ({found[0]} bytes, SHA-256 {to_hex(found[1])}) is none of the certificate's files; {wanted.path} "
        f"has {wanted.size} bytes and SHA-256 {to_hex(wanted.sha256)}."
    )


def _compare(entry: Entry, path: Path) -> None:
    if path.is_symlink() or not path.is_file():
        raise VerificationError(f"The result's file {entry.path} is not in the folder.")
    if file_sha256(path) != (entry.size, entry.sha256):
        raise VerificationError(f"{path} is not the file {entry.path} of the result: it was changed.")


def _anchor(proven: Proven, rpc: str | None, network: Path | None, hashes: Sequence[str]) -> _Anchor | None:
    """Why the blocks are believed; None if nothing was given to believe.

    Raises:
        VerificationError: a block is not one of those given, or not of the node's chain.
    """
    if hashes:
        given = {hex32(one) for one in hashes}
        if given.isdisjoint(header.hash for header in proven.rests_on):
            raise VerificationError(
                f"The certificate rests on block {proven.rests_on[0].number} with hash {proven.rests_on[0].hash}, and "
                f"that is none of the hashes that you gave: it is of another chain, or the chain went another way."
            )
        missing = [header for header in proven.rests_on if header.hash not in given]
        if missing and rpc is None and network is None:
            raise UsageError(
                "The certificate rests on more blocks: give --block-hash for "
                + ", ".join(f"block {header.number} ({header.hash})" for header in missing)
                + " too, or --rpc."
            )
        if not missing and rpc is None and network is None:
            return _Anchor(_BY_HASH)
    if rpc is None and network is None:
        return None
    pinned = load_network(network) if network is not None else None
    return run_async(lambda: _ask_node(proven, rpc, pinned))


async def _ask_node(proven: Proven, rpc: str | None, pinned: Network | None) -> _Anchor:
    if pinned is not None and (pinned.chain_id, pinned.hub) != (proven.chain_id, proven.hub):
        raise VerificationError(
            f"The certificate is of hub {proven.hub} on chain {proven.chain_id}, the network {pinned.name} has hub "
            f"{pinned.hub} on chain {pinned.chain_id}."
        )
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.rpc import JsonRpc

    if pinned is not None:
        async with await JsonRpcChain.connect(pinned):
            pass
    url = rpc or (pinned.rpc if pinned is not None else "")
    async with JsonRpc(url) as node:
        chain_id = int(await node.request("eth_chainId"), 16)
        if chain_id != proven.chain_id:
            raise VerificationError(
                f"The certificate is of chain {proven.chain_id}, the node at {url} of chain {chain_id}."
            )
        head = int(await node.request("eth_blockNumber"), 16)
        for header in proven.rests_on:
            block = await node.request("eth_getBlockByNumber", hex(header.number), False)
            if not isinstance(block, dict) or block.get("hash") != header.hash:
                found = block.get("hash") if isinstance(block, dict) else "none"
                raise VerificationError(
                    f"Block {header.number} of the node's chain has the hash {found}, the certificate says "
                    f"{header.hash}: it is of another chain, or of a part of it that was reorganised away."
                )
    return _Anchor(f"the node at {url}", pinned is not None, head - proven.rests_on[0].number)


def _sentence(proven: Proven, matched: Sequence[Entry], anchor: _Anchor | None) -> str:
    verdict = "PROVEN" if anchor is not None else "SOUND, NOT YET PROVEN"
    moment = datetime.fromtimestamp(proven.finalized_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    tip = proven.rests_on[0]
    request = proven.request
    outcome = (
        f"{verdict}: {len(proven.agreed)} worker(s) ({', '.join(proven.agreed)}) agreed on the result with digest "
        f"{proven.digest} of task {proven.task_id}, and the hub {proven.hub} on chain {proven.chain_id} settled it at "
        f"{moment}."
    )
    told = [outcome]
    if proven.faulty:
        told.append(
            f"{len(proven.faulty)} worker(s) answered otherwise and lost their stake: {', '.join(proven.faulty)}."
        )
    if request is not None:
        by = proven.signed.get("request")
        signature = f"signed by {by}" if by else f"of {request.requester} (approved on chain)"
        told.append(f"The request is {signature}, app {request.app}, trust asked {request.trust}.")
    if matched:
        told.append(f"Yours is of that result: {', '.join(entry.path for entry in matched)}.")
    elif proven.files:
        told.append(f"Files of that result: {', '.join(entry.path for entry in proven.files)}.")
    rests = f"It rests on block {tip.number} ({tip.hash})"
    if anchor is not None:
        deep = f", {anchor.confirmations} block(s) deep" if anchor.confirmations is not None else ""
        rests += f", confirmed by {anchor.why}{deep}"
        rests += "." if anchor.hub_known else f", and on the hub {proven.hub} being one that you trust."
    else:
        rests += "."
    return "\n".join([*told, rests])


def _document(proven: Proven, matched: Sequence[Entry], anchor: _Anchor | None, checked_ms: float) -> dict[str, Any]:
    return {
        "status": "proven" if anchor is not None else "sound",
        "chainId": proven.chain_id,
        "hub": proven.hub,
        "hubKnown": anchor is not None and anchor.hub_known,
        "dealId": proven.deal_id,
        "taskId": proven.task_id,
        "runId": proven.run_id or None,
        "index": proven.index,
        "digest": proven.digest,
        "agreed": list(proven.agreed),
        "faulty": list(proven.faulty),
        "finalizedAt": proven.finalized_at,
        "signed": dict(proven.signed),
        "trust": proven.request.trust if proven.request is not None else None,
        "files": [{"path": entry.path, "size": entry.size, "sha256": to_hex(entry.sha256)} for entry in proven.files],
        "matched": [entry.path for entry in matched],
        "restsOn": [{"block": header.number, "hash": header.hash} for header in proven.rests_on],
        "confirmedBy": anchor.why if anchor is not None else None,
        "confirmations": anchor.confirmations if anchor is not None else None,
        "checkedMs": round(checked_ms, 3),
        "sentence": _sentence(proven, matched, anchor),
        "exitCode": 0 if anchor is not None else UsageError.exit_code,
    }
