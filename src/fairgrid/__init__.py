"""Fairgrid: anyone's machine runs anyone's program, and the result is verified before it is paid for."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
