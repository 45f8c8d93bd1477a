"""No-op tasks through another system, in an environment of its own: ``python bench/scheduler_peers.py NAME COUNT``.

Prints one JSON object. Each system gets one process for each CPU, its defaults otherwise, and is warm before the clock
starts. Results are collected by the submitting process; none of the three writes anything to disk for a task.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["main"]


def _noop(number: int) -> int:
    return number


def _ray(count: int) -> float:
    ray: Any = importlib.import_module("ray")
    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    task: Any = ray.remote(_noop)
    ray.get([task.remote(number) for number in range(100)])
    began = time.perf_counter()
    assert len(ray.get([task.remote(number) for number in range(count)])) == count
    return time.perf_counter() - began


def _dask(count: int) -> float:
    distributed: Any = importlib.import_module("distributed")
    with (
        distributed.LocalCluster(n_workers=os.cpu_count(), threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.gather(client.map(_noop, range(100), pure=False))
        began = time.perf_counter()
        assert len(client.gather(client.map(_noop, range(count), pure=False))) == count
        return time.perf_counter() - began


def _parsl(count: int) -> float:
    parsl: Any = importlib.import_module("parsl")
    executor = importlib.import_module("parsl.executors").HighThroughputExecutor(
        max_workers_per_node=os.cpu_count(), address="127.0.0.1", encrypted=False
    )
    with parsl.load(parsl.config.Config(executors=[executor], usage_tracking=0)):
        task: Any = parsl.python_app(_noop)
        assert all(future.result() is not None for future in [task(number) for number in range(100)])
        began = time.perf_counter()
        assert sum(1 for future in [task(number) for number in range(count)] if future.result() is not None) == count
        return time.perf_counter() - began


_SYSTEMS: dict[str, Callable[[int], float]] = {"ray": _ray, "dask": _dask, "parsl": _parsl}


def main(name: str, count: int) -> None:
    seconds = _SYSTEMS[name](count)
    sys.stdout.write(json.dumps({"name": name, "tasks": count, "seconds": seconds}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
