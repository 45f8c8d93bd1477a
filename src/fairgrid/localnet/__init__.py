"""A whole network on one machine, for users, demos and tests."""

from __future__ import annotations
