"""A worker whose stake a sponsor gave, on a chain in memory."""

from __future__ import annotations

from pathlib import Path

from fairgrid.chain import calls
from fairgrid.chain.twin import ModelChain
from fairgrid.protocol.pool_messages import Sponsored
from fairgrid.seams.clock import SystemClock
from fairgrid.wallet.keys import KeySigner
from fairgrid.worker.agent import AgentOptions
from fairgrid.worker.core.debts import Debt, Repay
from fairgrid.worker.core.held import Phase
from fairgrid.worker.core.machine import WorkerMachine
from fairgrid.worker.onchain.repaying import Repayer
from fairgrid.worker.onchain.transactions import Transactions
from fairgrid.worker.records.debts import DebtStore
from fairgrid.worker.records.store import Finished, WorkerStore
from tests.worker.world import DEPOSIT, OTHER, WORKER, World

STAKE = 100
SPONSOR = OTHER


class Life:
    """One process of a worker that was sponsored, from its folder on; the next one is another `Life`."""

    def __init__(
        self,
        world: World,
        folder: Path,
        *,
        how: Repay = Repay.EARNINGS,
        chain: ModelChain | None = None,
        worker: str = WORKER.address,
        replace_after_s: float = 60.0,
    ) -> None:
        self.world, self.chain = world, chain or world.chain
        self.store = WorkerStore.open(folder / "worker.sqlite")
        self.debts = DebtStore(self.store)
        self.said: list[str] = []
        machine = WorkerMachine(slots=1)
        clock, options = SystemClock(), AgentOptions(replace_after_s=replace_after_s)
        transactions = Transactions(self.chain, WORKER, clock=clock, poll_s=0.01)
        self.repayer = Repayer(
            chain=self.chain,
            signer=WORKER,
            worker=worker,
            workerpool=world.workerpool,
            machine=machine,
            transactions=transactions,
            store=self.store,
            how=lambda: how,
            clock=clock,
            options=options,
            say=self.said.append,
        )
        transactions.beside = self.repayer.unmined

    def earn(self, nrlc: int) -> None:
        """The history says that a task brought so much."""
        name = f"0x{len(self.store.finished(limit=None)):064x}"
        line = Finished(name, name, self.world.workerpool, Phase.UPLOADED, "completed", nrlc, 1.0)
        self.store.apply([], retired=[line])

    @property
    def debt(self) -> Debt:
        found = self.debts.debt(self.world.workerpool)
        assert found is not None
        return found

    async def looks(self, times: int = 2) -> None:
        for _ in range(times):
            await self.repayer.look()


async def give(world: World, nrlc: int = STAKE, *, by: KeySigner = SPONSOR, to: str = WORKER.address) -> Sponsored:
    """The sponsor gives; what the pool says of it."""
    receipt = await world.chain.transact(calls.transfer_deposit(world.chain.hub, to, nrlc), by)
    return Sponsored(nrlc, 0, "", by.address, nrlc, 0, receipt.tx_hash)


async def got_back(world: World, who: KeySigner = SPONSOR) -> int:
    """What the sponsor has more than after it gave."""
    return (await world.chain.view_account(who.address)).stake - (DEPOSIT - STAKE)


async def indebted(world: World, folder: Path, **life: object) -> Life:
    made = Life(world, folder, **life)  # type: ignore[arg-type]
    await made.repayer.begin()
    await made.repayer.asking()
    await made.repayer.answered(await give(world))
    assert made.debt.given_nrlc == STAKE
    return made
