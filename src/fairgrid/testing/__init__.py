"""For programs that use Fairgrid: a whole network for the time of a block, and fixtures for `pytest`."""

from __future__ import annotations
