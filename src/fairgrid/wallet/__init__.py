"""Keys and signatures behind one `Signer`."""

from __future__ import annotations
