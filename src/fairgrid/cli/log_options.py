"""``--log-format`` and ``--log-level``, the same for every command that runs for long."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

__all__ = ["LogFormat", "LogFormatOption", "LogLevel", "LogLevelOption"]


class LogFormat(StrEnum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least grave event that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LogFormatOption = Annotated[
    LogFormat,
    typer.Option(
        "--log-format", envvar="FAIRGRID_LOG_FORMAT", help="Log lines as key=value, or as one JSON object each."
    ),
]
LogLevelOption = Annotated[
    LogLevel,
    typer.Option(
        "--log-level",
        envvar="FAIRGRID_LOG_LEVEL",
        help="The least grave event to log; debug adds every line of every task's story.",
    ),
]
