"""Content-addressed blobs over HTTP, with CIDs identical to IPFS."""

from __future__ import annotations
