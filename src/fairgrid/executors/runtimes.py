"""Which interpreters run Python calls, what packages each has, and which of them may connect to hosts."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path
from typing import Final

from fairgrid.client.job import Job, JobRuntime
from fairgrid.errors import UsageError
from fairgrid.protocol.abilities import network_fault
from fairgrid.runtime.program_check import SCIENCE_PACKAGES
from fairgrid.runtime.wasm.interpreters import RUNTIMES
from fairgrid.runtime.wasm.launch import Launch

__all__ = ["NATIVE_RUNTIME", "SCIENCE_RUNTIME", "check_reach", "packages_of", "runtime_of"]

SCIENCE_RUNTIME: Final = next(spec.runtime_id for spec in RUNTIMES.values() if spec.launch is Launch.SCIENCE)
_PYTHON: Final = next(spec.runtime_id for spec in RUNTIMES.values() if spec.launch is Launch.PYTHON)
NATIVE_RUNTIME: Final = "process/linux-x86_64"
"""The Python of the worker's own machine, in the sandbox of native programs: not deterministic, but with network."""
_NAMES: Final = {"python": _PYTHON, "science": SCIENCE_RUNTIME, "native": NATIVE_RUNTIME}


def runtime_of(name: str) -> str:
    """The runtime id that ``"python"``, ``"science"``, ``"native"`` or an id means.

    Raises:
        UsageError: Python calls do not run in it.
    """
    runtime_id = _NAMES.get(name, name)
    if runtime_id not in _NAMES.values():
        raise UsageError(
            f"Python calls do not run in {name!r}. Give 'python' ({_PYTHON}) or 'science' ({SCIENCE_RUNTIME}, with "
            f"numpy, pandas, scipy and scikit-learn) or 'native' ({NATIVE_RUNTIME}, the worker's own Python)."
        )
    return runtime_id


def check_reach(runtime_id: str, hosts: Sequence[str]) -> tuple[str, ...]:
    """The hosts that calls connect to, each once.

    Raises:
        UsageError: one is no destination, there are too many, or the runtime has no network on any machine.
    """
    try:
        return Job(Path("calls.py"), (), (), JobRuntime.of(runtime_id)).connecting_to(hosts).network
    except UsageError as error:
        if network_fault(runtime_id, hosts) is None:
            raise
        raise UsageError(
            f"{error} Python calls reach hosts with runtime='native' only: the Python of the worker's machine, whose "
            f"owner must allow the level 'process' and these hosts."
        ) from None


def packages_of(runtime_id: str) -> Set[str]:
    """Top names of the packages that a runtime has besides the standard library."""
    return SCIENCE_PACKAGES if runtime_id == SCIENCE_RUNTIME else frozenset()
