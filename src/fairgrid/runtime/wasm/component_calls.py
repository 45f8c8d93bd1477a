"""WASI preview 2 for a component: clocks, randomness, streams, and what it finds when it starts; no network.

The same logical clock, random stream, logs and files as preview 1 has here. Every call and every byte it moves is paid
in fuel (`CALL_FUEL`, `BYTE_FUEL`). Handles come to the calls as numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from wasmtime.component import ResourceAny, Variant

from fairgrid.runtime.wasm.component_files import ComponentFiles, moment
from fairgrid.runtime.wasm.component_resources import (
    Descriptor,
    InputStream,
    OutputStream,
    Pollable,
    ResourceTable,
)
from fairgrid.runtime.wasm.guest_faults import GuestError, GuestTrapped
from fairgrid.runtime.wasm.wasi_calls import BYTE_FUEL, CALL_FUEL, GuestExit
from fairgrid.runtime.wasm.wasi_state import CLOCK_STEP_NS, LogicalClock, SeededRandom

__all__ = ["ComponentCalls"]

Call = Callable[..., Any]

_PIECE: Final = 65_536
"""Bytes that one call of a stream moves at most."""
_RANDOM_FUEL: Final = 4 * BYTE_FUEL
_MAX_RANDOM: Final = 1 << 20
_MAX_POLLED: Final = 1024
_OK: Final = Variant("ok")
_CLOSED: Final = Variant("err")


class ComponentCalls:
    """All calls of one component, by interface and name: `functions`."""

    def __init__(
        self,
        *,
        table: ResourceTable,
        charge: Callable[[int], None],
        files: ComponentFiles,
        clock: LogicalClock,
        random: SeededRandom,
        streams: tuple[OutputStream, OutputStream],
        arguments: list[str],
        environment: dict[str, str],
    ) -> None:
        """``streams`` are standard output and error."""
        self._table = table
        self._charge = charge
        self._files = files
        self._clock = clock
        self._random = random
        self._streams = streams
        self._arguments = arguments
        self._environment = environment

    def drop(self, number: int) -> None:
        """The component gave a handle back."""
        dropped = self._table.drop(number)
        if isinstance(dropped, Descriptor):
            self._files.close(dropped)

    def functions(self) -> Mapping[str, Mapping[str, Call]]:
        """Interface without its version, name of the function, function."""
        own = self._table.own
        return {
            "wasi:io/error": {"[method]error.to-debug-string": lambda *_: "error"},
            "wasi:io/poll": {
                "poll": self._poll,
                "[method]pollable.ready": lambda one: self._is_ready(self._table.of(one)),
                "[method]pollable.block": lambda one: self._wait([self._table.of(one)]),
            },
            "wasi:io/streams": self._stream_functions(),
            "wasi:clocks/wall-clock": {
                "now": lambda: moment(self._clock.read()),
                "resolution": lambda: moment(CLOCK_STEP_NS),
            },
            "wasi:clocks/monotonic-clock": {
                "now": lambda: self._clock.read(),
                "resolution": lambda: CLOCK_STEP_NS,
                "subscribe-instant": lambda when: own("pollable", Pollable(when)),
                "subscribe-duration": lambda span: own("pollable", Pollable(self._clock.now_ns + span)),
            },
            "wasi:random/random": self._random_functions(""),
            "wasi:random/insecure": self._random_functions("insecure-"),
            "wasi:random/insecure-seed": {"insecure-seed": lambda: (self._number(), self._number())},
            "wasi:cli/environment": {
                "get-environment": lambda: sorted(self._environment.items()),
                "get-arguments": lambda: list(self._arguments),
                "initial-cwd": lambda: "/iexec_out",
            },
            "wasi:cli/exit": {"exit": self._exit, "exit-with-code": self._exit_with_code},
            "wasi:cli/stdin": {"get-stdin": lambda: own("input-stream", InputStream())},
            "wasi:cli/stdout": {"get-stdout": lambda: own("output-stream", self._streams[0])},
            "wasi:cli/stderr": {"get-stderr": lambda: own("output-stream", self._streams[1])},
            "wasi:cli/terminal-stdin": {"get-terminal-stdin": lambda: None},
            "wasi:cli/terminal-stdout": {"get-terminal-stdout": lambda: None},
            "wasi:cli/terminal-stderr": {"get-terminal-stderr": lambda: None},
            "wasi:filesystem/preopens": {"get-directories": lambda: self._files.mounts()},
            "wasi:filesystem/types": self._files.functions(),
            "wasi:sockets/instance-network": {"instance-network": lambda: own("network")},
            "wasi:sockets/tcp-create-socket": {"create-tcp-socket": lambda *_: "not-supported"},
            "wasi:sockets/udp-create-socket": {"create-udp-socket": lambda *_: "not-supported"},
            "wasi:sockets/ip-name-lookup": {"resolve-addresses": lambda *_: "not-supported"},
        }

    def _stream_functions(self) -> dict[str, Call]:
        reading, writing = "[method]input-stream.", "[method]output-stream."
        return {
            reading + "read": self._read,
            reading + "blocking-read": self._read,
            reading + "skip": self._skip,
            reading + "blocking-skip": self._skip,
            reading + "subscribe": lambda *_: self._table.own("pollable", Pollable()),
            writing + "check-write": lambda *_: _PIECE,
            writing + "write": self._write,
            writing + "blocking-write-and-flush": self._write,
            writing + "flush": lambda *_: _OK,
            writing + "blocking-flush": lambda *_: _OK,
            writing + "subscribe": lambda *_: self._table.own("pollable", Pollable()),
            writing + "write-zeroes": self._write_zeroes,
            writing + "blocking-write-zeroes-and-flush": self._write_zeroes,
        }

    def _random_functions(self, kind: str) -> dict[str, Call]:
        return {
            f"get-{kind}random-bytes": self._random_bytes,
            f"get-{kind}random-u64": lambda: self._number(),
        }

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _is_ready(self, waited: Pollable) -> bool:
        return waited.when_ns is None or waited.when_ns <= self._clock.now_ns

    def _wait(self, waited: list[Pollable]) -> None:
        """Nothing ever blocks: a wait moves the logical clock to the first moment, and returns at once."""
        if not any(map(self._is_ready, waited)):
            self._clock.advance_to(min(one.when_ns for one in waited if one.when_ns is not None))

    def _poll(self, handles: list[int]) -> list[int]:
        if not 0 < len(handles) <= _MAX_POLLED:
            raise GuestTrapped("it waits for nothing, or for too much at once")
        self._charge(len(handles) * 1000)
        waited = [self._table.of(handle) for handle in handles]
        self._wait(waited)
        return [position for position, one in enumerate(waited) if self._is_ready(one)]

    # --- streams -----------------------------------------------------------------------------------------------------

    def _read(self, handle: int, length: int) -> bytes | None:
        stream: InputStream = self._table.of(handle)
        if stream.descriptor is None or not isinstance(self._table.find(stream.descriptor), Descriptor):
            return None
        try:
            data = self._files.read(stream.descriptor, min(length, _PIECE), stream.offset)
        except GuestError:
            return None
        stream.offset += len(data)
        return data if data or not length else None

    def _skip(self, handle: int, length: int) -> int | None:
        data = self._read(handle, length)
        return None if data is None else len(data)

    def _write(self, handle: int, contents: bytes) -> Variant:
        stream: OutputStream = self._table.of(handle)
        if stream.sink is not None:
            self._charge(len(contents) * BYTE_FUEL)
            stream.sink.add(contents)
            return _OK
        if stream.descriptor is None or not isinstance(self._table.find(stream.descriptor), Descriptor):
            return _CLOSED
        try:
            self._files.write(stream.descriptor, contents, stream.offset)
        except GuestError:
            return _CLOSED
        if stream.offset is not None:
            stream.offset += len(contents)
        return _OK

    def _write_zeroes(self, handle: int, length: int) -> Variant:
        if length > _PIECE:
            raise GuestTrapped("it writes more than it may at once")
        return self._write(handle, bytes(length))

    # --- the rest ----------------------------------------------------------------------------------------------------

    def _random_bytes(self, length: int) -> bytes:
        if length > _MAX_RANDOM:
            raise GuestTrapped(f"it wants more than {_MAX_RANDOM} random bytes at once")
        self._charge(length * _RANDOM_FUEL)
        return self._random.take(length)

    def _number(self) -> int:
        return int.from_bytes(self._random_bytes(8), "little")

    @staticmethod
    def _exit(status: Variant) -> None:
        raise GuestExit(0 if status.tag == "ok" else 1)

    @staticmethod
    def _exit_with_code(code: int) -> None:
        raise GuestExit(code)

    def charged(self, call: Call) -> Call:
        """The same call as the engine makes it, paid for."""

        def answer(store: Any, *arguments: Any) -> Any:
            self._charge(CALL_FUEL)
            return call(*[_plain(store, argument) for argument in arguments])

        return answer


def _plain(store: Any, argument: Any) -> Any:
    """A handle as its number, which also gives a borrowed one back: the engine wants every one of them back."""
    if isinstance(argument, ResourceAny):
        return argument.to_host(store).rep
    if isinstance(argument, list):
        return [_plain(store, one) for one in argument]
    return argument
