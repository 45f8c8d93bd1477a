"""What a task's files say of its calls: values and exceptions, made of closed forms only (decision 14)."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from fairgrid.errors import JobError, RemoteError
from fairgrid.executors.calls import Call
from fairgrid.executors.guest.values import BadWire, Decoder
from fairgrid.protocol.bounded_json import load_json
from fairgrid.protocol.results import describe_error
from fairgrid.protocol.terminal import sanitise_terminal

__all__ = ["CallResults", "RemoteTraceback", "TaskResults", "limit_reached"]

_RESULTS: Final = "results.jsonl"
_BLOB: Final = re.compile(r"blob-[0-9a-f]{64}", re.ASCII)
_NEVER: Final = {"StopIteration", "StopAsyncIteration", "MemoryError", "BaseExceptionGroup", "ExceptionGroup"}
"""Futures and generators take the first two for something else; the last two hold other exceptions."""

_REBUILT: Final[dict[str, type[Exception]]] = {
    f"builtins.{name}": kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and name == kind.__name__ and name not in _NEVER
}


class RemoteTraceback(Exception):
    """The traceback of a call as text: the ``__cause__`` of the exception that its future raises."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f"\n\n{self.text.rstrip()}\n"


class CallResults(Protocol):
    """What the files of one task say of its calls."""

    def read(self, count: int) -> list[bytes]:
        """What they say of each of so many calls.

        Raises:
            JobError: they do not.
        """
        ...

    def ending(self, line: bytes, call: Call) -> tuple[Any, BaseException | None]:
        """What a call returned, or what it raised."""
        ...


class TaskResults:
    """The results of one task, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, count: int) -> list[bytes]:
        """The lines of its calls.

        Raises:
            JobError: they are not there: the calls themselves broke them.
        """
        try:
            lines = (self._folder / _RESULTS).read_bytes().split(b"\n")
        except OSError:
            lines = []
        if len(lines) != count + 1 or lines[-1]:
            raise JobError(
                f"The results of these {count} calls cannot be read: one of them changed the file {_RESULTS} that the "
                f"others share. Let calls return what they have to say, and write no files of that name."
            )
        return lines[:-1]

    def ending(self, line: bytes, call: Call) -> tuple[Any, BaseException | None]:
        """What a call returned, or what it raised."""
        try:
            document: Any = load_json(line)
            if "error" in document:
                return None, _rebuilt(document["error"])
            return self._decoder(call).decode(document["value"]), None
        except (BadWire, ValueError, TypeError, KeyError, RecursionError) as error:
            return None, RemoteError("fairgrid.BadResult", f"what the call returned cannot be read: {error}")

    def _decoder(self, call: Call) -> Decoder:
        captured = call.captured
        shapes = captured.shapes if captured is not None else None

        def resolve(tag: str, body: Any) -> Any:
            if tag == "R" and captured is not None and isinstance(body, int) and 0 <= body < len(captured.objects):
                return captured.objects[body]
            raise BadWire(f"the tag {tag!r} is no value")

        return Decoder(shapes, self._fetch, resolve, self._locate)

    def _locate(self, name: str) -> str:
        if not _BLOB.fullmatch(name):
            raise BadWire(f"{name!r:.80} is not the name of a part")
        path = self._folder / name
        if path.is_symlink() or not path.is_file():
            raise BadWire(f"the part {name} is missing")
        return str(path)

    def _fetch(self, name: str) -> bytes:
        try:
            return Path(self._locate(name)).read_bytes()
        except OSError as error:
            raise BadWire(f"the part {name} is missing") from error


def limit_reached(document: dict[str, Any]) -> RemoteError:
    """The error of a call whose whole task ended with an agreed error: a limit, or the end of its interpreter."""
    return RemoteError(
        f"fairgrid.{str(document.get('kind', 'error'))[:40]}", sanitise_terminal(describe_error(document))
    )


def _rebuilt(document: Any) -> BaseException:
    kind, message = (sanitise_terminal(str(document[key])) for key in ("class", "message"))
    error: Exception = RemoteError(kind, message)
    known = _REBUILT.get(kind)
    if known is not None and document["arguments"] is not None:
        try:
            error = known(*_clean(Decoder().decode(document["arguments"])))
        except Exception:
            error = RemoteError(kind, message)
    error.__cause__ = RemoteTraceback(sanitise_terminal(str(document["traceback"])))
    return error


def _clean(arguments: Any) -> Iterator[Any]:
    """Texts of exceptions are shown in terminals."""
    if not isinstance(arguments, tuple):
        raise BadWire("the arguments of an exception are no tuple")
    return (sanitise_terminal(value) if type(value) is str else value for value in arguments)
