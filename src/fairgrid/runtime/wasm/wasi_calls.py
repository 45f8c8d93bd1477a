"""The system calls of WASI preview 1 but for files: without the host's clock, randomness, names or numbers.

Every call and every byte it moves is paid in fuel (`CALL_FUEL`, `BYTE_FUEL`), at about the price of the host's work, so
fuel bounds the job's time too: a loop that reads the clock stops at the same read on every machine.
"""

from __future__ import annotations

from collections.abc import Callable

from fairgrid.runtime.wasm.guest_faults import Errno, GuestError
from fairgrid.runtime.wasm.wasi_memory import GuestMemory
from fairgrid.runtime.wasm.wasi_state import CLOCK_START_NS, CLOCK_STEP_NS, LogicalClock, SeededRandom

__all__ = ["BYTE_FUEL", "CALL_FUEL", "GuestExit", "WasiCalls"]

CALL_FUEL = 100_000
BYTE_FUEL = 2

_SUBSCRIPTION_BYTES, _EVENT_BYTES = 48, 32
_MAX_SUBSCRIPTIONS = 1024
_RANDOM_PIECE = 1 << 16


class GuestExit(Exception):
    """The guest ended itself with this code (32 bits)."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(str(code))


class WasiCalls:
    """One method per system call, named as in WASI; numbers arrive unsigned, errors leave as `GuestError`."""

    def __init__(
        self,
        *,
        memory: GuestMemory,
        charge: Callable[[int], None],
        clock: LogicalClock,
        random: SeededRandom,
        arguments: list[str],
        environment: dict[str, str],
    ) -> None:
        self._memory = memory
        self._charge = charge
        self._clock = clock
        self._random = random
        self._arguments = [argument.encode() + b"\0" for argument in arguments]
        self._environment = [f"{name}={environment[name]}".encode() + b"\0" for name in sorted(environment)]

    # --- arguments, environment, clock, randomness, end --------------------------------------------------------------

    def args_sizes_get(self, count_at: int, size_at: int) -> None:
        self._put_sizes(self._arguments, count_at, size_at)

    def args_get(self, pointers: int, buffer: int) -> None:
        self._put_strings(self._arguments, pointers, buffer)

    def environ_sizes_get(self, count_at: int, size_at: int) -> None:
        self._put_sizes(self._environment, count_at, size_at)

    def environ_get(self, pointers: int, buffer: int) -> None:
        self._put_strings(self._environment, pointers, buffer)

    def clock_res_get(self, clock: int, resolution_at: int) -> None:
        self._check_clock(clock)
        self._memory.write_u64(resolution_at, CLOCK_STEP_NS)

    def clock_time_get(self, clock: int, _precision: int, time_at: int) -> None:
        self._check_clock(clock)
        self._memory.write_u64(time_at, self._clock.read() - self._clock_origin(clock))

    def random_get(self, buffer: int, length: int) -> None:
        self._charge(length * BYTE_FUEL * 4)
        self._memory.check(buffer, length)
        for start in range(0, length, _RANDOM_PIECE):
            self._memory.write(buffer + start, self._random.take(min(_RANDOM_PIECE, length - start)))

    def proc_exit(self, code: int) -> None:
        raise GuestExit(code)

    def sched_yield(self) -> None:
        return

    def poll_oneoff(self, subscriptions: int, events: int, count: int, events_count_at: int) -> None:
        """Nothing ever blocks: files are ready, and a wait moves the logical clock and returns at once."""
        if not 0 < count <= _MAX_SUBSCRIPTIONS:
            raise GuestError(Errno.INVAL)
        raw = self._memory.read(subscriptions, count * _SUBSCRIPTION_BYTES)
        timers: list[tuple[int, int, bytes]] = []
        ready = b""
        for position in range(count):
            item = raw[position * _SUBSCRIPTION_BYTES : (position + 1) * _SUBSCRIPTION_BYTES]
            kind = item[8]
            if kind == 0:
                clock = int.from_bytes(item[16:20], "little")
                self._check_clock(clock)
                when = int.from_bytes(item[24:32], "little")
                absolute = item[40] & 1
                when += self._clock_origin(clock) if absolute else self._clock.now_ns
                timers.append((when, position, item[:8]))
            else:
                ready += item[:8] + bytes([0, 0, kind]) + bytes(5) + (1).to_bytes(8, "little") + bytes(8)
        if not ready:
            when, _, user_data = min(timers)
            self._clock.advance_to(when)
            ready = user_data + bytes(_EVENT_BYTES - 8)
        self._memory.write(events, ready)
        self._memory.write_u32(events_count_at, len(ready) // _EVENT_BYTES)

    # --- there is no network -----------------------------------------------------------------------------------------

    def sock_accept(self, *_arguments: int) -> None:
        raise GuestError(Errno.NOTSOCK)

    def sock_recv(self, *_arguments: int) -> None:
        raise GuestError(Errno.NOTSOCK)

    def sock_send(self, *_arguments: int) -> None:
        raise GuestError(Errno.NOTSOCK)

    def sock_shutdown(self, *_arguments: int) -> None:
        raise GuestError(Errno.NOTSOCK)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _put_sizes(self, strings: list[bytes], count_at: int, size_at: int) -> None:
        self._memory.write_u32(count_at, len(strings))
        self._memory.write_u32(size_at, sum(map(len, strings)))

    def _put_strings(self, strings: list[bytes], pointers: int, buffer: int) -> None:
        for position, string in enumerate(strings):
            self._memory.write_u32(pointers + 4 * position, buffer)
            self._memory.write(buffer, string)
            buffer += len(string)

    @staticmethod
    def _check_clock(clock: int) -> None:
        if clock > 3:
            raise GuestError(Errno.INVAL)

    @staticmethod
    def _clock_origin(clock: int) -> int:
        """Processor time (clocks 2 and 3) counts from the start of the job, the others from the epoch."""
        return CLOCK_START_NS if clock > 1 else 0
