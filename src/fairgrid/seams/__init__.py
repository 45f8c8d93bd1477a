"""Interfaces shared by every room but the protocol: the clock and the database."""

from __future__ import annotations
