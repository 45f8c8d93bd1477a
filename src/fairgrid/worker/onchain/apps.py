"""What apps say of themselves: fixed for ever, because an app's address is made of it (CREATE2)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from fairgrid.chain.interface import Chain
from fairgrid.protocol.views import AppInfo

__all__ = ["KnownApps"]

_SIZE: Final = 256


class KnownApps:
    """Reads each app once; the least recently used of more than 256 are read again. An app's ``owner`` may be old."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._known: OrderedDict[str, AppInfo] = OrderedDict()

    async def at(self, address: str) -> AppInfo:
        """What the app at this address says.

        Raises:
            ContractReverted: there is no app.
            ServiceUnavailable: the chain does not answer.
        """
        if address not in self._known:
            self._known[address] = await self._chain.view_app(address)
            if len(self._known) > _SIZE:
                self._known.popitem(last=False)
        self._known.move_to_end(address)
        return self._known[address]
