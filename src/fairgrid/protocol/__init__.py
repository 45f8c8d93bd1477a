"""The pure core: orders, identifiers, digests, trust and consensus arithmetic, reference model. No I/O, no clock."""

from __future__ import annotations
