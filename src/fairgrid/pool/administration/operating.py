"""The operator's desk at a pool at work: a decision is stored, then told to the scheduler and whom it concerns."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fairgrid.errors import UsageError
from fairgrid.pool.administration.operations import WHOLE_POOL, Act, Drain, Operations, Setting
from fairgrid.pool.administration.operator_access import Signed
from fairgrid.pool.administration.operator_views import (
    PolicyKey,
    PolicyView,
    WorkerMark,
)
from fairgrid.pool.administration.outlook import PoolOutlook
from fairgrid.pool.core.events import OperatorBanned, OperatorUnbanned, PoolDrained, WorkerDrained, WorkerLabelled
from fairgrid.pool.core.policy import Policy, changed_policy, policy_values
from fairgrid.pool.core.worker_state import Ban
from fairgrid.pool.processes.leadership import Leadership
from fairgrid.pool.records.task_lists import TaskLists
from fairgrid.pool.service import PoolService

__all__ = ["LATER", "PoolOperator", "policy_in_force"]

LATER: Final = frozenset(
    {
        "confirmations",
        "start_block",
        "heartbeat_s",
        "max_bag_size",
        "keeper_gas_per_day",
        "keep_rows_days",
        "spot_check_every_s",
        "sponsor_stake_nrlc",
        "sponsor_coins_wei",
        "sponsor_day_stake_nrlc",
        "sponsor_day_coins_wei",
        "sponsor_per_owner",
        "sponsor_per_network_day",
        "sponsor_min_fuel_per_s",
        "sponsor_only_repaying",
    }
)
"""Keys of the policy that a term of lead begins with: a change counts from the next start or takeover on."""


def policy_in_force(base: Policy, settings: dict[str, Setting]) -> Policy:
    """The file's policy with what operators set while the pool ran.

    Raises:
        UsageError: what was set does not go with the file any more.
    """
    values = {setting.name: setting.value for setting in settings.values()}
    return changed_policy(base, values, source="what operators set (`fairgrid pool policy unset KEY` drops it)")


class PoolOperator:
    """What operators may tell a running `PoolService`; ``outlook`` is what they may ask of it."""

    def __init__(
        self,
        service: PoolService,
        operations: Operations,
        lists: TaskLists,
        *,
        base: Policy | None = None,
        leadership: Leadership | None = None,
    ) -> None:
        """``base`` is the policy of the file, without what was set since; ``leadership`` knows the other processes."""
        self.service = service
        self._operations = operations
        self._base = base or service.policy
        self._begun_with = service.policy
        self._drains: dict[str, Drain] = {}
        self._labels: dict[str, tuple[str, ...]] = {}
        self._settings: dict[str, Setting] = {}
        self._one_at_a_time = asyncio.Lock()
        self.outlook = PoolOutlook(service, lists, drains=lambda: self._drains, leadership=leadership)

    async def begin(self) -> None:
        """Take up what was decided before this process led; before workers come."""
        operations = self._operations
        self._drains, self._labels, self._settings = await asyncio.to_thread(
            lambda: (operations.drains(), operations.labels(), operations.settings())
        )
        for subject in self._drains:
            self.service.feed(PoolDrained(True) if subject == WHOLE_POOL else WorkerDrained(subject, True))
        for worker, words in self._labels.items():
            self.service.feed(WorkerLabelled(worker, words))

    @property
    def is_draining(self) -> bool:
        """Whether the pool takes nothing new."""
        return WHOLE_POOL in self._drains

    def is_operator(self, address: str) -> bool:
        """Whether an address may administer the pool now."""
        return address == self.service.scheduler or address in self.service.policy.operators

    # --- acting ---------------------------------------------------------------------------------------------------

    async def drain(self, subject: str, reason: str, signed: Signed) -> Drain:
        """Give a worker, or let `WHOLE_POOL` take, nothing new; what runs goes on to its end."""
        act = self._act(signed, "drain", subject, reason)
        drain = Drain(subject, signed.who, reason, act.at)
        async with self._one_at_a_time:
            await asyncio.to_thread(self._operations.drain, drain, act)
            self._drains[subject] = drain
            self.service.feed(PoolDrained(True) if subject == WHOLE_POOL else WorkerDrained(subject, True))
        return drain

    async def undrain(self, subject: str, signed: Signed) -> None:
        """Take new work again.

        Raises:
            UsageError: it is not drained.
        """
        async with self._one_at_a_time:
            if subject not in self._drains:
                raise UsageError("The pool is not drained." if subject == WHOLE_POOL else f"{subject} is not drained.")
            await asyncio.to_thread(self._operations.undrain, subject, self._act(signed, "undrain", subject))
            del self._drains[subject]
            self.service.feed(PoolDrained(False) if subject == WHOLE_POOL else WorkerDrained(subject, False))

    async def drain_worker(self, worker: str, reason: str, signed: Signed) -> WorkerMark:
        """Give a worker no new lease; what it computes goes on to its end."""
        await self.drain(worker, reason, signed)
        return self._mark(worker)

    async def undrain_worker(self, worker: str, signed: Signed) -> WorkerMark:
        """Give a worker leases again.

        Raises:
            UsageError: it is not drained.
        """
        await self.undrain(worker, signed)
        return self._mark(worker)

    async def ban(self, worker: str, owner: str, reason: str, signed: Signed) -> WorkerMark:
        """Give a worker and its owner no more work; what they hold is given to others.

        ``owner`` may be empty when the pool knows it.

        Raises:
            UsageError: the worker is banned already.
        """
        owner = owner or self._owner_of(worker)
        act = self._act(signed, "ban", worker, reason)
        async with self._one_at_a_time:
            if worker in self.service.machine.bans:
                raise UsageError(f"{worker} is banned already: {self.service.machine.bans[worker].reason}.")
            await asyncio.to_thread(self._operations.ban, Ban(worker, owner, "", reason, "{}", act.at), act)
            self.service.feed(OperatorBanned(worker, owner, reason))
            for session in self.service.sessions:
                if session.owner == owner or session.worker == worker:
                    session.end(f"The pool's operator bans this worker: {reason}.")
        return self._mark(worker, banned=True)

    async def unban(self, address: str, signed: Signed) -> WorkerMark:
        """Lift the bans of a worker, or of an owner.

        Raises:
            UsageError: there is none.
        """
        async with self._one_at_a_time:
            await asyncio.to_thread(self._operations.unban, address, self._act(signed, "unban", address))
            self.service.feed(OperatorUnbanned(address))
        return self._mark(address, banned=False)

    async def label(self, worker: str, words: tuple[str, ...], signed: Signed) -> WorkerMark:
        """Give a worker exactly these labels, beside those that its owner claims."""
        words = tuple(dict.fromkeys(words))
        act = self._act(signed, "label", worker, " ".join(words))
        async with self._one_at_a_time:
            await asyncio.to_thread(self._operations.set_labels, worker, words, act)
            self._labels[worker] = words
            self.service.feed(WorkerLabelled(worker, words))
        return self._mark(worker)

    async def change_policy(self, values: dict[str, Any], unset: tuple[str, ...], signed: Signed) -> PolicyView:
        """Set keys of the policy, and give others back to the file; what can counts at once.

        Raises:
            UsageError: a key is unknown or its value cannot be; nothing was changed.
        """
        if not values and not unset:
            raise UsageError("Name at least one key to set or to unset.")
        known = policy_values(self._base)
        for name in unset:
            if name not in known:
                raise UsageError(f"The policy has no key {name[:80]!r}. Known keys: {', '.join(known)}.")
        detail = " ".join([*(f"{name}={value!r}" for name, value in values.items()), *(f"-{name}" for name in unset)])
        act = self._act(signed, "policy", ",".join([*values, *unset]), detail)
        async with self._one_at_a_time:
            settings = {name: setting for name, setting in self._settings.items() if name not in unset}
            settings |= {name: Setting(name, value, act.who, act.at) for name, value in values.items()}
            wanted = policy_in_force(self._base, settings)
            await asyncio.to_thread(self._operations.set_policy, values, unset, act)
            self._settings = settings
            begun_with = policy_values(self._begun_with)
            at_once = {name: value for name, value in policy_values(wanted).items() if name not in LATER}
            later = {name: begun_with[name] for name in LATER}
            self.service.use_policy(changed_policy(self._base, at_once | later, source="the policy"))
        return self.policy()

    async def note(self, signed: Signed, act: str) -> None:
        """Remember an act that changes nothing in the database."""
        await asyncio.to_thread(self._operations.note, self._act(signed, act))

    def _act(self, signed: Signed, act: str, subject: str = "", detail: str = "") -> Act:
        return Act(self.service.now(), signed.who, act, subject, detail, signed.nonce)

    def policy(self) -> PolicyView:
        """Every key with its value, and where it comes from."""
        default, base = policy_values(Policy()), policy_values(self._base)
        wanted = policy_values(policy_in_force(self._base, self._settings))
        keys = []
        for name, value in wanted.items():
            setting = self._settings.get(name)
            source = "set" if setting else "file" if base[name] != default[name] else "default"
            key = PolicyKey(name=name, value=value, source=source, later=name in LATER)
            keys.append(key if setting is None else key.model_copy(update={"who": setting.who, "at": setting.at}))
        now = policy_values(self.service.policy)
        return PolicyView(keys=keys, waiting=[name for name, value in wanted.items() if now[name] != value])

    # --- inside ---------------------------------------------------------------------------------------------------

    def _owner_of(self, worker: str) -> str:
        machine = self.service.machine
        known = machine.workers.get(worker) or machine.standings.get(worker)
        return known.owner if known is not None else worker

    def _mark(self, worker: str, *, banned: bool | None = None) -> WorkerMark:
        if banned is None:
            banned = self.service.is_banned(worker, self._owner_of(worker))
        given = list(self._labels.get(worker, ()))
        return WorkerMark(worker=worker, drained=worker in self._drains, banned=banned, labels=given)
