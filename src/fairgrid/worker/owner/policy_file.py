"""The owner's policy as it is on disk now: a change counts without a restart, a broken file changes nothing."""

from __future__ import annotations

from pathlib import Path

import structlog

from fairgrid.errors import UsageError
from fairgrid.worker.owner.policy import WorkerPolicy, load_policy

__all__ = ["PolicyFile"]

_log = structlog.get_logger(__name__)
_Stamp = tuple[int, int, int] | None


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
