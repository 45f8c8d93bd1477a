"""Alembic revisions of the pool's tables; `fairgrid.seams.database.migrate` applies them."""

from __future__ import annotations
