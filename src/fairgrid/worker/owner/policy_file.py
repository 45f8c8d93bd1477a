"""``policy.toml`` read and checked; a change counts without a restart, a broken file changes nothing."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import structlog

from fairgrid.errors import OrderError, UsageError
from fairgrid.protocol.hexes import checksum
from fairgrid.runtime.container.settings import fault_of_engine, fault_of_registry
from fairgrid.runtime.engines.options import engine_options
from fairgrid.worker.core.debts import Repay
from fairgrid.worker.owner.hours import parse_window, parse_zone
from fairgrid.worker.owner.policy import LEVELS, WorkerPolicy

__all__ = ["PolicyFile", "load_policy"]

_log = structlog.get_logger(__name__)
_Stamp = tuple[int, int, int] | None
_ADDRESS_KEYS: Final = ("apps", "refused_apps", "refused_requesters", "pools")
_NUMBERS: Final = {
    "max_stake": (0, None),
    "min_worker_share": (0, 100),
    "min_finalize_percent": (0, 100),
    "max_input_bytes": (0, None),
    "cache_bytes": (0, None),
    "container_cache_bytes": (0, None),
    "min_price": (0, None),
    "gpu_jobs": (1, 16),
    "slots": (1, 1024),
    "memory_bytes": (1 << 20, None),
    "disk_bytes": (1 << 20, None),
    "min_free_disk_bytes": (0, None),
    "upload_bytes_per_s": (1, None),
    "download_bytes_per_s": (1, None),
    "idle_minutes": (0, 10_080),
    "max_other_load_percent": (0, 100),
    "max_temperature_c": (1, 200),
    "max_suspend_minutes": (0, 10_080),
    "ready_jobs": (0, 64),
    "stop_within_s": (0, 86_400),
}
_SWITCHES: Final = ("only_when_idle", "only_on_mains", "tell_cached")


def load_policy(path: Path) -> WorkerPolicy:
    """Read ``policy.toml``; a file that does not exist is the default policy.

    Raises:
        UsageError: it cannot be read, has an unknown key or a value out of range. Nothing is guessed: a mistyped rule
            must not silently allow.
    """
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return WorkerPolicy()
    except (OSError, ValueError) as error:
        raise UsageError(f"The policy {path} cannot be read ({error}). Mend or remove the file.") from error
    known = {field.name for field in fields(WorkerPolicy)}
    unknown = sorted(set(document) - known)
    if unknown:
        raise UsageError(
            f"The policy {path} has unknown keys: {', '.join(unknown)}. Known: {', '.join(sorted(known))}."
        )
    policy = WorkerPolicy(**{name: _checked(path, name, value) for name, value in document.items()})
    if policy.engine is not None and (policy.gpus is not None or policy.gpu_jobs != 1):
        raise UsageError(
            f"In the policy {path}, gpus and gpu_jobs are of this machine's graphics processors, and jobs run on an "
            f"engine. Say how many its cells may hold with gpus in the table [engine]."
        )
    return policy


def _checked(path: Path, name: str, value: object) -> Any:
    if name in _NUMBERS:
        low, high = _NUMBERS[name]
        if type(value) is not int or value < low or (high is not None and value > high):
            limit = f"from {low} to {high}" if high is not None else f"of at least {low}"
            raise UsageError(f"In the policy {path}, {name} must be a whole number {limit}, not {value!r}.")
        return value
    if name in _SWITCHES:
        if not isinstance(value, bool):
            raise UsageError(f"In the policy {path}, {name} must be true or false, not {value!r}.")
        return value
    if name == "container_engine":
        return _engine(path, value)
    if name == "repay":
        ways = [way.value for way in Repay]
        if value not in ways:
            raise UsageError(f"In the policy {path}, repay is one of {', '.join(ways)}, not {value!r}.")
        return value
    if name == "gpus":
        return _gpus(path, value)
    if name == "time_zone":
        return _time_zone(path, value)
    if name == "engine":
        try:
            return engine_options(value)
        except UsageError as error:
            raise UsageError(f"In the policy {path}: {error}") from None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"In the policy {path}, {name} must be a list of texts, not {value!r}.")
    if name == "hours":
        return _hours(path, value)
    if name == "container_registries":
        return _registries(path, value)
    if name == "levels" and not set(value) <= set(LEVELS):
        raise UsageError(f"In the policy {path}, levels are of {', '.join(LEVELS)}, not {value!r}.")
    if name not in _ADDRESS_KEYS:
        return tuple(value)
    try:
        return tuple(checksum(item) for item in value)
    except OrderError as error:
        raise UsageError(f"In the policy {path}, {name}: {error}") from error


def _engine(path: Path, value: object) -> str:
    fault = fault_of_engine(value) if isinstance(value, str) else f"{value!r} is not a text"
    if fault is not None:
        raise UsageError(f"In the policy {path}, container_engine: {fault}.")
    return str(value)


def _gpus(path: Path, value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(number) is int and 0 <= number < 1024 for number in value):
        raise UsageError(f"In the policy {path}, gpus must be a list of numbers like [0, 1], not {value!r}.")
    return tuple(sorted(set(value)))


def _registries(path: Path, value: list[str]) -> tuple[str, ...]:
    for name in value:
        fault = fault_of_registry(name)
        if fault is not None:
            raise UsageError(f"In the policy {path}, container_registries: {fault}.")
    return tuple(value)


def _time_zone(path: Path, value: object) -> str:
    if not isinstance(value, str):
        raise UsageError(f"In the policy {path}, time_zone must be a text like 'Europe/Paris', not {value!r}.")
    try:
        parse_zone(value)
    except UsageError as error:
        raise UsageError(f"In the policy {path}: {error}") from None
    return value


def _hours(path: Path, value: list[str]) -> tuple[str, ...]:
    for text in value:
        try:
            parse_window(text)
        except UsageError as error:
            raise UsageError(f"In the policy {path}, hours: {error}") from None
    return tuple(value)


class PolicyFile:
    """Reads ``policy.toml`` again when it changed. A file that broke, or went away, leaves the last good policy."""

    def __init__(self, path: Path) -> None:
        """Read the file for the first time.

        Raises:
            UsageError: it is there and cannot be used; a worker must not start with rules that were not read.
        """
        self._path = path
        self._stamp = _stamp(path)
        self._policy = load_policy(path)
        self._problem = ""

    @property
    def path(self) -> Path:
        """Where the owner writes."""
        return self._path

    @property
    def problem(self) -> str:
        """Why the file as it is now does not count; empty when it does."""
        return self._problem

    def current(self) -> WorkerPolicy:
        """The policy that counts now. Never raises."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return self._policy
        self._stamp = stamp
        if stamp is None:
            self._reject(f"The policy {self._path} is gone; the last one goes on to count. Restart to drop all rules.")
            return self._policy
        try:
            self._policy = load_policy(self._path)
        except UsageError as error:
            self._reject(f"{error} Until then the last good policy counts.")
            return self._policy
        self._problem = ""
        _log.info("policy read again", path=str(self._path))
        return self._policy

    def _reject(self, problem: str) -> None:
        self._problem = problem
        _log.warning("policy not read", reason=problem)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
