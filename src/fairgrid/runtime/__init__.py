"""How a job runs in isolation."""

from __future__ import annotations
