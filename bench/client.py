"""What a Python call costs: how fast calls are accepted, and calls a second from `map` to the last result.

    python -m bench.client accept --calls 100000
    python -m bench.client run --calls 2000

``accept`` counts from the first `submit` until the last future is there; nothing is sent meanwhile. ``run`` maps a
small function over numbers on each executor that is there, in one run: processes of this machine, Fairgrid's sandbox
on this machine (``here``), with ``--network`` a Fairgrid network (name its folder, or ``local``), and Dask and Ray if
they are installed (`requirements/bench.txt`). Starting and stopping counts for none of them; one call goes before.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fairgrid.executors.dispatcher import Timing
from fairgrid.executors.executor import Executor
from fairgrid.executors.here import HereBackend
from fairgrid.executors.packing import Packing
from fairgrid.executors.places import Place

MapCalls = Callable[[range], list[int]]


def collatz(n: int) -> int:
    """About 20 microseconds of work here."""
    steps = 0
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


def accept(calls: int) -> dict[str, float]:
    """Seconds, by the clock and of processor time, to accept so many calls."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Place(HereBackend(Path(folder) / "deals"), Path(folder) / "runs")
        executor = Executor(place, timing=Timing(window=3_600, longest_window=3_600))
        ways: dict[str, Callable[[], Any]] = {
            "submit": lambda: [executor.submit(collatz, number) for number in range(calls)],
            "map": lambda: executor.map(collatz, range(calls)),
        }
        kept = []
        for name, way in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            kept.append(way())
            found[f"{name}_s"] = round(time.perf_counter() - wall, 3)
            found[f"{name}_cpu_s"] = round(time.process_time() - processor, 3)
        executor.shutdown(cancel_futures=True)
    return found


@contextlib.contextmanager
def _processes() -> Iterator[MapCalls]:
    with concurrent.futures.ProcessPoolExecutor() as pool:
        yield lambda numbers: list(pool.map(collatz, numbers))


@contextlib.contextmanager
def _here() -> Iterator[MapCalls]:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(HereBackend(Path(folder) / "deals"), Path(folder) / "runs")
        with Executor(place, packing=Packing(width=os.cpu_count() or 1, call_seconds=0.001)) as executor:
            yield lambda numbers: list(executor.map(collatz, numbers))


@contextlib.contextmanager
def _network(name: str, trust: str) -> Iterator[MapCalls]:
    packing = Packing(call_seconds=0.001)
    with Executor(name, budget="100 RLC", trust=trust, packing=packing) as executor:
        yield lambda numbers: list(executor.map(collatz, numbers))


@contextlib.contextmanager
def _dask() -> Iterator[MapCalls]:
    distributed = importlib.import_module("distributed")
    with distributed.Client(dashboard_address=":0", silence_logs=50) as client:
        yield lambda numbers: list(client.gather(client.map(collatz, numbers)))


@contextlib.contextmanager
def _ray() -> Iterator[MapCalls]:
    ray = importlib.import_module("ray")
    ray.init(include_dashboard=False, logging_level="ERROR", configure_logging=False)
    remote = ray.remote(collatz)
    try:
        yield lambda numbers: list(ray.get([remote.remote(number) for number in numbers]))
    finally:
        ray.shutdown()


def run(calls: int, network: str, trust: str) -> dict[str, float | str]:
    """Calls a second of each executor that is there."""
    ways: dict[str, Any] = {"ProcessPoolExecutor": _processes(), "fairgrid here": _here()}
    if network:
        ways[f"fairgrid {network}, trust {trust}"] = _network(network, trust)
    ways |= {"dask": _dask(), "ray": _ray()}
    expected = [collatz(number) for number in range(calls)]
    found: dict[str, float | str] = {}
    for name, way in ways.items():
        try:
            with way as map_calls:
                map_calls(range(1))
                start = time.perf_counter()
                results = map_calls(range(calls))
                seconds = time.perf_counter() - start
        except ModuleNotFoundError as error:
            found[name] = f"not installed ({error.name})"
            continue
        if results != expected:
            raise SystemExit(f"{name} gave wrong results")
        found[name] = round(calls / seconds, 1)
    return found


def main(arguments: list[str]) -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accept", "run"))
    parser.add_argument("--calls", type=int, default=0)
    parser.add_argument("--network", default="")
    parser.add_argument("--trust", default="0.5")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    if options.what == "accept":
        figures: dict[str, Any] = accept(options.calls or 100_000)
    else:
        figures = run(options.calls or 2_000, options.network, options.trust)
    print(json.dumps({"what": options.what, "load": round(load, 1), **figures}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
