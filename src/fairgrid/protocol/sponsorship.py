"""What a newcomer signs when it asks its pool for coins and a stake to begin with (decision 23)."""

from __future__ import annotations

from typing import Final

import rfc8785

from fairgrid.protocol.hexes import checksum, keccak

__all__ = ["agreement_message"]

_FORMAT: Final = "sponsorship/1"


def agreement_message(chain_id: int, hub: str, workerpool: str, worker: str) -> bytes:
    """The 32 bytes by whose EIP-191 signature a worker agrees that what it is given is earned back first."""
    return keccak(
        rfc8785.dumps(
            {
                "fairgrid": _FORMAT,
                "chainId": str(chain_id),
                "hub": checksum(hub),
                "workerpool": checksum(workerpool),
                "worker": checksum(worker),
                "terms": "What this pool gives me to begin with is earned back first.",
            }
        )
    )
