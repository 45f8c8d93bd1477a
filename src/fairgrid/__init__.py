"""Fairgrid: anyone's machine runs anyone's program, and the result is verified before it is paid for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairgrid.executors.apps import App, AppResult
    from fairgrid.executors.asynchronous import AsyncExecutor
    from fairgrid.executors.choose import executor
    from fairgrid.executors.executor import Executor
    from fairgrid.executors.guest.values import File
    from fairgrid.executors.joblib_backend import joblib_backend
    from fairgrid.executors.packing import Packing
    from fairgrid.executors.receipt import Receipt
    from fairgrid.executors.remote import remote
    from fairgrid.testing.local_network import LocalNetwork

__all__ = [
    "App",
    "AppResult",
    "AsyncExecutor",
    "Executor",
    "File",
    "LocalNetwork",
    "Packing",
    "Receipt",
    "__version__",
    "executor",
    "joblib_backend",
    "remote",
]

__version__ = "0.1.0"

_HOMES = {
    "App": "fairgrid.executors.apps",
    "AppResult": "fairgrid.executors.apps",
    "AsyncExecutor": "fairgrid.executors.asynchronous",
    "Executor": "fairgrid.executors.executor",
    "File": "fairgrid.executors.guest.values",
    "LocalNetwork": "fairgrid.testing.local_network",
    "Packing": "fairgrid.executors.packing",
    "Receipt": "fairgrid.executors.receipt",
    "executor": "fairgrid.executors.choose",
    "joblib_backend": "fairgrid.executors.joblib_backend",
    "remote": "fairgrid.executors.remote",
}


def __getattr__(name: str) -> Any:
    # Workers and services import this package, too, and have no use for what these need.
    if name not in _HOMES:
        raise AttributeError(f"module 'fairgrid' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
