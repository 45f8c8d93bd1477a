"""JSON-RPC over HTTP: keep-alive, time-outs, and one error for a node that does not answer."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from fairgrid.chain.answers import MAX_ANSWER_BYTES, has_shape
from fairgrid.errors import ServiceError, ServiceUnavailable
from fairgrid.seams.closing import Closing
from fairgrid.seams.http import one_line, parse_json

__all__ = ["Asked", "JsonRpc", "RpcError"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class RpcError(ServiceError):
    """The node answered with an error. ``data`` is what it says beside (a revert's data), or None."""

    def __init__(self, method: str, code: int, message: str, data: Any = None) -> None:
        self.method = method
        self.code = code
        self.message = message
        self.data = data
        super().__init__(f"The chain refuses {method}: {message} (code {code}).")


@dataclass(slots=True)
class Asked:
    """How often a node was asked something since the connection was opened."""

    requests: int = 0
    """HTTP requests, of one call or of many."""
    calls: Counter[str] = field(default_factory=Counter)
    """Calls by JSON-RPC method, those of batches each for itself: what providers of nodes count."""

    @property
    def reads(self) -> int:
        """All calls but those that send a transaction."""
        return self.calls.total() - self.calls["eth_sendRawTransaction"]


class JsonRpc(Closing):
    """A node's JSON-RPC endpoint; an async context manager."""

    def __init__(self, url: str, *, timeout_s: float = 20.0, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """``transport`` replaces the network, for tests."""
        self.url = url.rstrip("/")
        self.asked = Asked()
        local = urlsplit(self.url).hostname in _LOOPBACK
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 5.0)),
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=30.0),
            verify=self.url.startswith("https:"),
            trust_env=not local,  # a proxy of the environment cannot reach this machine's own chain
            transport=transport,
        )
        # The time-outs of the client begin anew with every byte: a node that drips would be waited for without end.
        self._patience_s = 3 * timeout_s
        self._ids = itertools.count(1)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def request(self, method: str, *parameters: Any) -> Any:
        """The result of one call.

        Raises:
            RpcError: the node answers with an error.
            ServiceUnavailable: it does not answer, not in time, or not in JSON-RPC.
        """
        return self._result(method, await self._post(self._body(method, parameters)))

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """The results of several calls in one request, in their order.

        Raises:
            RpcError: the node answers one of them with an error.
            ServiceUnavailable: as for `request`.
        """
        answers = await self.answers(calls)
        for answer in answers:
            if isinstance(answer, RpcError):
                raise answer
        return answers

    async def answers(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """As `batch`, but a call that the node refuses gives its `RpcError` in its place.

        Raises:
            ServiceUnavailable: as for `request`.
        """
        if not calls:
            return []
        bodies = [self._body(method, parameters) for method, parameters in calls]
        answers = await self._post(bodies)
        if not isinstance(answers, list):
            self._result("a batch", answers)
            raise ServiceUnavailable("chain", self.url, "it does not answer batches")
        by_id = {answer.get("id"): answer for answer in answers if isinstance(answer, dict)}
        results: list[Any] = []
        for (method, _), body in zip(calls, bodies, strict=True):
            try:
                results.append(self._result(method, by_id.get(body["id"])))
            except RpcError as error:
                results.append(error)
        return results

    def _body(self, method: str, parameters: Sequence[Any]) -> dict[str, Any]:
        self.asked.calls[method] += 1
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(parameters)}

    def _result(self, method: str, answer: Any) -> Any:
        if isinstance(answer, dict):
            error = answer.get("error")
            if isinstance(error, dict):
                code = error.get("code", 0)
                code = code if isinstance(code, int) else 0
                raise RpcError(method, code, one_line(str(error.get("message"))), error.get("data"))
            if "result" in answer:
                if not has_shape(method, answer["result"]):
                    raise ServiceUnavailable("chain", self.url, f"its answer to {method} is nonsense")
                return answer["result"]
        raise ServiceUnavailable("chain", self.url, f"its answer to {method} is not JSON-RPC")

    async def _post(self, body: Any) -> Any:
        try:
            async with asyncio.timeout(self._patience_s):
                status, text = await self._send(body)
        except (TimeoutError, httpx.TimeoutException):
            raise ServiceUnavailable("chain", self.url, "no answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise ServiceUnavailable("chain", self.url, str(error) or type(error).__name__) from error
        try:
            # Not the standard library's: nesting that is deep enough ends the process there.
            return parse_json(text)
        except ValueError:
            raise ServiceUnavailable("chain", self.url, f"HTTP status {status}, no JSON") from None

    async def _send(self, body: Any) -> tuple[int, bytes]:
        try:
            return await self._answered(body)
        except (httpx.RemoteProtocolError, httpx.ReadError):
            # A kept connection that the node had closed. Every call here may be sent twice, transactions too.
            return await self._answered(body)

    async def _answered(self, body: Any) -> tuple[int, bytes]:
        self.asked.requests += 1
        answer = bytearray()
        async with self._client.stream("POST", self.url, json=body) as response:
            async for piece in response.aiter_bytes():
                answer += piece
                if len(answer) > MAX_ANSWER_BYTES:
                    raise ServiceUnavailable(
                        "chain", self.url, f"its answer has more than {MAX_ANSWER_BYTES >> 20} MiB"
                    )
        return response.status_code, bytes(answer)
