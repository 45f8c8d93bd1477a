"""Which network a worker trusts: the given file, the one it pinned, or a pool's description that its owner accepts.

A pool is not trusted (decision 31). Its description of the network is used once, when the owner has seen hub, chain and
code hash and said yes; from then on the pinned file counts, and a pool that names another hub, chain or workerpool is
refused.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx

from fairgrid.chain.network import Network, check_network, load_network, network_of, save_network
from fairgrid.errors import ServiceUnavailable, UsageError

__all__ = ["Described", "described_by", "fetch_description", "find_network", "pin"]

_MAX_BYTES: Final = 65_536
_ANSWER_S: Final = 10.0
Described = list[tuple[str, str]]
"""Lines of name and value, in the order in which they are shown."""


def find_network(given: Path | None, pinned: Path, local: Path, *, pool: str | None) -> Network | None:
    """The network file that counts: ``given``; else the worker's ``pinned`` one; else the ``local`` network's, if
    ``pool`` is not another one's. None: nothing is known, ask the pool and the owner.

    Raises:
        UsageError: a file that counts cannot be read.
    """
    if given is not None:
        return load_network(given)
    here = load_network(local) if local.exists() else None
    if pinned.exists():
        kept = load_network(pinned)
        # A local network comes back on other ports; what is pinned is who it is.
        return here if here is not None and _identity(here) == _identity(kept) else kept
    return here if here is not None and (pool is None or _same(pool, here.pool)) else None


async def fetch_description(pool: str, *, transport: httpx.AsyncBaseTransport | None = None) -> Network:
    """What a pool says of its network; nothing of it is believed yet.

    Raises:
        ServiceUnavailable: it does not answer.
        UsageError: it answers with something else than a network's description.
    """
    url = pool.rstrip("/") + "/network"
    try:
        async with (
            httpx.AsyncClient(transport=transport, timeout=_ANSWER_S, follow_redirects=False) as client,
            client.stream("GET", url) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise UsageError(f"{url} answers with more than {_MAX_BYTES} bytes. It is no pool of Fairgrid.")
            status = response.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceUnavailable("pool", pool, str(error) or type(error).__name__) from error
    if status != 200:
        raise UsageError(
            f"{url} answers with status {status}: this pool does not describe its network. Get the network file from "
            f"its operator and give it with --network."
        )
    return _checked(bytes(body), url)


def described_by(network: Network, pool: str) -> Described:
    """What an owner has to see before trusting a network."""
    return [
        ("network", network.name),
        ("chain id", str(network.chain_id)),
        ("hub", network.hub),
        ("hub code hash", network.hub_code_hash),
        ("token", network.rlc),
        ("workerpool", network.pool_address),
        ("chain node", network.rpc),
        ("storage", network.storage),
        ("pool service", pool),
    ]


def pin(network: Network, path: Path, *, pool: str) -> Network:
    """Keep an accepted network as the worker's own file; ``pool`` is where the worker reaches the pool."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pinned = replace(network, pool=pool.rstrip("/"))
    save_network(pinned, path)
    return pinned


def _checked(body: bytes, url: str) -> Network:
    try:
        document: Any = json.loads(body)
        network = network_of(document)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(
            f"{url} is no description of a network. Get the network file from the pool's operator."
        ) from None
    try:
        check_network(network)
    except Exception as error:
        raise UsageError(f"{url} describes a network that cannot be: {error}.") from None
    return network


def _identity(network: Network) -> tuple[object, ...]:
    return network.chain_id, network.hub, network.hub_code_hash, network.pool_address


def _same(one: str, other: str) -> bool:
    def plain(url: str) -> str:
        return url.rstrip("/").replace("://localhost", "://127.0.0.1")

    return plain(one) == plain(other)
