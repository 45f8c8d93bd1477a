"""The transactions of one key that are under way: sent, looked for, sent again, replaced by dearer ones, brought back.

Nonces have no gaps: what was signed stays here until a transaction with its nonce is mined. A reorganisation that takes
mined transactions back brings them here again, as the same bytes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from fairgrid.chain import calls
from fairgrid.chain.envelope import read_envelope
from fairgrid.chain.fees import FeeCaps, FeeMarket, Fees, first_fees, replacement_fees
from fairgrid.chain.interface import Call, Chain, Mined, SignedTransaction
from fairgrid.chain.sender import NonceTaken
from fairgrid.errors import FundsError, ServiceUnavailable
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.records.ledger import Ledger
from fairgrid.pool.records.ledger_entries import LedgerTransaction, TransactionStatus
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer

__all__ = ["Ended", "Outbox", "SendingRules"]

_log = structlog.get_logger(__name__)

_REBROADCAST_S = 15.0
_RETRY_S = 2.0
_COUNT_WHEN_IDLE_S = 2.0
_HEAD_KNOWN_S = 1.0
"""Whoever follows the chain's events asks for the newest block more often than this."""
_LOST_AFTER_S = 5.0
_LOST_AFTER_LOOKS = 4
_REFUSALS = 5
_REPLACED_AT_ONCE = 50
_TRANSFER_GAS = 21_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingRules:
    """How the pool sends. Times are seconds of its own clock."""

    caps: FeeCaps = field(default_factory=FeeCaps)
    replace_after_s: float = 60.0
    """A transaction that is not mined for so long is replaced by a dearer one."""
    max_batch_tasks: int = 50
    """So many initializations or claims go into one transaction."""
    max_batch_gas: int = 5_000_000
    """And no more gas than this."""
    gather_s: float = 0.2
    """While others are under way, wait so long for more that could go into the same transaction."""
    low_balance_transactions: int = 200
    """Warn when the coins last for fewer transactions than this."""

    @classmethod
    def of(cls, policy: Policy) -> SendingRules:
        """What a pool's policy says of it."""
        return cls(
            caps=FeeCaps(max_fee_wei=int(policy.max_fee_gwei * 10**9), max_tip_wei=int(policy.max_tip_gwei * 10**9)),
            replace_after_s=policy.replace_after_s,
            max_batch_tasks=policy.max_batch_tasks,
            low_balance_transactions=policy.low_balance_transactions,
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a transaction ended; ``reason`` is empty if it did what it should."""

    keys: tuple[str, ...]
    reason: str = ""


@dataclass(slots=True)
class _Outstanding:
    """All versions of the transaction of one nonce; newest last."""

    nonce: int
    keys: tuple[str, ...]
    versions: list[SignedTransaction]
    signed_at: float
    send_at: float = 0.0
    missed: int = 0
    missed_since: float = 0.0
    refusals: int = 0

    @property
    def newest(self) -> SignedTransaction:
        return self.versions[-1]


class Outbox:
    """One key's transactions. `put` signs and sends; `look`, called again and again, tells how they ended."""

    def __init__(self, *, chain: Chain, signer: Signer, ledger: Ledger, clock: Clock, rules: SendingRules) -> None:
        self._chain = chain
        self._signer = signer
        self._ledger = ledger
        self._clock = clock
        self._rules = rules
        self._next: int | None = None
        self._outstanding: dict[int, _Outstanding] = {}
        self._recalled = False
        self._mined_below = 0
        self._counted_at = 0.0
        self._counted: tuple[str, int] | None = None
        self._changing = asyncio.Lock()
        self.tally: Counter[str] = Counter()
        """How many transactions were signed, replaced, mined, reverted, lost (to a stranger) and given up, and what the
        mined ones cost: ``gas`` units and ``wei``."""

    @property
    def count(self) -> int:
        """How many are under way."""
        return len(self._outstanding)

    @property
    def committed_wei(self) -> int:
        """What all that is under way may cost at most."""
        envelopes = [read_envelope(item.newest.raw) for item in self._outstanding.values()]
        return sum(envelope.gas * envelope.fees.max_fee_wei + envelope.value_wei for envelope in envelopes)

    def use_rules(self, rules: SendingRules) -> None:
        """Sign by other rules from now on."""
        self._rules = rules

    def carries(self, key: str) -> bool:
        """True while a transaction that carries out this effect is under way."""
        return any(key in item.keys for item in self._outstanding.values())

    def adopt(self, versions: Sequence[LedgerTransaction]) -> None:
        """Take up transactions that were signed before; `look` sends them."""
        for stored in versions:
            known = self._outstanding.get(stored.transaction.nonce)
            keys = () if stored.status is TransactionStatus.REVERTED else stored.keys
            if known is None:
                self._outstanding[stored.transaction.nonce] = _Outstanding(
                    stored.transaction.nonce, keys, [stored.transaction], self._clock.now()
                )
            elif stored.transaction.hash not in {version.hash for version in known.versions}:
                known.versions.append(stored.transaction)

    async def put(self, prepared: Sequence[tuple[Call, tuple[str, ...], int]], fees: Fees) -> list[SignedTransaction]:
        """Give each call (with the keys that it carries out, and its gas) the next nonce; sign, store and send it.

        Raises:
            ServiceUnavailable: the chain does not answer; nothing was signed. Once signed, `look` goes on.
            Superseded: another process has the key now; nothing was sent.
        """
        sender = self._signer.address
        async with self._changing:
            pending = await self._chain.count_transactions(sender, pending=True)
            if self._next is None:
                self._next = await asyncio.to_thread(self._ledger.next_nonce, sender)
            first = max(self._next, pending)

            def sign() -> list[SignedTransaction]:
                return [
                    self._chain.sign(call, self._signer, nonce=nonce, gas=gas, fees=fees)
                    for nonce, (call, _, gas) in enumerate(prepared, first)
                ]

            signed = await asyncio.to_thread(sign)
            entries = [
                LedgerTransaction(transaction, keys) for transaction, (_, keys, _) in zip(signed, prepared, strict=True)
            ]
            now = self._clock.now()
            await asyncio.to_thread(self._ledger.record, entries, at=now)
            self._next = first + len(signed)
            self.tally["signed"] += len(signed)
            for entry in entries:
                nonce = entry.transaction.nonce
                self._outstanding[nonce] = _Outstanding(nonce, entry.keys, [entry.transaction], now)
            try:
                await self._send([self._outstanding[entry.transaction.nonce] for entry in entries])
            except ServiceUnavailable as error:
                _log.warning("the chain does not answer; signed transactions wait", error=str(error))
            return signed

    async def look(self) -> list[Ended]:
        """Look once at all that is under way; send again what is due. Gives what ended.

        Raises:
            ServiceUnavailable: the chain does not answer.
            Superseded: another process has the key now.
        """
        now = self._clock.now()
        if not self._outstanding and now < self._counted_at + _COUNT_WHEN_IDLE_S:
            return []
        async with self._changing:
            count = await self._count()
            self._counted_at = now
            await self._bring_back(count)
            ended = await self._ended([item for item in self._outstanding.values() if item.nonce < count])
            waiting = sorted(
                (item for item in self._outstanding.values() if item.nonce >= count), key=lambda item: item.nonce
            )
            await self._replace([item for item in waiting if now >= item.signed_at + self._rules.replace_after_s])
            await self._send([item for item in waiting if now >= item.send_at])
            ended += await self._void([item for item in waiting if item.refusals >= _REFUSALS])
            return ended

    # --- within ---------------------------------------------------------------------------------------------------

    async def _count(self) -> int:
        """How many of the key's transactions are mined; while no block comes, none is."""
        head = await self._chain.head(within_s=_HEAD_KNOWN_S)
        if self._counted is None or self._counted[0] != head.hash:
            self._counted = head.hash, await self._chain.count_transactions(self._signer.address)
        return self._counted[1]

    async def _bring_back(self, count: int) -> None:
        """Transactions that were mined and are no longer: the chain was rewritten. They are sent again.

        Also those that a process before this one saw mined, whatever it left under way: later nonces wait for them.
        """
        if not self._recalled:
            self._recalled = True
            self._mined_below = await asyncio.to_thread(self._ledger.next_nonce, self._signer.address)
        if count < self._mined_below:
            lost = await asyncio.to_thread(self._ledger.from_nonce, self._signer.address, count)
            unknown = [stored for stored in lost if stored.transaction.nonce not in self._outstanding]
            self.adopt(unknown)
            if unknown:
                _log.warning("transactions are not mined (any more); they are sent again", count=len(unknown))
            self._mined_below = count
        await self._fill(count)

    async def _fill(self, count: int) -> None:
        """Something that does nothing takes each nonce of which no bytes are left: a stranger's was undone with it."""
        gaps = [
            nonce for nonce in range(count, max(self._outstanding, default=count)) if nonce not in self._outstanding
        ]
        if not gaps:
            return
        pending = await self._chain.count_transactions(self._signer.address, pending=True)
        gaps = [nonce for nonce in gaps if nonce >= pending]
        if not gaps:
            return  # a stranger's is on its way
        fees = first_fees(await self._chain.fee_market(), self._rules.caps)
        if fees is None:
            return
        call, now = calls.nothing(self._signer.address), self._clock.now()
        fillers = [self._chain.sign(call, self._signer, nonce=nonce, gas=_TRANSFER_GAS, fees=fees) for nonce in gaps]
        await asyncio.to_thread(self._ledger.record, [LedgerTransaction(filler, ()) for filler in fillers], at=now)
        for filler in fillers:
            self._outstanding[filler.nonce] = _Outstanding(filler.nonce, (), [filler], now)
        _log.warning("nonces that nothing has are filled", count=len(gaps), first=gaps[0])

    async def _ended(self, passed: Sequence[_Outstanding]) -> list[Ended]:
        """Of transactions whose nonce is used up: which were mined, and which lost their nonce to a stranger."""
        if not passed:
            return []
        hashes = [version.hash for item in passed for version in item.versions]
        found = dict(zip(hashes, await self._chain.mined(hashes), strict=True))
        good: list[tuple[LedgerTransaction, int | None]] = []
        bad: list[tuple[LedgerTransaction, int | None]] = []
        dead: list[tuple[LedgerTransaction, int | None]] = []
        for item in passed:
            receipt = next((seen for version in item.versions if (seen := found[version.hash]) is not None), None)
            if receipt is not None:
                self._done(item, receipt)
                status = TransactionStatus.MINED if receipt.succeeded else TransactionStatus.REVERTED
                version = next(version for version in item.versions if version.hash == receipt.tx_hash)
                settled = (LedgerTransaction(version, item.keys, status), receipt.block_number)
                (good if receipt.succeeded else bad).append(settled)
            elif self._lost(item):
                self.tally["lost"] += 1
                dead.append((LedgerTransaction(item.newest, item.keys, TransactionStatus.DEAD), None))
                del self._outstanding[item.nonce]
        if good or bad:
            gas = sum(receipt.gas_used for receipt in found.values() if receipt is not None)
            _log.info("transactions mined", count=len(good), refused=len(bad), gas=gas, under_way=self.count)
        refused = "it was mined, but the hub refused it"
        stolen = "another transaction of this key took its nonce (does another program use the key?)"
        await asyncio.to_thread(self._ledger.settle, good)
        await asyncio.to_thread(self._ledger.settle, bad, error=refused)
        await asyncio.to_thread(self._ledger.settle, dead, error=stolen)
        return [
            *(Ended(item.keys) for item, _ in good),
            *(Ended(item.keys, refused) for item, _ in bad),
            *(Ended(item.keys, stolen) for item, _ in dead),
        ]

    def _done(self, item: _Outstanding, receipt: Mined) -> None:
        del self._outstanding[item.nonce]
        self._mined_below = max(self._mined_below, item.nonce + 1)
        self.tally["mined" if receipt.succeeded else "reverted"] += 1
        self.tally["gas"] += receipt.gas_used
        self.tally["wei"] += receipt.gas_used * receipt.gas_price_wei

    def _lost(self, item: _Outstanding) -> bool:
        """True when no receipt was found for long enough; a node may know the nonce a moment before the receipt."""
        now = self._clock.now()
        item.missed += 1
        item.missed_since = item.missed_since or now
        return item.missed >= _LOST_AFTER_LOOKS and now >= item.missed_since + _LOST_AFTER_S

    async def _send(self, items: Sequence[_Outstanding]) -> None:
        if not items:
            return
        refusals = await self._chain.broadcast_all([item.newest for item in items])
        now = self._clock.now()
        for item, refusal in zip(items, refusals, strict=True):
            item.missed, item.missed_since = 0, 0.0
            if refusal is None or isinstance(refusal, NonceTaken):
                # A nonce that is taken is told by the count of the account, when that transaction is mined.
                item.refusals = 0
                item.send_at = now + _REBROADCAST_S
                continue
            item.send_at = now + _RETRY_S
            if not isinstance(refusal, FundsError):
                item.refusals += 1
            _log.warning("the node refuses a transaction; it waits", nonce=item.nonce, reason=str(refusal))

    async def _replace(self, stuck: Sequence[_Outstanding]) -> None:
        """Offer more for what is not mined; every version is stored, and any of them may be mined."""
        if not stuck:
            return
        market = await self._chain.fee_market()
        offers = [(item, self._offer(item, market)) for item in stuck[:_REPLACED_AT_ONCE]]
        dearer = [(item, fees) for item, fees in offers if fees is not None]
        now = self._clock.now()
        for item in stuck:
            item.signed_at = now

        def sign() -> list[SignedTransaction]:
            return [self._chain.replace(item.newest, self._signer, fees) for item, fees in dearer]

        signed = await asyncio.to_thread(sign)
        entries = [
            LedgerTransaction(transaction, item.keys) for transaction, (item, _) in zip(signed, dearer, strict=True)
        ]
        await asyncio.to_thread(self._ledger.record, entries, at=now)
        for transaction, (item, fees) in zip(signed, dearer, strict=True):
            item.versions.append(transaction)
            item.send_at = 0.0
            self.tally["replaced"] += 1
            _log.warning("a stuck transaction is replaced", nonce=item.nonce, max_fee_wei=fees.max_fee_wei)

    def _offer(self, item: _Outstanding, market: FeeMarket) -> Fees | None:
        fees = replacement_fees(read_envelope(item.newest.raw).fees, market, self._rules.caps)
        if fees is None:
            _log.warning("a transaction is stuck, and the fee caps forbid to offer more", nonce=item.nonce)
        return fees

    async def _void(self, refused: Sequence[_Outstanding]) -> list[Ended]:
        """Give up what no node takes; something that does nothing takes its nonce, so that later ones are not held."""
        outcomes = []
        for item in refused:
            fees = read_envelope(item.newest.raw).fees
            dearer = replacement_fees(fees, FeeMarket(0, 0), self._rules.caps) or fees
            call = calls.nothing(self._signer.address)
            filler = self._chain.sign(call, self._signer, nonce=item.nonce, gas=_TRANSFER_GAS, fees=dearer)
            await asyncio.to_thread(self._ledger.record, [LedgerTransaction(filler, ())], at=self._clock.now())
            reason = "no node takes its transaction"
            await asyncio.to_thread(self._ledger.fail, [(key, reason) for key in item.keys])
            outcomes.append(Ended(item.keys, reason))
            self.tally["given_up"] += 1
            self._outstanding[item.nonce] = replace(
                item, keys=(), versions=[*item.versions, filler], send_at=0.0, refusals=0
            )
        return outcomes
