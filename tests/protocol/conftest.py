"""Fixtures of the protocol's tests."""

from __future__ import annotations

import pytest

from tests.protocol.scenario import Scenario


@pytest.fixture
def scenario() -> Scenario:
    """A fresh model hub with people, assets and money."""
    return Scenario()
