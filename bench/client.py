"""What a Python call costs: how fast calls are accepted, and what each takes from `map` to the last result.

    python -m bench.client accept --calls 100000
    python -m bench.client run --calls 2000 [--network local] [--peers PYTHON]

``accept`` counts from the first `submit` until the last future is there; nothing is sent meanwhile. ``run`` maps a
small function over numbers on each executor that is there, in one run: processes of this machine, Fairgrid's sandbox
on this machine (``here``), with ``--network`` a Fairgrid network (name its folder, or ``local``), and with ``--peers``
Dask and Ray, in the environment of that Python (`requirements/bench.txt`). Of each it tells calls a second, what a call
costs beside its own work, and how long a single one takes. Starting and stopping counts for none of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from bench.client_peers import MapCalls, collatz, measure
from fairgrid.executors.executor import Executor
from fairgrid.executors.here import HereBackend
from fairgrid.executors.packing import Packing
from fairgrid.executors.places import Place
from fairgrid.executors.timing import Timing

_PEER_S: Final = 300


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


def run(calls: int, network: str, trust: str, peers: str | None) -> dict[str, dict[str, float] | str]:
    """What a call costs on each executor, one after the other."""
    found: dict[str, dict[str, float] | str] = {"ProcessPoolExecutor": _peer("processes", sys.executable, calls)}
    with _here() as map_calls:
        found["fairgrid here"] = measure(map_calls, calls)
    if network:
        with _network(network, trust) as map_calls:
            found[f"fairgrid {network}, trust {trust}"] = measure(map_calls, calls, single=1)
    for name in ("dask", "ray"):
        found[name] = _peer(name, peers, calls) if peers else "skipped: name its environment's Python with --peers"
    return found


def _peer(name: str, python: str, calls: int) -> dict[str, float] | str:
    command = [python, str(Path(__file__).with_name("client_peers.py")), name, str(calls)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PEER_S, check=True)
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return f"failed: {error}"
    return figures


def main(arguments: list[str]) -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accept", "run"))
    parser.add_argument("--calls", type=int, default=0)
    parser.add_argument("--network", default="")
    parser.add_argument("--trust", default="0.5")
    parser.add_argument("--peers", help="a Python that has requirements/bench.txt")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    if options.what == "accept":
        figures: dict[str, Any] = accept(options.calls or 100_000)
    else:
        figures = run(options.calls or 2_000, options.network, options.trust, options.peers)
    print(json.dumps({"what": options.what, "load": round(load, 1), **figures}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
