"""`Client` for programs without an event loop: the same object behind it, on a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from fairgrid.chain.network import Network
from fairgrid.client.bags import BagFollower
from fairgrid.client.client import Client
from fairgrid.client.facets.blocking import BlockingDatasets, BlockingDeals, BlockingOrders, BlockingTasks
from fairgrid.client.journal import DealRecord, Journal
from fairgrid.client.waiting import Waiting, waits
from fairgrid.pool.client import LiveOutput, LiveProgress
from fairgrid.seams.loop_thread import LoopThread
from fairgrid.wallet.secret_store import SecretStore
from fairgrid.wallet.signer import Signer

__all__ = ["BlockingClient"]


class BlockingClient(Waiting[Client]):
    """One requester on one network. Make it with `BlockingClient.connect`, in a ``with`` block.

    Every method of `Client` is here, and returns when its work is done; whatever interrupts it, Ctrl-C for one, cancels
    the work. Progress is told from the client's own thread. ``core`` is the `Client` itself: `wait` runs anything that
    its chain, market, storage and pool can do, such as ``client.wait(client.core.market.app_orders("any"))``.
    """

    def __init__(self, connecting: AbstractAsyncContextManager[Client]) -> None:
        self._connecting = connecting
        self._loop = LoopThread("fairgrid-client")
        try:
            core = self._loop.wait(connecting.__aenter__())
        except BaseException:
            self._loop.close()
            raise
        super().__init__(core, self._loop)
        self.orders = BlockingOrders(core.orders, self._loop)
        """As `Client.orders`."""
        self.datasets = BlockingDatasets(core.datasets, self._loop)
        """As `Client.datasets`."""
        self.deals = BlockingDeals(core.deals, self._loop)
        """As `Client.deals`."""
        self.tasks = BlockingTasks(core.tasks, self._loop)
        """As `Client.tasks`."""

    @classmethod
    def connect(
        cls, network: Network | str | Path, signer: Signer, *, journal_folder: Path | None = None
    ) -> BlockingClient:
        """As `Client.connect`; `close` it in the end, or use it as a context manager.

        Raises:
            as `Client.connect`.
        """
        return cls(Client.connect(network, signer, journal_folder=journal_folder))

    def close(self) -> None:
        """Disconnect. Deals go on."""
        self._loop.close(_left(self._connecting))

    def __enter__(self) -> BlockingClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def network(self) -> Network:
        """The network."""
        return self.core.network

    @property
    def address(self) -> str:
        """The requester."""
        return self.core.address

    @property
    def journal(self) -> Journal:
        """The deals of this requester."""
        return self.core.journal

    @property
    def secrets(self) -> SecretStore:
        """As `Client.secrets`."""
        return self.core.secrets

    def secrets_named(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """As `Client.secrets_named`."""
        return self.core.secrets_named(names)

    account = waits(Client.account)
    quote = waits(Client.quote)
    submit = waits(Client.submit)
    sign = waits(Client.sign)
    sign_quote = waits(Client.sign_quote)
    match = waits(Client.match)
    follow = waits(Client.follow)
    collect = waits(Client.collect)
    collect_bag = waits(Client.collect_bag)
    bag_settlement = waits(Client.bag_settlement)
    claim_bag = waits(Client.claim_bag)
    materialise = waits(Client.materialise)
    partial = waits(Client.partial)
    settlement = waits(Client.settlement)
    certificate = waits(Client.certificate)
    claim = waits(Client.claim)

    @contextmanager
    def bag(self, record: DealRecord) -> Iterator[BagFollower]:
        """As `Client.bag`: the follower is for `collect_bag` and the others, and ``wait(follower.wait(told))``.

        Raises:
            as `Client.bag`.
        """
        following = self.core.bag(record)
        follower = self.wait(following.__aenter__())
        try:
            yield follower
        finally:
            self.wait(_left(following))

    def live(self, task_id: str) -> Iterator[LiveOutput | LiveProgress]:
        """As `Client.live`, piece by piece as they come."""
        pieces = self.core.live(task_id)

        async def following() -> LiveOutput | LiveProgress | None:
            return await anext(pieces, None)

        while (piece := self.wait(following())) is not None:
            yield piece


async def _left(entered: AbstractAsyncContextManager[Any]) -> None:
    await entered.__aexit__(None, None, None)
