"""The level ``container`` with docker in the escape suite."""

from __future__ import annotations

from tests.sandbox.attacks import LevelUnderTest
from tests.sandbox.container_levels import container_level

__all__ = ["level"]


def level() -> LevelUnderTest:
    """Images with the attacks as entry point."""
    return container_level("docker")
