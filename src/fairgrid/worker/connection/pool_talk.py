"""What a worker and its pool say to each other beside the tasks: welcome, coins, tests of speed, why it has no work.

What is about a task goes on as an event; the machine decides what follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from fairgrid.chain.interface import Chain
from fairgrid.errors import FairgridError, ServiceUnavailable
from fairgrid.protocol.pool_messages import Lease, PartialRequest, PoolMessage, Sponsored, SpotCheck, TaskKey, Why
from fairgrid.protocol.sponsorship import agreement_message
from fairgrid.protocol.worker_messages import (
    HeldLease,
    PartialResult,
    SponsorRequest,
    SpotAnswer,
    WhyRequest,
    WorkerMessage,
)
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer
from fairgrid.worker.connection.cache_report import CacheReporter
from fairgrid.worker.connection.link import LinkOptions, PoolLink
from fairgrid.worker.connection.task_keys import TaskKeyAsker
from fairgrid.worker.core import events as ev
from fairgrid.worker.core.machine import WorkerMachine
from fairgrid.worker.interface import AgentOptions, Announcer
from fairgrid.worker.onchain.ownership import Ownership
from fairgrid.worker.owner.clock_check import clock_warning

__all__ = ["Debts", "PoolTalk"]

_log = structlog.get_logger(__name__)
_WHY_WITHIN_S: Final = 5.0


class Debts(Protocol):
    """What is asked of a `fairgrid.worker.onchain.repaying.Repayer`."""

    @property
    def agrees(self) -> bool:
        """True if the pool is to be told that the stake is repaid."""
        ...

    async def asking(self) -> None:
        """Remember that a stake is asked for, before it is."""
        ...

    async def answered(self, message: Sponsored) -> None:
        """Take the pool's answer."""
        ...


class PoolTalk:
    """The worker's end of its connection; a `fairgrid.worker.connection.link.LinkUser`.

    ``report`` takes what a message means for tasks, ``start`` runs what takes a while beside everything else.
    """

    def __init__(
        self,
        link: LinkOptions,
        machine: WorkerMachine,
        *,
        chain: Chain,
        signer: Signer,
        worker: str,
        ownership: Ownership | None,
        clock: Clock,
        announcer: Announcer,
        options: AgentOptions,
        check: Callable[[int, int], Awaitable[int]] | None,
        report: Callable[[ev.Event], None],
        start: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """``check`` answers a pool's test of speed, of seed and rounds; None: it is not answered."""
        self._pool = link
        self._machine = machine
        self._chain = chain
        self._signer = signer
        self._worker = worker
        self._clock = clock
        self._announcer = announcer
        self._options = options
        self._check = check
        self._report = report
        self._start = start
        self._link = PoolLink(link, signer=signer, user=self, clock=clock, ownership=ownership)
        self._checking = False
        self._said = ""
        self._why: asyncio.Future[Why] | None = None
        self.trouble = "It has not reached its pool yet."
        """Why it is not enrolled, while it is not."""
        self.is_enrolled = False
        self.clock_warning = ""
        """What is wrong with this machine's clock, as far as chain and pool tell; empty if nothing is."""
        self.leased: Callable[[Lease], None] | None = None
        """Who hears of a lease before the machine does; None: nobody."""
        self.partials: Callable[[PartialRequest], Awaitable[PartialResult]] | None = None
        """Who answers when a requester asks for the files of a running job; None: nobody."""
        self.debts: Debts | None = None
        """Who keeps what a sponsor is owed; None: nothing is repaid."""
        self.keys = TaskKeyAsker(link, signer=signer, worker=worker, tell=self.tell)
        """Who asks for the keys of private jobs."""
        self.cache: CacheReporter | None = None
        """Who tells the pool which inputs lie here; None: nobody."""

    # --- the connection -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Wait for coins to pay gas with, unless the pool is asked for them; then keep a connection for ever."""
        while True:
            try:
                gas = await self._chain.balance_wei(self._signer.address)
            except ServiceUnavailable as error:
                self.wait_for(str(error))
            else:
                if gas > 0 or self._options.sponsor:
                    break
                self.wait_for(
                    f"{self._signer.address} has no coin of chain {self._chain.chain_id} to pay gas with. "
                    f"Send it some; this worker goes on by itself then."
                )
            await self._clock.sleep(min(2.0, self._options.poll_s * 2))
        await self._link.run()

    async def flush(self) -> None:
        """Return when everything that was told is on its way."""
        await self._link.flush()

    def tell(self, message: WorkerMessage) -> bool:
        """Send a message; False (and dropped) while the pool is not connected."""
        return self._link.send(message)

    @property
    def not_understood(self) -> tuple[str, ...]:
        """What this pool, of an older release, is not told."""
        return self._link.not_understood

    def set_slots(self, slots: int) -> None:
        """How many tasks at once the pool is told of, from the next heartbeat on."""
        self._link.set_slots(slots)

    def tell_changes(self) -> None:
        """Tell the pool of what the owner allows now, if that changed."""
        self._link.tell_changes()

    def wait_for(self, reason: str) -> None:
        """Tell the owner why there is no work now, once per reason."""
        self.trouble = reason
        if reason != self._said:
            self._said = reason
            self._announcer.waiting(reason)

    def report_cache(self) -> None:
        """Tell the pool of inputs that came, beside everything else."""
        if self.cache is not None:
            self._start(self.cache.report())

    async def pool_why(self) -> tuple[Why | None, str]:
        """Ask the pool why it gives no work; None with the reason where it does not answer."""
        if self._why is None or self._why.done():
            self._why = asyncio.get_running_loop().create_future()
        if "why_request" in self.not_understood:
            return None, "This pool is of an older release, which does not say why."
        if not self._link.send(WhyRequest()):
            return None, self.trouble
        try:
            async with asyncio.timeout(_WHY_WITHIN_S):
                return await asyncio.shield(self._why), ""
        except TimeoutError:
            return None, f"The pool did not answer within {_WHY_WITHIN_S:.0f} s."

    # --- what the link tells ------------------------------------------------------------------------------------

    def enrolled(self) -> None:
        self._said = ""
        self.is_enrolled = True
        self._report(ev.PoolConnected())
        self._announcer.ready(self._pool.url)
        self._start(self._check_clock(self._link.pool_time))
        if self.cache is not None:
            self.cache.connected()
            self.report_cache()
        if self._options.sponsor:
            self._start(self._ask_sponsor())

    def disconnected(self, reason: str) -> None:
        self.is_enrolled = False
        self.trouble = reason
        self._report(ev.PoolDisconnected())
        _log.warning("pool connection lost", reason=reason)

    def rejected(self, reason: str) -> None:
        self.wait_for(reason)

    def status(self) -> tuple[tuple[HeldLease, ...], int]:
        return self._machine.leases(), self._machine.free_slots

    def received(self, message: PoolMessage) -> None:
        match message:
            case Sponsored():
                self._sponsored(message)
            case SpotCheck():
                self._start(self._answer_check(message))
            case Why():
                if self._why is not None and not self._why.done():
                    self._why.set_result(message)
            case TaskKey():
                self.keys.answered(message)
            case PartialRequest():
                self._start(self._show_partial(message))
            case _:
                if isinstance(message, Lease) and self.leased is not None:
                    self.leased(message)
                self._report(message)  # type: ignore[arg-type]

    # --- answers ------------------------------------------------------------------------------------------------

    async def _ask_sponsor(self) -> None:
        repays = self.debts is not None and self.debts.agrees
        while self.debts is not None and repays:
            try:
                await self.debts.asking()
                break
            except (ServiceUnavailable, SQLAlchemyError) as error:
                # A stake that is not noted down as asked for would never be paid back.
                _log.warning("the pool is not asked for a stake yet", reason=str(error))
                await self._clock.sleep(self._options.poll_s)
        message = agreement_message(self._pool.chain_id, self._pool.hub, self._pool.workerpool, self._worker)
        self._link.send(SponsorRequest(self._signer.sign_message(message), repays=True if repays else None))

    def _sponsored(self, message: Sponsored) -> None:
        if self.debts is not None:
            self._start(self.debts.answered(message))
        _log.info("sponsored", stake_nrlc=message.stake_nrlc, coins_wei=message.coins_wei, reason=message.reason)
        self._announcer.waiting(
            f"The pool sponsors this worker with {message.stake_nrlc} nRLC of deposit and {message.coins_wei} wei "
            f"for gas. {message.reason}".strip()
        )

    async def _check_clock(self, pool_time: float | None) -> None:
        local = self._clock.now()
        try:
            chain_time: float | None = (await self._chain.head()).timestamp
        except ServiceUnavailable:
            chain_time = None
        self.clock_warning, sure = clock_warning(local, chain=chain_time, pool=pool_time)
        if sure:
            self._announcer.waiting(self.clock_warning)
        elif self.clock_warning:
            _log.warning("clock", reason=self.clock_warning)

    async def _answer_check(self, check: SpotCheck) -> None:
        if self._check is None or self._checking:
            return
        self._checking = True
        try:
            self._link.send(SpotAnswer(check_id=check.check_id, answer=await self._check(check.seed, check.rounds)))
        except FairgridError as error:
            _log.warning("a check of the pool was not answered", reason=str(error))
        finally:
            self._checking = False

    async def _show_partial(self, request: PartialRequest) -> None:
        if self.partials is not None:
            self._link.send(await self.partials(request))
