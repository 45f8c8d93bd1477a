"""Notices that blocks were replaced: by the hashes of blocks that were the newest when something was read."""

from __future__ import annotations

from fairgrid.chain.interface import Block, Chain, Wanted

__all__ = ["Rewrites"]


class Rewrites:
    """What is `note`d is on the chain still, or `look` says that the chain was rewritten."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._noted: dict[str, int] = {}

    def note(self, block: Block) -> None:
        """A block that was the newest before something was read from the chain."""
        self._noted[block.hash] = block.number

    async def look(self) -> tuple[Block, bool]:
        """The newest block, and whether a noted one was replaced.

        Raises:
            ServiceUnavailable: the chain does not answer; it is asked about the same blocks at the next look.
        """
        noted = dict(self._noted)
        only = next(iter(noted)) if len(noted) == 1 else ""
        seen = await self._chain.snapshot(Wanted(blocks=tuple(dict.fromkeys(noted.values()))), since=only)
        head = seen.block
        # A lone noted block that is the newest still is there; of any other its height tells.
        rewritten = head.hash != only and any(
            seen.hashes.get(number) != block_hash for block_hash, number in noted.items()
        )
        for block_hash in noted:
            self._noted.pop(block_hash, None)
        self.note(head)
        return head, rewritten
