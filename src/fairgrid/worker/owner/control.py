"""How the owner talks to a running worker: one JSON object a line each way, over a socket that is the owner's alone.

``control.json`` in the worker's folder says where: a unix socket, or, where the system has none, a port of this machine
and a secret that every request must name. Folder and file are for their owner only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from fairgrid.errors import FairgridError, ServiceUnavailable, UsageError

__all__ = ["CONTROL_NAME", "Handler", "ask", "listening"]

CONTROL_NAME: Final = "control.json"
Handler = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answers a command with its arguments; raises a `FairgridError` that the asker gets as text."""

_log = structlog.get_logger(__name__)
_MAX_LINE: Final = 1 << 20
_LONGEST_SOCKET_PATH: Final = 90
_ANSWER_S: Final = 20.0


@asynccontextmanager
async def listening(folder: Path, handler: Handler) -> AsyncIterator[None]:
    """Answer the owner while the block runs.

    Raises:
        UsageError: no socket can be opened.
    """
    place = folder / CONTROL_NAME
    token = secrets.token_hex(16)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                line = await reader.readline()
                answer = await _answered(line, token, handler)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, OSError, ValueError):
            _log.warning("an owner's question was not answered")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    with contextlib.ExitStack() as stack:
        try:
            if hasattr(asyncio, "start_unix_server"):
                path = _socket_path(folder, stack)
                server = await asyncio.start_unix_server(serve, path, limit=_MAX_LINE)
                stack.callback(lambda: Path(path).unlink(missing_ok=True))
                where: dict[str, Any] = {"socket": path, "token": token}
            else:
                server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_MAX_LINE)
                where = {"port": server.sockets[0].getsockname()[1], "token": token}
            _write_private(place, json.dumps(where))
        except OSError as error:
            raise UsageError(f"The worker cannot listen to its owner in {folder} ({error}).") from error
        stack.callback(lambda: place.unlink(missing_ok=True))
        async with server:
            yield


async def ask(folder: Path, command: str, **arguments: Any) -> dict[str, Any]:
    """Ask the worker that runs in ``folder``.

    Raises:
        ServiceUnavailable: none runs there, or it does not answer.
        UsageError: it refuses; the text says why.
    """
    service, hint = str(folder), "start it with `fairgrid worker start`"
    try:
        where = json.loads((folder / CONTROL_NAME).read_text())
        async with asyncio.timeout(_ANSWER_S):
            if "socket" in where:
                reader, writer = await asyncio.open_unix_connection(where["socket"], limit=_MAX_LINE)
            else:
                reader, writer = await asyncio.open_connection("127.0.0.1", int(where["port"]), limit=_MAX_LINE)
            try:
                request = {"token": where["token"], "command": command, "arguments": arguments}
                writer.write(json.dumps(request).encode() + b"\n")
                await writer.drain()
                line = await reader.readline()
            finally:
                writer.close()
        answer = json.loads(line)
    except FileNotFoundError:
        raise ServiceUnavailable("worker", service, f"no worker runs there; {hint}") from None
    except ConnectionRefusedError:
        raise ServiceUnavailable("worker", service, f"the worker there ended; {hint}") from None
    except (OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
        raise ServiceUnavailable("worker", service, f"it does not answer ({error or type(error).__name__})") from error
    if not isinstance(answer, dict) or "error" in answer:
        raise UsageError(str(answer["error"]) if isinstance(answer, dict) else "The worker's answer makes no sense.")
    return answer


async def _answered(line: bytes, token: str, handler: Handler) -> dict[str, Any]:
    try:
        request = json.loads(line)
        named, command, arguments = request["token"], request["command"], request["arguments"]
    except (ValueError, KeyError, TypeError):
        return {"error": "A request is one line of JSON: token, command, arguments."}
    if not isinstance(named, str) or not hmac.compare_digest(named, token):
        return {"error": f"The secret is not that of {CONTROL_NAME}."}
    if not isinstance(command, str) or not isinstance(arguments, dict):
        return {"error": "The command must be a text, its arguments an object."}
    try:
        return await handler(command, arguments)
    except FairgridError as error:
        return {"error": str(error)}


def _socket_path(folder: Path, stack: contextlib.ExitStack) -> str:
    """A path that is short enough for a socket: in the worker's folder, or in a private temporary one."""
    path = folder.resolve() / "control.sock"
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fairgrid-"))) / "control.sock"
    path.unlink(missing_ok=True)
    return str(path)


def _write_private(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    partial.replace(path)
