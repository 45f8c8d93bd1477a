"""What the typed HTTP clients of the services share: retries with growing pauses, and answers that stay short."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
from pydantic_core import from_json

from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.seams import tracing
from fairgrid.seams.clock import Clock

__all__ = ["TRANSIENT_STATUS", "Interrupted", "one_line", "open_http", "parse_json", "retried", "start_of"]

#: Statuses of a service (or of a proxy before it) that answers but cannot serve just now.
TRANSIENT_STATUS = frozenset({502, 503, 504})

_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.2
_Answer = TypeVar("_Answer")


class Interrupted(Exception):
    """A service answers, but cannot serve just now: worth another try."""


def open_http(*, transport: httpx.AsyncBaseTransport | None = None, read_timeout_s: float = 30) -> httpx.AsyncClient:
    """An HTTP client that follows no redirect, asks for no compression and takes no proxy from the environment."""

    async def add_trace(request: httpx.Request) -> None:
        if tracing.active():
            tracing.carry(request.headers)

    return httpx.AsyncClient(
        event_hooks={"request": [add_trace]},
        transport=transport,
        timeout=httpx.Timeout(read_timeout_s, connect=5),
        headers={"accept-encoding": "identity"},
        follow_redirects=False,
        trust_env=False,
    )


async def retried(
    attempt: Callable[[], Awaitable[_Answer]],
    *,
    service: str,
    url: str,
    clock: Clock,
    lost: tuple[type[Exception], ...] = (httpx.TransportError, Interrupted),
) -> _Answer:
    """The answer of ``attempt``, which is called up to four times while it raises one of ``lost``.

    Raises:
        ServiceUnavailable: it was lost every time, or in a way that must not be tried again.
        UsageError: ``url`` cannot be the address of a service.
    """
    pause_s = _FIRST_PAUSE_S
    for remaining in reversed(range(_ATTEMPTS)):
        try:
            return await attempt()
        except (httpx.TransportError, Interrupted) as error:
            if not remaining or not isinstance(error, lost):
                raise ServiceUnavailable(service, url, str(error) or type(error).__name__) from error
        except httpx.TooManyRedirects as error:
            raise ServiceUnavailable(service, url, "it redirects too often") from error
        except httpx.InvalidURL as error:
            raise UsageError(f"{url} is not the address of a {service} service ({error}).") from error
        await clock.sleep(pause_s)
        pause_s *= 2
    raise AssertionError("the last attempt returns or raises")


async def start_of(response: httpx.Response, *, limit: int = 64 * 1024) -> bytes:
    """At most ``limit`` bytes of a streamed answer that should be short, however much there is of it."""
    answer = bytearray()
    async for piece in response.aiter_raw():
        answer += piece
        if len(answer) > limit:
            break
    return bytes(answer[:limit])


def parse_json(text: bytes) -> Any:
    """A stranger's JSON: nesting is limited (to about 200), numbers are finite, text is valid Unicode.

    Raises:
        ValueError: it is not JSON, or breaks one of these limits.
    """
    return from_json(text, allow_inf_nan=False)


def one_line(text: str, *, limit: int = 500) -> str:
    """A stranger's words for a message of ours: one line, printable, short, without the full stop."""
    printable = "".join(character if character.isprintable() else " " for character in text[:limit])
    return " ".join(printable.split()).rstrip(".")
