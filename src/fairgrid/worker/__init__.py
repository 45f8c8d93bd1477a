"""The agent on a provider's machine: a pure state machine behind a thin rim."""

from __future__ import annotations
