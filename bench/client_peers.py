"""Small Python calls through another executor, alone: ``python bench/client_peers.py NAME CALLS``.

NAME is ``processes``, ``dask`` or ``ray``, the last two in an environment of their own. Needs nothing of Fairgrid;
`bench/client.py` measures its own by the same `measure`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

MapCalls = Callable[[Sequence[int]], list[int]]

_SINGLE = 5


def collatz(n: int) -> int:
    """About 20 microseconds of work here."""
    steps = 0
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


def measure(map_calls: MapCalls, calls: int, *, single: int = _SINGLE) -> dict[str, float]:
    """Calls a second, what each costs beside its work (microseconds), and how long one alone takes (milliseconds).

    One call goes before. A call's work is taken as if all processors did nothing else.

    Raises:
        SystemExit: a result is wrong.
    """
    map_calls(range(1))
    begun = time.perf_counter()
    expected = [collatz(number) for number in range(calls)]
    work = (time.perf_counter() - begun) / (os.cpu_count() or 1)
    begun = time.perf_counter()
    results = map_calls(range(calls))
    seconds = time.perf_counter() - begun
    if results != expected:
        raise SystemExit("the results are wrong")
    alone = []
    for number in range(single):
        begun = time.perf_counter()
        map_calls(range(number, number + 1))
        alone.append(time.perf_counter() - begun)
    return {
        "callsPerSecond": round(calls / seconds, 1),
        "overheadMicroseconds": round((seconds - work) / calls * 1e6, 1),
        "oneCallMilliseconds": round(sorted(alone)[len(alone) // 2] * 1e3, 1),
    }


@contextlib.contextmanager
def _processes() -> Iterator[MapCalls]:
    with concurrent.futures.ProcessPoolExecutor() as pool:
        yield lambda numbers: list(pool.map(collatz, numbers))


@contextlib.contextmanager
def _dask() -> Iterator[MapCalls]:
    distributed = importlib.import_module("distributed")
    with distributed.Client(dashboard_address=":0", silence_logs=50) as client:
        # Not `pure`: equal calls are computed again, as everywhere else.
        yield lambda numbers: list(client.gather(client.map(collatz, numbers, pure=False)))


@contextlib.contextmanager
def _ray() -> Iterator[MapCalls]:
    ray = importlib.import_module("ray")
    ray.init(include_dashboard=False, logging_level="ERROR", configure_logging=False, log_to_driver=False)
    remote = ray.remote(collatz)
    try:
        yield lambda numbers: list(ray.get([remote.remote(number) for number in numbers]))
    finally:
        ray.shutdown()


PEERS: dict[str, Callable[[], contextlib.AbstractContextManager[MapCalls]]] = {
    "processes": _processes,
    "dask": _dask,
    "ray": _ray,
}


def main(arguments: list[str]) -> None:
    """Measure one, and print JSON as the last line."""
    name, calls = arguments
    with PEERS[name]() as map_calls:
        figures = measure(map_calls, int(calls))
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
