"""Revisions of the worker's own tables."""

from __future__ import annotations
