"""What every part of the reference model stands on: state that a revert undoes, events, chain time.

A call of the model either happens wholly or raises `Revert` and changes nothing, as on chain. State lives in `Table`s
and `Cell`s that note in the `World` what they overwrite; values in them are never changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from fairgrid.protocol.hexes import MAX_UINT256

__all__ = ["Cell", "Event", "Revert", "Table", "World", "checked", "require", "transaction"]

Key = TypeVar("Key")
Value = TypeVar("Value")
Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")

OVERFLOW = "Panic(0x11)"


class Revert(Exception):
    """The chain would refuse this call.

    ``text`` is the revert string; None when there is no data; ``Panic(0x11)`` and the like for panics;
    ``Name(argument, …)`` for custom errors.
    """

    def __init__(self, text: str | None = None) -> None:
        self.text = text
        super().__init__("(no data)" if text is None else text)


@dataclass(frozen=True, slots=True)
class Event:
    """A log: its name and arguments as in the public ABI (bytes32 as 0x-hex, bytes as bytes), and who emitted it."""

    name: str
    arguments: dict[str, Any]
    address: str


class World:
    """One chain: its time, its events, and the means to undo.

    ``now`` is the block time in seconds: set it to let time pass. ``events`` grows by what each call emits.
    """

    def __init__(self, *, now: int = 1_700_000_000) -> None:
        self.now = now
        self.events: list[Event] = []
        self._undo: list[Callable[[], None]] = []
        self._depth = 0

    def emit(self, address: str, name: str, /, **arguments: Any) -> None:
        """Log an event; a trailing underscore in an argument's name is dropped (``from_``)."""
        self.events.append(Event(name, {key.removesuffix("_"): value for key, value in arguments.items()}, address))

    def remember(self, undo: Callable[[], None]) -> None:
        """Note how to take back a change that is about to be made."""
        if self._depth:
            self._undo.append(undo)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """All or nothing: an exception inside takes back every change and every event since it began."""
        marks = len(self._undo), len(self.events)
        self._depth += 1
        try:
            yield
        except BaseException:
            while len(self._undo) > marks[0]:
                self._undo.pop()()
            del self.events[marks[1] :]
            raise
        finally:
            self._depth -= 1
            if not self._depth:
                self._undo.clear()


class Table(Generic[Key, Value]):
    """A mapping of the chain's storage: every key exists and holds ``default`` until it is set."""

    def __init__(self, world: World, default: Value) -> None:
        self._world = world
        self._default = default
        self._items: dict[Key, Value] = {}

    def __getitem__(self, key: Key) -> Value:
        return self._items.get(key, self._default)

    def __setitem__(self, key: Key, value: Value) -> None:
        self._world.remember(self._undo_of(key))
        self._items[key] = value

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[Key]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def values(self) -> list[Value]:
        """The values that were set."""
        return list(self._items.values())

    def _undo_of(self, key: Key) -> Callable[[], None]:
        if key not in self._items:
            return partial(self._items.__delitem__, key)
        return partial(self._items.__setitem__, key, self._items[key])


class Cell(Generic[Value]):
    """One word of the chain's storage."""

    def __init__(self, world: World, value: Value) -> None:
        self._world = world
        self._value = value

    @property
    def value(self) -> Value:
        return self._value

    @value.setter
    def value(self, value: Value) -> None:
        before = self._value
        self._world.remember(lambda: setattr(self, "_value", before))
        self._value = value


class _InWorld(Protocol):
    @property
    def world(self) -> World: ...


Contract = TypeVar("Contract", bound=_InWorld)


def transaction(
    method: Callable[Concatenate[Contract, Parameters], Result],
) -> Callable[Concatenate[Contract, Parameters], Result]:
    """Make a method of a contract in the model atomic."""

    @wraps(method)
    def atomic(self: Contract, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with self.world.atomic():
            return method(self, *args, **kwargs)

    return atomic


def require(condition: bool, text: str | None = None) -> None:
    """Revert with ``text`` (None: without data) unless ``condition`` holds."""
    if not condition:
        raise Revert(text)


def checked(value: int) -> int:
    """``value`` if it fits 256 unsigned bits; else the chain's arithmetic panics."""
    if not 0 <= value <= MAX_UINT256:
        raise Revert(OVERFLOW)
    return value
