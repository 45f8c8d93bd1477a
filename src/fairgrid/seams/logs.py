"""Structured logs: one event a line, with the same names for the same things, and nothing secret in them.

What an event is about stands in fields: ``task``, ``deal``, ``worker``, ``reason``; ``service`` says who speaks.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal

import structlog

__all__ = ["configure_logging", "log_to_stderr", "without_secrets"]

_SECRET_FIELDS: Final = frozenset(
    {"authorization", "key", "mnemonic", "passphrase", "password", "private_key", "secret", "token"}
)
_PASSWORD_IN_URL: Final = re.compile(r"(//[^/@:\s]*):[^/@\s]+@")
_CHATTY: Final = ("uvicorn", "uvicorn.error", "httpx", "httpcore", "alembic", "websockets")


def configure_logging(
    service: str, *, level: int | str = logging.INFO, style: Literal["text", "json"] = "text"
) -> None:
    """Log every line of structlog and of the standard library to stderr, with ``service`` in it.

    ``style``: ``key=value`` pairs, or one JSON object a line. ``level`` is a number or name of `logging`.
    """
    threshold = level if isinstance(level, int) else logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        without_secrets,
    ]
    first = ["timestamp", "level", "service", "event"]
    renderer: Any = (
        structlog.processors.KeyValueRenderer(key_order=first, drop_missing=True)
        if style == "text"
        else structlog.processors.JSONRenderer(serializer=_as_json)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=threshold, force=True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(threshold, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


def log_to_stderr() -> None:
    """Have whatever a command's libraries log before `configure_logging` go to stderr: stdout is for its answer."""
    # Whatever was configured before goes: its processors may want a logger of another kind.
    structlog.reset_defaults()
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def without_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: fields whose name says that they are secret, and passwords in URLs, become ``***``."""
    for name, value in event.items():
        if name in _SECRET_FIELDS:
            event[name] = "***"
        elif isinstance(value, str) and "@" in value:
            event[name] = _PASSWORD_IN_URL.sub(r"\1:***@", value)
    return event


def _as_json(event: MutableMapping[str, Any], **_: Any) -> str:
    return json.dumps(dict(event), default=str, ensure_ascii=False)
