"""Watching a running task of trust 1: its output and progress, unverified, as its worker sends them."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from fairgrid.client.progress import OnProgress, Phase, Progress
from fairgrid.errors import ServiceRefused, ServiceUnavailable
from fairgrid.pool.client import LiveOutput, LiveProgress
from fairgrid.protocol.terminal import sanitise_terminal
from fairgrid.seams.clock import Clock, SystemClock

__all__ = ["LiveLines", "LiveSource", "OnLive", "follow_live", "watching"]

OnLive = Callable[[LiveOutput | LiveProgress], None]

_RETRY_S: Final = 1.0
_UNKNOWN_YET: Final = 404
_MAX_LINE: Final = 4_096


class LiveSource(Protocol):
    """What is needed of `fairgrid.client.client.Client`."""

    def live(self, task_id: str) -> AsyncIterator[LiveOutput | LiveProgress]: ...


async def follow_live(client: LiveSource, task_id: str, on_event: OnLive, *, clock: Clock | None = None) -> None:
    """Tell everything until the task does not run any more; a lost connection is made again.

    Raises:
        ServiceRefused: the pool does not show it (the trust is above 1, or another key is the requester).
    """
    pause = clock or SystemClock()
    while True:
        try:
            async for event in client.live(task_id):
                on_event(event)
            return
        except ServiceUnavailable:
            await pause.sleep(_RETRY_S)
        except ServiceRefused as error:
            if error.status != _UNKNOWN_YET:
                raise
            await pause.sleep(_RETRY_S)


@asynccontextmanager
async def watching(
    client: LiveSource, task_id: str, on_progress: OnProgress, on_line: Callable[[str, str], None] | None = None
) -> AsyncIterator[OnProgress]:
    """While the block runs: gives an ``on_progress`` that knows what the job says of itself, and tells every line.

    ``on_line`` is called with the stream's name and a line that is safe for a terminal. What the pool does not show is
    not told, and is no error: the task goes on.
    """
    lines = LiveLines(on_line or (lambda stream, line: None))
    said: list[LiveProgress] = []

    def take(event: LiveOutput | LiveProgress) -> None:
        if isinstance(event, LiveOutput):
            lines.take(event)
        else:
            said[:] = [event]

    def tell(progress: Progress) -> None:
        if said and progress.phase is Phase.COMPUTING:
            progress = replace(progress, note=bar(said[0]))
        on_progress(progress)

    following = asyncio.create_task(follow_live(client, task_id, take))
    try:
        yield tell
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        lines.end()


def bar(progress: LiveProgress, *, width: int = 20) -> str:
    """A line for people: a bar, percent, and what the job says."""
    done = min(max(progress.ppm, 0), 1_000_000)
    filled = done * width // 1_000_000
    said = sanitise_terminal(progress.message).replace("\n", " ")
    return f"[{'#' * filled}{'.' * (width - filled)}] {done // 10_000:3d} %  {said}".rstrip()


@dataclass(slots=True)
class _Half:
    """A stream's unfinished line."""

    end: int = 0
    text: str = ""
    decoder: codecs.IncrementalDecoder = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))


class LiveLines:
    """Makes lines of pieces: whole ones, safe for a terminal; what is missing between two pieces is said."""

    def __init__(self, on_line: Callable[[str, str], None]) -> None:
        self._on_line = on_line
        self._streams: dict[str, _Half] = {}

    def take(self, event: LiveOutput) -> None:
        """Take a piece; the same bytes again are not told again."""
        half = self._streams.setdefault(event.stream, _Half())
        data = event.data
        if event.offset < half.end:
            if event.offset == 0 and event.offset + len(data) < half.end:
                self._say(event.stream, "[the job was started anew]")
                half.end, half.text = 0, ""
                half.decoder.reset()
            else:
                data = data[half.end - event.offset :]
        elif event.offset > half.end:
            self._say(event.stream, f"[{event.offset - half.end} bytes are not shown]")
            half.decoder.reset()
        half.end = max(half.end, event.offset + len(event.data))
        half.text += half.decoder.decode(data)
        *whole, half.text = half.text.split("\n")
        for line in whole:
            self._say(event.stream, line)
        if len(half.text) > _MAX_LINE:
            self._say(event.stream, half.text)
            half.text = ""

    def end(self) -> None:
        """Tell what has no end of line yet."""
        for stream, half in self._streams.items():
            if half.text:
                self._say(stream, half.text)
                half.text = ""

    def _say(self, stream: str, line: str) -> None:
        self._on_line(stream, sanitise_terminal(line))
