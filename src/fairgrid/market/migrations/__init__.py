"""Alembic revisions of the market's tables."""

from __future__ import annotations
