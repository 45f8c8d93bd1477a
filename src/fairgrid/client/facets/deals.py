"""``client.deals``: an account's deals as the chain has them, deals of signed orders, and money taken back."""

from __future__ import annotations

from dataclasses import dataclass

from fairgrid.chain.interface import Chain
from fairgrid.client.boost import BoostState
from fairgrid.client.deal_desk import KnownDeal, claim_of, deals_known, match_of, read_any_deal
from fairgrid.client.funds import DealState, Funds, explain_funds
from fairgrid.client.journal import Journal
from fairgrid.protocol.hexes import hex32, is_hex32
from fairgrid.protocol.orders import AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder
from fairgrid.wallet.signer import Signer

__all__ = ["Claimed", "DealMade", "Deals"]


@dataclass(frozen=True, slots=True)
class DealMade:
    """A deal that was made of signed orders."""

    deal_id: str
    tasks: int
    price: int
    """What each task locks of the requester's escrow (nRLC)."""
    tx_hash: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was taken back of an overdue deal."""

    deal_id: str
    payer: str
    tasks: int
    amount: int
    """What came back to the payer (nRLC)."""
    tx_hashes: tuple[str, ...]


class Deals:
    """The deals of one account, and those of others as far as the chain tells them. A deal is named by its id; one's
    own also by its beginning, by a task's, or ``last``.

    In the batch lane the tasks of a deal that was made elsewhere are known by the hub's events only: ``from_block`` is
    the block of its match, or one before.
    """

    def __init__(self, chain: Chain, journal: Journal, signer: Signer) -> None:
        self._chain = chain
        self._journal = journal
        self._signer = signer

    async def mine(self) -> list[KnownDeal]:
        """The account's deals of this journal, each with what the chain says of it, if it is mined.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        return await deals_known(self._chain, self._journal.all())

    async def show(self, deal: str = "last", *, from_block: int | None = None) -> DealState | BoostState:
        """A deal as it stands: parties, prices, what is settled, what is open, until when.

        Raises:
            UsageError: there is no such deal, or it is of others in the batch lane and ``from_block`` is not given.
            ServiceUnavailable: the chain does not answer.
        """
        deal_id, since = self._found(deal, from_block)
        return await read_any_deal(self._chain, deal_id, since)

    async def make(
        self, app: AppOrder, workerpool: WorkerpoolOrder, request: RequestOrder, dataset: DatasetOrder | None = None
    ) -> DealMade:
        """Match signed orders, of anybody: the deal is made, and its money locked in the escrow of the requester and
        of the pool's owner. Costs gas. `Client.submit` does it by itself for a job.

        Raises:
            OrderError: these orders make no deal; nothing was signed.
            TransactionFailed: another deal took them meanwhile.
        """
        call, price = await match_of(self._chain, self._signer.address, app, dataset, workerpool, request)
        receipt = await self._chain.transact(call, self._signer)
        (event,) = [event for event in receipt.events if event.name == "OrdersMatched"]
        return DealMade(event.arguments["dealid"], event.arguments["volume"], price, receipt.tx_hash)

    async def claim(self, deal: str = "last", *, from_block: int | None = None) -> Claimed:
        """Take back what a deal of anybody still locks, when its deadline has passed without results. Every party gets
        its own: the payer the price, workers their stakes; the pool loses its own. Costs gas.

        Raises:
            UsageError: the deadline has not passed, nothing is left, or as `show`; nothing was signed.
        """
        state = await self.show(deal, from_block=from_block)
        hashes = [(await self._chain.transact(call, self._signer)).tx_hash for call in claim_of(self._chain.hub, state)]
        amount = state.open_tasks * state.price
        return Claimed(state.deal_id, state.deal.sponsor, state.open_tasks, amount, tuple(hashes))

    async def funds(self, *, from_block: int | None = None) -> Funds:
        """Where every locked nRLC of the account is: in which deal, until when, what frees it. With ``from_block`` also
        deals that are not in this journal, by the hub's events since then.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        return await explain_funds(self._chain, self._signer.address, self._journal.all(), scan_from=from_block)

    def _found(self, text: str, from_block: int | None) -> tuple[str, int | None]:
        if not is_hex32(text):
            record = self._journal.find(text)
        else:
            named = [known for known in self._journal.all() if text.lower() in (known.deal_id, *known.task_ids)]
            if not named:
                return hex32(text), from_block
            record = named[0]
        return record.deal_id, record.block_number if from_block is None else from_block
