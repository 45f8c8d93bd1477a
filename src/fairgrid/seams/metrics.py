"""What every service measures of its own HTTP rim, and ``/metrics``, where Prometheus reads it.

Who may read: a program on the same machine, and whoever knows the token in ``FAIRGRID_METRICS_TOKEN``. The figures name
nobody, but they tell a competitor what a pool earns, and a proxy that publishes the service must not publish them too.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector

from fairgrid import __version__
from fairgrid.errors import UsageError
from fairgrid.seams import tracing

__all__ = ["METRICS_PATH", "Metered", "MetricsPage", "is_loopback", "metrics_token", "new_registry"]

METRICS_PATH: Final = "/metrics"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_TOKEN_VARIABLE: Final = "FAIRGRID_METRICS_TOKEN"
_SHORTEST_TOKEN: Final = 16
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_FORWARDED: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def new_registry(service: str) -> CollectorRegistry:
    """The registry of one process: what is running, and what the process takes of the machine."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = Info("fairgrid_build", "The service that this process is, and its release.", registry=registry)
    build.info({"service": service, "version": __version__})
    return registry


def metrics_token() -> str:
    """The token of ``FAIRGRID_METRICS_TOKEN``; empty when there is none.

    Raises:
        UsageError: it is shorter than 16 characters, or no plain text.
    """
    token = os.environ.get(_TOKEN_VARIABLE, "")
    if token and (len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise UsageError(
            f"{_TOKEN_VARIABLE} must be at least {_SHORTEST_TOKEN} printable ASCII characters without blanks. "
            f'Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    return token


class MetricsPage:
    """``/metrics`` of a registry, for those who may read it (ASGI)."""

    def __init__(self, registry: CollectorRegistry, *, token: str = "") -> None:
        """``token`` empty: programs on this machine only."""
        self._registry = registry
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, whatever its path."""
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = dict(scope.get("headers", ()))
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, b"Ask with GET.\n")
        elif not self._may_read(scope, headers):
            text = (
                f"Metrics are told to programs on this machine, and to who sends 'Authorization: Bearer TOKEN' with "
                f"the token that the operator set in {_TOKEN_VARIABLE}.\n"
            )
            await _answer(send, 401 if self._token else 403, text.encode())
        else:
            encoder, content_type = choose_encoder(headers.get(b"accept", b"").decode("latin-1"))
            body = encoder(self._registry) if scope["method"] == "GET" else b""
            await _answer(send, 200, body, content_type)

    def _may_read(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        if self._token:
            given = headers.get(b"authorization", b"")
            return hmac.compare_digest(given, b"Bearer " + self._token)
        # A proxy on this machine speaks for somebody else, and a web page's script under a name of its own.
        if _FORWARDED & headers.keys():
            return False
        client = scope.get("client")
        return client is not None and is_loopback(client[0]) and _is_local_name(headers.get(b"host", b""))


class Metered:
    """An ASGI application with figures of its requests, and `MetricsPage` at ``/metrics``.

    The labels are few, whoever asks for whatever: a request counts under the name of the function that answered it.
    """

    def __init__(self, application: Any, registry: CollectorRegistry, *, token: str = "") -> None:
        self._application = application
        self._page = MetricsPage(registry, token=token)
        self._requests = Counter(
            "fairgrid_http_requests",
            "Answered requests, by the handler that answered ('none': there was nothing there).",
            ("handler", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "fairgrid_http_request_seconds",
            "Time from a request to the end of its answer.",
            ("handler",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._received = Counter("fairgrid_http_received_bytes", "Bytes of requests' bodies.", registry=registry)
        self._sent = Counter("fairgrid_http_sent_bytes", "Bytes of answers' bodies.", registry=registry)
        self._in_progress = Gauge(
            "fairgrid_http_requests_in_progress", "Requests that are not answered yet.", registry=registry
        )
        self._websockets = Gauge("fairgrid_websockets", "Websockets that are open.", registry=registry)

    @property
    def application(self) -> Any:
        """What is measured."""
        return self._application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            with self._websockets.track_inprogress():
                await self._application(scope, receive, send)
        elif scope["type"] != "http":
            await self._application(scope, receive, send)
        elif scope["path"] == METRICS_PATH:
            await self._page(scope, receive, send)
        else:
            await self._measured(scope, receive, send)

    async def _measured(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = "none"

        async def receive_counted() -> Message:
            message = await receive()
            self._received.inc(len(message.get("body", b"")))
            return message

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            self._sent.inc(len(message.get("body", b"")))
            await send(message)

        began = time.perf_counter()
        try:
            with self._in_progress.track_inprogress(), tracing.served(scope["method"], dict(scope["headers"])) as told:
                await self._application(scope, receive_counted, send_counted)
                told.set(handler=getattr(scope.get("endpoint"), "__name__", "none"), status=status)
        finally:
            handler = getattr(scope.get("endpoint"), "__name__", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._requests.labels(handler, method, status).inc()
            self._seconds.labels(handler).observe(time.perf_counter() - began)


def is_loopback(host: str) -> bool:
    """True for an address that only this machine reaches; a name is none."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_local_name(host: bytes) -> bool:
    name = host.decode("latin-1").rsplit("]", 1)[0].lstrip("[") if host.startswith(b"[") else host.decode("latin-1")
    if not host.startswith(b"["):
        name = name.partition(":")[0]
    return name in ("", "localhost") or is_loopback(name)


async def _answer(send: Send, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
