"""What is told of a pool at work in figures: one place to ask, for its metrics, its dashboard and its operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sized

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.interface import Chain
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.sponsoring import DebtSums
from fairgrid.pool.observability.dashboard import Totals
from fairgrid.pool.observability.numbers import Census, PoolNumbers
from fairgrid.pool.observability.telling import GroupTeller
from fairgrid.pool.onchain.effects import ChainEffects
from fairgrid.pool.onchain.gas_money import GasMoney
from fairgrid.pool.onchain.repayments import Repayments
from fairgrid.pool.onchain.watcher import ChainWatcher
from fairgrid.pool.work_loop import WorkLoop
from fairgrid.seams.clock import Clock

__all__ = ["PoolFigures"]


class PoolFigures:
    """Implements `meter.Measured` and `dashboard.Shown` from the parts of a pool that know each figure."""

    def __init__(
        self,
        *,
        machine: PoolMachine,
        loop: WorkLoop,
        teller: GroupTeller,
        effects: ChainEffects,
        watcher: ChainWatcher,
        repayments: Repayments,
        chain: Chain,
        sessions: Sized,
        refusals: Counter[str],
        clock: Clock,
    ) -> None:
        """``sessions`` are the workers' connections; ``refusals`` counts why workers were turned away."""
        self._machine = machine
        self._loop = loop
        self._teller = teller
        self._effects = effects
        self._watcher = watcher
        self._repayments = repayments
        self._chain = chain
        self._sessions = sessions
        self._clock = clock
        self._census = Census(machine)
        self.refusals = refusals

    def now(self) -> float:
        """Local time, in seconds since the epoch."""
        return self._clock.now()

    def numbers(self) -> PoolNumbers:
        """What the pool is doing, counted at most once a second."""
        return self._census.numbers(self._clock.now())

    @property
    def totals(self) -> Totals:
        """Sums over all tasks that ended since this process leads."""
        return self._teller.totals

    @property
    def tally(self) -> Counter[str]:
        """How often what happened to leases and audits (`Book.tally`); read only."""
        return self._machine.tally

    @property
    def transactions_tally(self) -> Counter[str]:
        """What became of transactions since this process leads (`Outbox.tally`); read only."""
        return self._effects.tally

    @property
    def transactions_under_way(self) -> int:
        """How many transactions are sent and not mined."""
        return self._effects.under_way

    @property
    def gas_money(self) -> GasMoney:
        """How long the key's coins last."""
        return self._effects.gas_money

    @property
    def debts(self) -> DebtSums:
        """What sponsored workers owe the sponsor, as it was counted last."""
        return self._repayments.sums

    @property
    def rpc_calls(self) -> Mapping[str, int]:
        """How often the node was asked what since this process began, by method; a chain in memory is not counted."""
        return self._chain.rpc.asked.calls if isinstance(self._chain, JsonRpcChain) else {}

    @property
    def chain_time(self) -> int:
        """Time of the newest block, in seconds; 0 before the first was seen."""
        return self._watcher.chain_time

    @property
    def chain_silence_s(self) -> float:
        """Seconds since the chain last answered."""
        return max(self._clock.now() - self._watcher.answered_at, 0.0)

    @property
    def reorganisations(self) -> int:
        """How often the chain took events of the hub back."""
        return self._watcher.reorganisations

    @property
    def queued_events(self) -> int:
        """Events that are not taken yet."""
        return self._loop.queued

    @property
    def connected(self) -> int:
        """Workers' connections."""
        return len(self._sessions)
