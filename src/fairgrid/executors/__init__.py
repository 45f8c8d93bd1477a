"""Python functions on the grid: an `Executor` as the standard library has it, paid, verified and resumable."""

from __future__ import annotations
