"""The `fairgrid` command: a thin shell over the other rooms."""

from __future__ import annotations
