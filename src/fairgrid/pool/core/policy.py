"""What a pool's operator decides: one small TOML file, every field with a default."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from fairgrid.errors import OrderError, UsageError
from fairgrid.pool.core.sponsoring import SponsorTerms
from fairgrid.pool.core.trust_policy import TrustPolicy
from fairgrid.protocol.hexes import checksum

__all__ = ["Policy", "changed_policy", "load_policy", "policy_values"]

MAX_APP_LABELS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(TrustPolicy):
    """The pool's policy, its `TrustPolicy` included.

    Times are seconds of the pool's own clock unless a field says otherwise.
    """

    first_round_replicas: int = 1
    """Lease at least so many workers in a task's first round, even if its trust needs fewer."""
    fill_wait_s: float = 30.0
    """Wait so long for ``first_round_replicas``; then go on with what the deal's trust needs."""
    authorisation_order: tuple[str, ...] = ()
    """Workers that are authorised first, in this order; the others by weight (lightest first), then by seal time."""
    seal_window_min_s: float = 30.0
    """A seal is never late before so many seconds (decision 42)."""
    authorisation_timeout_s: float = 60.0
    """An authorised worker whose contribution is not mined within this is given up; how deep it is does not matter."""
    opening_timeout_s: float = 60.0
    """A contributor that did not open its seal within this is banned once the reveal deadline has passed, too; one that
    is away, at the final deadline (decisions 2 and 28)."""
    fast_path: int = 1
    """1: the only worker of a task of trust 1 contributes and finalizes in one transaction, which it pays itself; its
    result is checked before. 0: contribute, reveal and finalize, always."""
    upload_timeout_s: float = 60.0
    """A winner that does not upload within this is passed over for the next."""
    reconnect_grace_s: float = 10.0
    """A worker that went away keeps its leases for so long; what it computes, from its last word about it on, unless
    ``lease_ttl_s`` is longer."""
    restart_grace_s: float = 30.0
    """The same, after the pool itself was away."""
    heartbeat_s: float = 5.0
    """How often workers must speak; one that is silent three times as long is cut off."""
    lease_ttl_s: float = 10.0
    """A lease that its worker does not name in a heartbeat for so long is lost: two heartbeats, so that it is replaced
    within two."""
    max_replicas_per_task: int = 25
    """A task on which so many replicas failed is given up: it is not the workers' fault any more."""
    speculation_factor: float = 3.0
    """A replica that computes so many times longer than the median of its deal gets a speculative copy; 0: never."""
    speculation_samples: int = 5
    """So many replicas of a deal must have sealed before its median counts."""
    speculation_min_s: float = 10.0
    """A replica is no straggler before so many seconds."""
    speculation_share: float = 0.1
    """Speculative copies are at most this share of the leases that a deal has out, but always one."""
    max_active_tasks: int = 1_000
    """So many tasks are worked on at once; others wait before they are initialised."""
    max_claims: int = 100
    """So many refunds are claimed at once."""
    max_waiting_tasks: int = 1_000
    """So many tasks that read the results of others wait at once; more of their deals begin when these go on."""
    max_bag_size: int = 1_000_000
    """A deal for more tasks than this is not served; its requester claims its money back after the final deadline."""
    batch_probe_tasks: int = 4
    """The first run of a deal of the batch lane has so many tasks: it shows how long one takes."""
    batch_run_tasks: int = 1_000
    """A run has at most so many tasks."""
    batch_run_s: float = 60.0
    """A run has as many tasks as a worker computes in about so long, and at most in its category's reference time."""
    batch_checked_results: int = 256
    """So many results of a run, drawn at random, are downloaded and checked before it is finalized."""
    max_workers: int = 10_000
    """So many workers may be connected."""
    confirmations: int = 0
    """Blocks on top of an event before it is believed (decision 30)."""
    start_block: int = 0
    """Where a new database begins to read the chain: the block in which the workerpool was registered, or before."""
    keeper_gas_per_day: int = 0
    """Gas that the pool may spend a day to refund strangers' stuck tasks; 0: it claims its own tasks only."""
    max_fee_gwei: float = 500.0
    """The pool never offers more for a unit of gas; while gas is dearer its transactions wait."""
    max_tip_gwei: float = 50.0
    """The part of that which it offers the block's builder at most."""
    replace_after_s: float = 60.0
    """A transaction that is not mined for so long is replaced by one that offers 12.5 % more, up to the caps."""
    max_batch_tasks: int = 50
    """So many initializations, or claims, go into one transaction."""
    low_balance_transactions: int = 200
    """Warn when the key's coins last for fewer transactions than this."""
    keep_finished_s: float = 300.0
    """A finished task stays in memory for so long, for a reorganisation to undo it."""
    keep_finished_tasks: int = 10_000
    """So many finished tasks stay in memory at most."""
    keep_rows_days: float = 90.0
    """Rows of tasks that are over are deleted from the database after so many days; 0: never."""
    keep_usage_days: float = 800.0
    """Usage of a day is deleted after so many days; 0: never."""
    keep_standings_days: float = 365.0
    """The record of a worker of which nothing was heard for so many days is deleted, unless it lied or is owed
    something; 0: never."""
    max_archive_bytes: int = 1 << 30
    """The largest result archive that is downloaded to be checked."""

    spot_check_every_s: float = 21_600.0
    """How often the speed that an idle worker claims is tested; 0: never."""
    sponsor_stake_nrlc: int = 0
    """Deposit that a newcomer is given from the sponsor's key; 0: none."""
    sponsor_coins_wei: int = 0
    """Coins for gas that a newcomer is given; 0: none."""
    sponsor_day_stake_nrlc: int = 0
    """Most deposits for all newcomers of 24 hours."""
    sponsor_day_coins_wei: int = 0
    """Most coins for all newcomers of 24 hours."""
    sponsor_per_owner: int = 1
    """Most workers of one owner that are ever sponsored."""
    sponsor_per_network_day: int = 3
    """Most workers of one network address (a /24, or a /56 of IPv6) in 24 hours."""
    sponsor_only_repaying: bool = False
    """True: a stake is given only to workers that say that they repay it."""
    sponsor_min_fuel_per_s: int = 1
    """Least speed in a newcomer's signed benchmark; without a benchmark nothing is given."""

    operators: tuple[str, ...] = ()
    """Addresses that may administer the pool over its REST API, beside the owner of the workerpool."""
    app_labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Labels that a machine must have to get tasks of an app, in deals that are matched from then on: in TOML a table
    ``[app_labels]`` with lines ``"0xAPP" = ["gpu", "lab-2"]``."""

    def labels_of_app(self, app: str) -> tuple[str, ...]:
        """What machines need for an app, beside what its jobs ask."""
        return next((labels for known, labels in self.app_labels if known == app), ())

    @property
    def sponsor_terms(self) -> SponsorTerms:
        """What newcomers are given."""
        return SponsorTerms(
            stake_nrlc=self.sponsor_stake_nrlc,
            coins_wei=self.sponsor_coins_wei,
            day_stake_nrlc=self.sponsor_day_stake_nrlc,
            day_coins_wei=self.sponsor_day_coins_wei,
            per_owner=self.sponsor_per_owner,
            per_network_day=self.sponsor_per_network_day,
            min_fuel_per_s=self.sponsor_min_fuel_per_s,
            only_repaying=self.sponsor_only_repaying,
        )

    def __post_init__(self) -> None:
        TrustPolicy.__post_init__(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                continue
            if value < 0 or value != value:
                raise UsageError(f"The pool policy's {field.name} is {value}; it cannot be negative.")
        if self.first_round_replicas < 1:
            raise UsageError("The pool policy's first_round_replicas must be at least 1.")
        if self.heartbeat_s <= 0:
            raise UsageError("The pool policy's heartbeat_s must be more than 0.")


def load_policy(path: Path) -> Policy:
    """Read a policy file (TOML, keys are the fields of `Policy`).

    Raises:
        UsageError: there is no such file, or it is not TOML, or a key is unknown or of the wrong type.
    """
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(
            f"There is no policy file at {path}. Name an existing one with --policy, or leave it out."
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"The policy file {path} cannot be read ({error}). Mend it; it is TOML.") from error
    return changed_policy(_DEFAULT, document, source=f"the policy file {path}")


def changed_policy(policy: Policy, document: Mapping[str, Any], *, source: str) -> Policy:
    """``policy`` with the keys of ``document`` in the place of its own; ``source`` is named in errors.

    Raises:
        UsageError: a key is unknown or of the wrong type, or its value cannot be.
    """
    known = {field.name: getattr(_DEFAULT, field.name) for field in fields(Policy)}
    values: dict[str, Any] = {}
    for name, value in document.items():
        if name not in known:
            text = f"{source[0].upper()}{source[1:]} has an unknown key {str(name)[:80]!r}."
            raise UsageError(f"{text} Known keys: {', '.join(known)}.")
        values[name] = _as_type_of(known[name], value, name, source)
    return replace(policy, **values)


def policy_values(policy: Policy) -> dict[str, Any]:
    """Every key as JSON has it; `changed_policy` reads it back."""
    return {field.name: _plain(field.name, getattr(policy, field.name)) for field in fields(Policy)}


_DEFAULT = Policy()


def _plain(name: str, value: Any) -> Any:
    if name == "app_labels":
        return {app: list(labels) for app, labels in value}
    return list(value) if isinstance(value, tuple) else value


def _app_labels(value: object, source: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    wrong = f"In {source}, app_labels must be a table of apps, each with a list of at most 32 labels."
    if not isinstance(value, dict) or len(value) > MAX_APP_LABELS:
        raise UsageError(wrong)
    found = []
    for app, labels in value.items():
        words = labels if isinstance(labels, list) and len(labels) <= 32 else [None]
        if not all(isinstance(word, str) and 0 < len(word) <= 100 for word in words):
            raise UsageError(wrong)
        try:
            found.append((checksum(app), tuple(words)))
        except OrderError as error:
            raise UsageError(f"In {source}, app_labels names no app: {error}") from error
    return tuple(found)


def _as_type_of(default: object, value: object, name: str, source: str) -> object:
    if name == "app_labels":
        return _app_labels(value, source)
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            try:
                return tuple(checksum(item) for item in value)
            except OrderError as error:
                raise UsageError(f"In {source}, {name} names no address: {error}") from error
        raise UsageError(f"In {source}, {name} must be a list of addresses.")
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise UsageError(f"In {source}, {name} must be true or false.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"In {source}, {name} must be a number.")
    if isinstance(default, float):
        return float(value)
    if not isinstance(value, int):
        raise UsageError(f"In {source}, {name} must be a whole number.")
    return value
