"""The order book: signed orders, each checked against the chain."""

from __future__ import annotations
