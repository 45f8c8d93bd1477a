"""The requester's side: plan, sign, match, follow, verify."""

from __future__ import annotations
