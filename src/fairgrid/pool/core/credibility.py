"""The standings of all workers, and the one place that changes them; what changed is stored with the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from msgspec.structs import replace

from fairgrid.pool.core.standing import Standing
from fairgrid.pool.core.trust_policy import TrustPolicy

__all__ = ["Standings"]


@dataclass(slots=True)
class Standings:
    """Standings by worker. ``changed`` are those to be stored; `take_changed` empties it."""

    policy: TrustPolicy
    _standings: dict[str, Standing] = field(default_factory=dict)
    _changed: dict[str, Standing] = field(default_factory=dict)

    def restore(self, standings: Iterable[Standing]) -> None:
        """Take up what was stored."""
        self._standings.update((standing.worker, standing) for standing in standings)

    @property
    def standings(self) -> Mapping[str, Standing]:
        """Every worker that ever had a result or a fault here; read only."""
        return MappingProxyType(self._standings)

    def of(self, worker: str, owner: str) -> Standing:
        """The worker's standing; a new one for a worker that is not known."""
        return self._standings.get(worker) or Standing(worker, owner)

    def forget(self, worker: str) -> None:
        """It is as if the worker had never been here; unless its record changed just now."""
        if worker not in self._changed:
            self._standings.pop(worker, None)

    def take_changed(self) -> tuple[Standing, ...]:
        """What changed since the last call, in the order of the workers' addresses."""
        changed = tuple(self._changed[worker] for worker in sorted(self._changed))
        self._changed = {}
        return changed

    # --- asking -------------------------------------------------------------------------------------------------------

    def is_newcomer(self, worker: str, owner: str) -> bool:
        return self.policy.is_newcomer(self.of(worker, owner))

    def may_lease(self, worker: str, owner: str, now: float) -> bool:
        """Neither in quarantine nor out of quota."""
        known = self._standings.get(worker)
        if known is None:
            return True
        if known.is_quarantined(now):
            return False
        left = known.quota_left(now, self.policy.quota_window_s)
        return left is None or left > 0

    # --- what happens -------------------------------------------------------------------------------------------------

    def leased(self, worker: str, owner: str, now: float) -> None:
        known = self._standings.get(worker)
        if known is not None and known.quota:
            self._set(known.after_lease(now, self.policy.quota_window_s))

    def valid(self, worker: str, owner: str, *, requester: str = "", price_nrlc: int = 0) -> None:
        """A contribution of the worker was right, and the requester paid for it."""
        self._set(
            self.of(worker, owner).after_valid(
                quota_after_fault=self.policy.quota_after_fault, requester=requester, price_nrlc=price_nrlc
            )
        )

    def audited(self, worker: str, owner: str, *, price_nrlc: int) -> None:
        """A silent replica of the worker was right: it counts as valid, and the pool owes for it."""
        self.valid(worker, owner)
        self._set(self.of(worker, owner).owed(price_nrlc * self.policy.audit_pay_percent // 100))

    def due_payments(self) -> list[Standing]:
        """Settle with those that changed and are owed at least the policy's ``audit_payment_nrlc``.

        Gives the records before it: what is owed is to be paid, as payment number ``payments``.
        """
        least = self.policy.audit_payment_nrlc
        due = [standing for standing in self._changed.values() if least and standing.owed_nrlc >= least]
        for standing in due:
            self._set(standing.after_payment())
        return due

    def disproved(self, worker: str, owner: str, now: float) -> None:
        """A result of the worker was wrong, or it did not open its seal."""
        self._set(
            self.of(worker, owner).after_disproved(
                now, first_s=self.policy.first_quarantine_s, longest_s=self.policy.longest_quarantine_s
            )
        )

    def fault(self, worker: str, owner: str, now: float) -> None:
        """A lease came to nothing through the worker."""
        self._set(self.of(worker, owner).after_fault(now, quota_after_fault=self.policy.quota_after_fault))

    def release(self, worker: str, owner: str) -> None:
        """The operator ends a worker's quarantine and quota; it has to prove itself anew."""
        self._set(replace(self.of(worker, owner), quarantined_until=0.0, quota=0, valid_in_a_row=0))

    def _set(self, standing: Standing) -> None:
        self._standings[standing.worker] = standing
        self._changed[standing.worker] = standing
