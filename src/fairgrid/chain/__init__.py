"""The hub over JSON-RPC: calls, views, transactions that survive a crash, events that survive a reorganisation."""

from __future__ import annotations
