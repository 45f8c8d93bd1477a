"""A job's proxy from its listener to its last byte, for sandboxes."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack

from fairgrid.runtime.network.gateway import Gateway
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.network.listener import listener_of_process

__all__ = ["JobNetwork"]


class JobNetwork:
    """One job's; `join` or `serve` before it starts, `leave` when nothing of it runs any more."""

    def __init__(self, grant: NetworkGrant) -> None:
        self._gateway = Gateway(grant)
        self._stack = AsyncExitStack()

    @property
    def used_bytes(self) -> int:
        """What went through, both ways."""
        return self._gateway.used_bytes

    async def join(self, pid: int) -> None:
        """Serve the network of a process, which waits meanwhile.

        Raises:
            HostFailure: its network cannot be entered.
        """
        await self.serve(await listener_of_process(pid))

    async def serve(self, listener: socket.socket) -> None:
        """Serve on a listener, which is closed in the end."""
        try:
            await self._stack.enter_async_context(self._gateway.serving(listener))
        except BaseException:
            listener.close()
            raise

    async def leave(self) -> None:
        """End every connection."""
        await self._stack.aclose()
