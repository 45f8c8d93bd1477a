"""Logs of a range of blocks, from nodes that give only some at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairgrid.chain.rpc import JsonRpc, RpcError
from fairgrid.errors import ServiceUnavailable

__all__ = ["read_logs"]


async def read_logs(rpc: JsonRpc, query: Mapping[str, Any], first: int, newest: int) -> list[dict[str, Any]]:
    """All logs of the blocks ``first`` to ``newest`` that ``query`` (``address``, ``topics``) asks for, oldest first.

    Raises:
        ServiceUnavailable: the node does not answer, or refuses even one block's.
    """
    found: list[dict[str, Any]] = []
    first = max(first, 0)
    count = newest - first + 1
    while first <= newest:
        last = min(first + count - 1, newest)
        try:
            logs = await rpc.request("eth_getLogs", {**query, "fromBlock": hex(first), "toBlock": hex(last)})
        except RpcError as error:
            if last == first:
                raise ServiceUnavailable("chain", rpc.url, f"it gives no logs ({error.message})") from error
            count = max((last - first + 1) // 2, 1)  # the node gives fewer at once
            continue
        found += logs
        first = last + 1
    return found
