"""The pool's own transactions: bundled, signed, stored, sent, watched; after a crash the same bytes (decision 25)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from fairgrid.chain.fees import Fees, first_fees
from fairgrid.chain.interface import Call, Chain
from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.core.events import EffectFailed
from fairgrid.pool.core.instructions import ChainInstruction
from fairgrid.pool.onchain.bundles import Bundle, bundled
from fairgrid.pool.onchain.gas_money import GasMoney
from fairgrid.pool.onchain.outbox import Ended, Outbox, SendingRules
from fairgrid.pool.records.ledger import Ledger
from fairgrid.pool.records.ledger_entries import LedgerEffect
from fairgrid.pool.records.rows import EffectStatus
from fairgrid.pool.records.store import PoolStore
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer

__all__ = ["ChainEffects", "step_of"]

_log = structlog.get_logger(__name__)

_POLL_S = 0.25
_LONGEST_PAUSE_S = 15.0
_MOST_AT_ONCE = 500
_MONEY_EVERY_S = 15.0


def step_of(instruction: ChainInstruction) -> str:
    """The name of the step in the machine's words: the kind's name in lower case."""
    return type(instruction).__name__.lower()


class ChainEffects:
    """Takes instructions as they come, sends them in bundles, many under way at once, and watches all of them.

    ``callback_of`` gives a task's callback contract (the zero address: none). ``failed`` is told of a refusal; it
    compares the task with the chain and tells the machine.
    """

    def __init__(
        self,
        *,
        chain: Chain,
        signer: Signer,
        store: PoolStore,
        clock: Clock,
        callback_of: Callable[[str], str],
        failed: Callable[[EffectFailed], Awaitable[None]],
        rules: SendingRules | None = None,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``check`` raises if the node is not on the pool's chain; it is asked before anything is signed."""
        self._check = check
        self._chain = chain
        self._signer = signer
        self._clock = clock
        self._callback_of = callback_of
        self._failed = failed
        self._rules = rules or SendingRules()
        self._ledger = Ledger(store.engine)
        self._outbox = Outbox(chain=chain, signer=signer, ledger=self._ledger, clock=clock, rules=self._rules)
        self._queue: asyncio.Queue[ChainInstruction] = asyncio.Queue()
        self._money_at = 0.0
        self.gas_money = GasMoney(low_below=self._rules.low_balance_transactions)

    @property
    def under_way(self) -> int:
        """How many transactions are sent and not mined."""
        return self._outbox.count

    def use_rules(self, rules: SendingRules) -> None:
        """Send by other rules from now on."""
        self._rules = rules
        self._outbox.use_rules(rules)
        self.gas_money = replace(self.gas_money, low_below=rules.low_balance_transactions)

    @property
    def tally(self) -> Counter[str]:
        """What became of transactions since this process leads (`Outbox.tally`); read only."""
        return self._outbox.tally

    async def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """The transactions that carried effects out, by key; those of which there is none are left out."""
        effects = await asyncio.to_thread(self._ledger.effects, keys)
        return {key: found.transaction.hash for key, found in effects.items() if found.transaction is not None}

    def submit(self, instruction: ChainInstruction) -> None:
        """Have a transaction sent; its effect is in the store already."""
        self._queue.put_nowait(instruction)

    async def send_beside(self, prepared: Sequence[tuple[Call, int]]) -> None:
        """Send calls that carry out nothing of the scheduler's, each with its gas.

        Raises:
            ServiceUnavailable: the chain does not answer; nothing was signed.
            Superseded: another process has the key now.
        """
        if self._check is not None:
            await self._check()
        fees = await self._affordable_fees()
        await self._outbox.put([(call, (), gas) for call, gas in prepared], fees)

    async def resume(self) -> frozenset[str]:
        """Take the key over, and take up what was under way when the pool ended; gives the keys of all of it."""
        await asyncio.to_thread(self._ledger.begin, self._signer.address)
        stored = await asyncio.to_thread(self._ledger.under_way)
        for effect in stored:
            if effect.versions:
                self._outbox.adopt(effect.versions)
            else:
                self._queue.put_nowait(effect.instruction)
        return frozenset(effect.key for effect in stored)

    async def send(self) -> None:
        """Send what is queued, for ever.

        Raises:
            Superseded: another process has the key now.
        """
        while True:
            taken = [await self._queue.get()]
            if self._outbox.count and self._rules.gather_s:
                await self._clock.sleep(self._rules.gather_s)
            while len(taken) < _MOST_AT_ONCE and not self._queue.empty():
                taken.append(self._queue.get_nowait())
            pause = 0.5
            while True:
                try:
                    await self._send(taken)
                    break
                except ServiceUnavailable as error:
                    _log.warning("the chain does not answer; transactions wait", count=len(taken), error=str(error))
                    await self._clock.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def watch(self) -> None:
        """Look for receipts, for ever; send again what is not mined; keep an eye on the coins for gas.

        Raises:
            Superseded: another process has the key now.
        """
        while True:
            await self._clock.sleep(_POLL_S)
            try:
                ended = await self._outbox.look()
                if self._clock.now() >= self._money_at + _MONEY_EVERY_S:
                    await self._look_at_money()
            except ServiceUnavailable:
                continue
            await self._tell(ended)

    async def try_again(self, kind: type[ChainInstruction]) -> None:
        """Send all of a kind again that were refused: nobody else decides it anew."""
        for instruction in await asyncio.to_thread(self._ledger.plan_again, kind):
            self.submit(instruction)

    async def purge(self, before: float, *, limit: int) -> int:
        """Delete old transactions that carry out nothing that is still stored; gives how many went."""
        return await asyncio.to_thread(self._ledger.purge, before, limit=limit)

    # --- within ---------------------------------------------------------------------------------------------------

    async def _send(self, instructions: Sequence[ChainInstruction]) -> None:
        stored = await asyncio.to_thread(self._ledger.effects, [instruction.key for instruction in instructions])
        fresh: dict[str, LedgerEffect] = {}
        for instruction in instructions:
            effect = stored.get(instruction.key)
            if effect is None or effect.status is EffectStatus.FAILED or self._outbox.carries(effect.key):
                continue
            if effect.versions:  # a reorganisation took it back: the very same bytes again
                self._outbox.adopt(effect.versions)
            else:
                fresh[effect.key] = effect
        if not fresh:
            return
        if self._check is not None:
            await self._check()
        fees = await self._affordable_fees()
        prepared, refused = await self._prepare(list(fresh.values()))
        prepared = await self._paid_for(prepared, fees, refused)
        if prepared:
            items = [(bundle.call, bundle.keys, gas) for bundle, gas in prepared]
            signed = await self._outbox.put(items, fees)
            _log.info(
                "transactions sent",
                count=len(signed),
                effects=sum(len(keys) for _, keys, _ in items),
                first_nonce=signed[0].nonce,
            )
        await asyncio.to_thread(self._ledger.fail, refused)
        await self._tell([Ended((key,), reason) for key, reason in refused])

    async def _affordable_fees(self) -> Fees:
        """The fees to offer now; waits while gas is dearer than the caps."""
        pause = 1.0
        while True:
            market = await self._chain.fee_market()
            fees = first_fees(market, self._rules.caps)
            if fees is not None:
                return fees
            _log.warning(
                "gas is dearer than max_fee_gwei; transactions wait",
                base_fee_wei=market.base_fee_wei,
                max_fee_wei=self._rules.caps.max_fee_wei,
            )
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _prepare(self, effects: Sequence[LedgerEffect]) -> tuple[list[tuple[Bundle, int]], list[tuple[str, str]]]:
        """Simulate; gives bundles with their gas, and the keys of what would fail with the reasons.

        A bundle that fails as a whole is taken apart: who fails alone is refused, the others are bundled anew, and if
        that fails too they go one by one. What was refused once before always goes alone.
        """
        hub, callback_of, rules = self._chain.hub, self._callback_of, self._rules
        alone = frozenset(effect.key for effect in effects if effect.attempt > 1)
        waiting = bundled(
            [effect.instruction for effect in effects], hub, callback_of, most=rules.max_batch_tasks, alone=alone
        )
        ready: list[tuple[Bundle, int]] = []
        refused: list[tuple[str, str]] = []
        for second_time in (False, True):
            apart: list[Bundle] = []
            for bundle, answer in await self._simulate(waiting):
                if isinstance(answer, int) and (len(bundle.keys) == 1 or answer <= rules.max_batch_gas):
                    ready.append((bundle, answer))
                elif len(bundle.keys) == 1:
                    refused.append((bundle.keys[0], str(answer)))
                else:
                    apart += bundle.singles(hub, callback_of)
            good: list[tuple[Bundle, int]] = []
            for bundle, answer in await self._simulate(apart):
                if isinstance(answer, int):
                    good.append((bundle, answer))
                else:
                    refused.append((bundle.keys[0], str(answer)))
            most = min(rules.max_batch_tasks, max(rules.max_batch_gas // max((gas for _, gas in good), default=1), 1))
            if second_time or len(good) < 2 or most < 2:
                return ready + good, refused
            instructions = [instruction for bundle, _ in good for instruction in bundle.instructions]
            waiting = bundled(instructions, hub, callback_of, most=most)
        return ready, refused

    async def _simulate(self, bundles: Sequence[Bundle]) -> list[tuple[Bundle, int | Exception]]:
        if not bundles:
            return []
        answers = await self._chain.estimate([bundle.call for bundle in bundles], self._signer.address)
        return list(zip(bundles, answers, strict=True))

    async def _paid_for(
        self, prepared: Sequence[tuple[Bundle, int]], fees: Fees, refused: list[tuple[str, str]]
    ) -> list[tuple[Bundle, int]]:
        """Those that the coins suffice for, each with the gas that it may use; adds the others to ``refused``."""
        has = await self._chain.balance_wei(self._signer.address)
        free = has - self._outbox.committed_wei
        paid = []
        for bundle, estimate in prepared:
            gas = estimate * 3 // 2 + 30_000
            free -= gas * fees.max_fee_wei
            if free >= 0:
                paid.append((bundle, gas))
                continue
            reason = (
                f"{self._signer.address} cannot pay the gas: it has {has} wei and lacks {-free}. Send it coins of "
                f"chain {self._chain.chain_id}; the pool tries again by itself"
            )
            refused += [(key, reason) for key in bundle.keys]
            self._money_at = 0.0
        return paid

    async def _look_at_money(self) -> None:
        market = await self._chain.fee_market()
        balance = await self._chain.balance_wei(self._signer.address)
        self._money_at = self._clock.now()
        self.gas_money = self.gas_money.seen(balance, market)
        if self.gas_money.is_low:
            _log.warning(
                "coins for gas run out; send some to the pool's key",
                address=self._signer.address,
                balance_wei=balance,
                transactions_left=self.gas_money.transactions_left,
            )

    async def _tell(self, outcomes: Sequence[Ended]) -> None:
        bad = [(key, outcome.reason) for outcome in outcomes if outcome.reason for key in outcome.keys]
        if not bad:
            return
        effects = await asyncio.to_thread(self._ledger.effects, [key for key, _ in bad])
        for key, reason in bad:
            task, _, step = key.partition("/")
            _log.warning("transaction refused", task=task, step=step, reason=reason)
        await asyncio.gather(
            *(
                self._failed(EffectFailed(effects[key].instruction.task_id, step_of(effects[key].instruction), reason))
                for key, reason in bad
                if key in effects
            )
        )
