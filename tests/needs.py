"""What a suite needs of the machine beside Python: skipped where it is missing, with the reason, but never in CI."""

from __future__ import annotations

import os

import pytest

__all__ = ["hope", "need"]


def need(what: object, reason: str) -> None:
    """Skip a suite of an optional level or engine where its tool is missing; fail where nothing may be skipped."""
    if what:
        return
    if os.environ.get("FAIRGRID_NO_SKIP"):
        pytest.fail(f"{reason} (FAIRGRID_NO_SKIP is set: nothing of this suite may be skipped)")
    pytest.skip(reason)


def hope(what: object, reason: str) -> None:
    """Skip a single case where a costly tool is missing, in CI, too: a toolchain of hundreds of megabytes."""
    if not what:
        pytest.skip(reason)
