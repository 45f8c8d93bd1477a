"""Tests of `fairgrid.executors`."""

from __future__ import annotations
