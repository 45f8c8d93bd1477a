"""Which interpreters run Python calls, and what packages each has."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from fairgrid.errors import UsageError
from fairgrid.runtime.program_check import SCIENCE_PACKAGES
from fairgrid.runtime.wasm.interpreters import RUNTIMES
from fairgrid.runtime.wasm.launch import Launch

__all__ = ["SCIENCE_RUNTIME", "packages_of", "runtime_of"]

SCIENCE_RUNTIME: Final = next(spec.runtime_id for spec in RUNTIMES.values() if spec.launch is Launch.SCIENCE)
_PYTHON: Final = next(spec.runtime_id for spec in RUNTIMES.values() if spec.launch is Launch.PYTHON)
_NAMES: Final = {"python": _PYTHON, "science": SCIENCE_RUNTIME}


def runtime_of(name: str) -> str:
    """The runtime id that ``"python"``, ``"science"`` or an id means.

    Raises:
        UsageError: Python calls do not run in it.
    """
    runtime_id = _NAMES.get(name, name)
    if runtime_id not in _NAMES.values():
        raise UsageError(
            f"Python calls do not run in {name!r}. Give 'python' ({_PYTHON}) or 'science' ({SCIENCE_RUNTIME}, with "
            f"numpy, pandas, scipy and scikit-learn)."
        )
    return runtime_id


def packages_of(runtime_id: str) -> Set[str]:
    """Top names of the packages that a runtime has besides the standard library."""
    return SCIENCE_PACKAGES if runtime_id == SCIENCE_RUNTIME else frozenset()
