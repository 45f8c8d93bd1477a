"""The scheduler of a workerpool: a pure state machine behind a thin rim."""

from __future__ import annotations
