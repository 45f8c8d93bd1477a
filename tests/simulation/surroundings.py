"""What the shipped code finds around it: seeded chance, the simulated network, a log that is watched."""

from __future__ import annotations

import contextlib
import random
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import structlog

import fairgrid.pool.service as service_module
import fairgrid.worker.connection.link as link_module
from tests.simulation.network import Network
from tests.simulation.nodes import current_node

if TYPE_CHECKING:
    from tests.simulation.world import Simulation

__all__ = ["connected", "fast_folder", "listened", "seeded"]


def fast_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Chance inside the shipped code follows the seed, too."""
    chance = random.Random(f"fairgrid/simulation/{seed}/secrets")
    state = random.getstate()
    random.seed(f"fairgrid/simulation/{seed}/random")
    kept = {name: getattr(secrets, name) for name in ("token_bytes", "token_hex", "randbelow")}
    secrets.token_bytes = lambda nbytes=32: chance.randbytes(nbytes or 32)
    secrets.token_hex = lambda nbytes=32: chance.randbytes(nbytes or 32).hex()
    secrets.randbelow = lambda exclusive_upper_bound: chance.randrange(exclusive_upper_bound)
    try:
        yield
    finally:
        random.setstate(state)
        for name, function in kept.items():
            setattr(secrets, name, function)


@contextlib.contextmanager
def connected(network: Network) -> Iterator[None]:
    with (
        mock.patch.object(link_module, "connect", network.connect),
        mock.patch.object(service_module, "key_lock", _key_lock),
    ):
        yield


@contextlib.contextmanager
def _key_lock(*_where: object) -> Iterator[None]:
    """The lock of the operating system ends with a process; that of a simulated process, which is none, would not."""
    yield


@contextlib.contextmanager
def listened(simulation: Simulation) -> Iterator[None]:
    """Lines of the log go to the trace; an error in it is a violation."""
    kept = structlog.get_config()

    def listen(_logger: Any, method: str, line: Any) -> Any:
        node = current_node.get()
        if node is None or not node.alive:
            raise structlog.DropEvent
        if method in ("error", "exception", "critical"):
            error = line.get("exc_info")
            told = repr(sys.exc_info()[1]) if error else ""
            simulation.violate(f"{node.name} logs an error: {line} {told}")
        elif simulation.tracing:
            words = ", ".join(f"{key} {value}" for key, value in line.items() if key != "event")
            simulation.remark(node.name, f"log: {line['event']} ({words})")
        raise structlog.DropEvent

    wrapper = structlog.make_filtering_bound_logger(0 if simulation.tracing else 40)
    structlog.configure(processors=[listen], wrapper_class=wrapper, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**kept)
