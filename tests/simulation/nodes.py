"""Machines that may lose power between any two effects: what they had stored is all that is left of them.

A node is one process on one machine. Everything that it does to the world passes a *checkpoint*; a node whose fuse
burns down at one stops there: the effect before happened, the next one did not. What runs on in a dead node (cleaning
up) reaches nothing any more.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from tests.simulation.virtual import VirtualLoop

if TYPE_CHECKING:
    from tests.simulation.plan import Pace

__all__ = ["EPOCH", "Dead", "Node", "NodeClock", "Stored", "blocking_calls", "current_node", "make_task"]

EPOCH = 1_700_000_000.0
"""Local time when a simulation begins, in seconds."""

current_node: contextvars.ContextVar[Node | None] = contextvars.ContextVar("current_node", default=None)


class Dead(Exception):
    """A dead node's process touched the world."""


class Watcher(Protocol):
    """Who is told what nodes do."""

    def note(self, who: str, text: str) -> None: ...
    def crashed(self, node: Node, at: str) -> None: ...

    @property
    def is_quiet(self) -> bool: ...


class Node:
    """One process. ``skew_s`` is how far its clock is off; ``fuse`` counts the effects until it crashes; ``wire`` is
    the beginning of an effect's name: at the next one that is called so it crashes, and whoever laid it is told."""

    def __init__(self, name: str, watcher: Watcher, *, skew_s: float = 0.0, pace: Pace) -> None:
        self.name = name
        self.skew_s = skew_s
        self.pace = pace
        self.alive = True
        self.fuse: int | None = None
        self.wire: tuple[str, Callable[[], None]] | None = None
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._watcher = watcher

    def note(self, text: str) -> None:
        self._watcher.note(self.name, text)

    @property
    def is_in_quiet(self) -> bool:
        """Whether nothing happens anywhere, and nothing will go wrong any more."""
        return self._watcher.is_quiet

    def passes(self, effect: str) -> bool:
        """True if the node still lives after this point."""
        if not self.alive:
            return False
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:
                self.crash(effect)
                return False
        if self.wire is not None and effect.startswith(self.wire[0]):
            tripped = self.wire[1]
            self.crash(effect)
            tripped()
            return False
        return True

    async def checkpoint(self, effect: str) -> None:
        """A point at which the node may crash; a dead one never gets beyond."""
        if not self.passes(effect):
            await asyncio.get_running_loop().create_future()

    def crash(self, at: str = "some moment") -> None:
        """Lose power now."""
        if not self.alive:
            return
        self.alive = False
        self.fuse = self.wire = None
        self._watcher.crashed(self, at)
        loop = asyncio.get_running_loop()
        for task in list(self.tasks):
            # Not at once: the task that is running now may be among them.
            loop.call_soon(task.cancel)

    def start(self, coroutine: Any) -> asyncio.Task[Any]:
        """Run ``coroutine`` as a part of this process."""
        context = contextvars.copy_context()
        context.run(current_node.set, self)
        return asyncio.get_running_loop().create_task(coroutine, context=context)


class NodeClock:
    """The clock of a node's machine."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time() + self._node.skew_s

    async def sleep(self, seconds: float) -> None:
        """Nodes look around less often while nothing happens: it would only cost time."""
        pace = self._node.pace
        await asyncio.sleep(max(seconds, pace.quiet_pause_s if self._node.is_in_quiet else pace.pause_s))


class Stored:
    """A store that belongs to a node: a dead process does not reach it. Any other object is as good."""

    def __init__(self, inner: Any, node: Node) -> None:
        self._inner = inner
        self._node = node

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if not self._node.alive:
                raise Dead(f"{self._node.name} is dead and called {name}")
            return value(*args, **kwargs)

        guarded.__name__ = name
        return guarded


def make_task(loop: Any, coroutine: Any, *, context: contextvars.Context | None = None) -> asyncio.Task[Any]:
    """A task that its node knows of."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, context=context)
    node = context.get(current_node) if context is not None else current_node.get()
    if node is not None:
        node.tasks[task] = None
        task.add_done_callback(lambda done: node.tasks.pop(done, None))
    return task


def blocking_calls(loop: VirtualLoop, pause_s: Callable[[], float]) -> Callable[[Callable[[], Any]], Any]:
    """How a node calls what would block a thread (its store, mostly): a checkpoint, the call, a checkpoint.

    ``pause_s`` gives how long the answer takes.
    """

    def call(function: Callable[[], Any]) -> asyncio.Future[Any]:
        future = loop.create_future()
        node = current_node.get()
        is_named = node is not None and not (node.fuse is None and node.wire is None)
        name = _name(function) if is_named else ""
        if node is not None and not node.passes(f"before {name}"):
            return future
        try:
            result = function()
        except Exception as error:
            future.set_exception(error)
            return future
        if node is not None and not node.passes(f"after {name}"):
            return future
        pause = pause_s()
        if pause <= 0:
            future.set_result(result)
        else:
            loop.call_later(pause, _answer, future, result)
        return future

    return call


def _answer(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _name(function: Any) -> str:
    """The name of what `asyncio.to_thread` wrapped."""
    while (inner := getattr(function, "func", None)) is not None:
        arguments = getattr(function, "args", ())
        function = arguments[0] if arguments and getattr(inner, "__name__", "") == "run" else inner
    return str(getattr(function, "__name__", "a blocking call"))
