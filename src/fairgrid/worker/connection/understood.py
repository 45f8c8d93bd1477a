"""What an older pool does not understand: messages, and fields of them, that it refused once are not sent again.

Messages are strict on both sides, so a pool of an earlier release ends the connection of a worker that says something
new to it. Its refusal names what it was. What a task hangs on is never left out: without that the two cannot work
together, and the refusal is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import MISSING, fields, replace
from typing import Any, Final

import structlog

from fairgrid.protocol import worker_messages
from fairgrid.protocol.worker_messages import WorkerMessage
from fairgrid.seams.clock import Clock

__all__ = ["Understood"]

_log = structlog.get_logger(__name__)

_SPARED_KINDS: Final = ("cache", "live", "progress", "partial", "why_request", "spot_answer", "sponsor_request")
"""Messages without which tasks are computed and paid all the same."""
_TOGETHER: Final = {"machine": ("machine", "machine_signature"), "machine_signature": ("machine", "machine_signature")}
_REFUSAL: Final = "breaks protocol version"
_KIND: Final = re.compile(r"Input tag '([a-z_]{1,40})' found using 'kind'")
_FIELD: Final = re.compile(r"^([a-z_]{1,40})\.([a-z_]{1,40})[^\n]*\n\s*Unexpected keyword argument", re.MULTILINE)
_ASKED_AGAIN_S: Final = 86_400.0
"""After so long a pool may have been updated: it is told everything again, and may refuse it again."""


class Understood:
    """For one pool. `fitted` gives what may be sent, `refused` learns from the reason of a refusal."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._silent: dict[str, float] = {}
        self._left_out: dict[tuple[str, str], float] = {}
        self._sent: dict[str, None] = {}

    def connected(self) -> None:
        """A new connection: nothing was said on it."""
        self._sent = {}

    @property
    def unknown(self) -> tuple[str, ...]:
        """What the pool is not told now: kinds, and fields as ``kind.field``."""
        self._forget()
        return (*self._silent, *(f"{kind}.{name}" for kind, name in self._left_out))

    def fitted(self, message: WorkerMessage) -> WorkerMessage | None:
        """The message without what the pool refused; None if it is not to be sent at all."""
        self._forget()
        kind = message.kind
        if kind in self._silent:
            return None
        self._sent[kind] = None
        left_out = {name: None for known, name in self._left_out if known == kind}
        return replace(message, **left_out) if left_out else message  # type: ignore[arg-type]

    def refused(self, reason: str) -> bool:
        """Learn from a refusal; True if the next connection says less than this one."""
        if _REFUSAL not in reason:
            return False
        before = len(self._silent) + len(self._left_out)
        named = _KIND.search(reason)
        if named is not None:
            self._silence([named[1]])
        for kind, name in _FIELD.findall(reason):
            self._leave_out(kind, [name])
        if before == len(self._silent) + len(self._left_out) and named is None and not _FIELD.search(reason):
            # It does not say what it did not know: everything that may be spared.
            self._silence(self._sent)
            for kind in self._sent:
                self._leave_out(kind, _optional_fields(kind))
        learned = before != len(self._silent) + len(self._left_out)
        if learned:
            _log.warning("this pool is of an older release and does not understand all", not_told=self.unknown)
        return learned

    def _silence(self, kinds: Iterable[str]) -> None:
        for kind in kinds:
            if kind in _SPARED_KINDS:
                self._silent.setdefault(kind, self._clock.now())

    def _leave_out(self, kind: str, names: Iterable[str]) -> None:
        optional = _optional_fields(kind)
        for name in names:
            for part in _TOGETHER.get(name, (name,)):
                if part in optional:
                    self._left_out.setdefault((kind, part), self._clock.now())

    def _forget(self) -> None:
        oldest = self._clock.now() - _ASKED_AGAIN_S
        self._silent = {kind: at for kind, at in self._silent.items() if at > oldest}
        self._left_out = {key: at for key, at in self._left_out.items() if at > oldest}


def _optional_fields(kind: str) -> tuple[str, ...]:
    """Fields of a message that may be left out: those that are None if nothing is said."""
    found: Any = _CLASSES.get(kind)
    if found is None:
        return ()
    return tuple(field.name for field in fields(found) if field.default is None and field.default is not MISSING)


_CLASSES: Final = {
    found.__dataclass_fields__["kind"].default: found for found in worker_messages.WorkerMessage.__args__
}
