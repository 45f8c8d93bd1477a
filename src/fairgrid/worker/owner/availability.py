"""May this machine work now? The owner's policy, what the machine says, and the time give each rule's verdict.

Pure: `fairgrid.worker.owner.readings` asks the machine, the agent suspends and resumes.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairgrid.worker.owner.hours import is_open, local_time, next_opening, parse_window
from fairgrid.worker.owner.policy import WorkerPolicy

__all__ = ["Availability", "Readings", "Rule", "availability_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What the machine says of itself; None where it cannot be known here."""

    idle_s: float | None = None
    """Seconds since somebody used keyboard, mouse or a terminal; infinite when nobody can."""
    idle_source: str = ""
    """How ``idle_s`` is known, or why it is not."""
    other_load_percent: float | None = None
    """Share of all processors that programs other than this worker and its jobs use."""
    on_mains: bool | None = None
    temperature_c: float | None = None
    """The hottest sensor."""
    free_disk_bytes: int | None = None
    used_disk_bytes: int | None = None
    """What cache and jobs take."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule's verdict. ``suspends``: breaking it also suspends running jobs; else it only keeps new ones away."""

    name: str
    """The policy's key."""
    allowed: bool
    text: str
    """A sentence with the rule's number and the machine's."""
    suspends: bool = True


@dataclass(frozen=True, slots=True)
class Availability:
    """The verdict of every rule that the owner set."""

    rules: tuple[Rule, ...]

    @property
    def takes_work(self) -> bool:
        """True when no rule speaks against a new task."""
        return all(rule.allowed for rule in self.rules)

    @property
    def may_run(self) -> bool:
        """True when no rule asks to suspend what runs."""
        return all(rule.allowed for rule in self.rules if rule.suspends)

    @property
    def reason(self) -> str:
        """The broken rules' sentences; empty when all is allowed."""
        return " ".join(rule.text for rule in self.rules if not rule.allowed)


def availability_of(policy: WorkerPolicy, readings: Readings, now: float, *, paused: str = "") -> Availability:
    """Every rule that applies, in the order in which an owner thinks of them.

    ``now`` is local time in seconds since the epoch; ``paused`` says that and until when the owner paused the worker. A
    rule whose reading cannot be had is broken: the owner asked for a protection, and nobody can say that it holds.
    """
    rules = [Rule("paused", False, paused)] if paused else []
    rules += _hours(policy, now)
    rules += _idle(policy, readings)
    rules += _load(policy, readings)
    rules += _mains(policy, readings)
    rules += _temperature(policy, readings)
    rules += _disk(policy, readings)
    return Availability(tuple(rules))


def _hours(policy: WorkerPolicy, now: float) -> list[Rule]:
    if not policy.hours:
        return []
    windows = tuple(parse_window(text) for text in policy.hours)
    moment = local_time(now, policy.time_zone)
    allowed = is_open(windows, moment)
    text = f"It is {moment:%a %H:%M} ({moment.tzname()}); hours are {', '.join(policy.hours)}."
    opening = next_opening(windows, moment)
    if not allowed and opening is not None:
        text += f" The next begin {opening:%a %H:%M}."
    return [Rule("hours", allowed, text)]


def _idle(policy: WorkerPolicy, readings: Readings) -> list[Rule]:
    if not policy.only_when_idle:
        return []
    if readings.idle_s is None:
        text = (
            f"Whether somebody uses the machine cannot be known ({readings.idle_source}); set only_when_idle = false."
        )
        return [Rule("only_when_idle", False, text)]
    wanted = policy.idle_minutes * 60
    used = "Nobody can" if readings.idle_s == float("inf") else f"Last {readings.idle_s:.0f} s ago did somebody"
    text = f"{used} use keyboard, mouse or terminal ({readings.idle_source}); idle_minutes is {policy.idle_minutes}."
    return [Rule("only_when_idle", readings.idle_s >= wanted, text)]


def _load(policy: WorkerPolicy, readings: Readings) -> list[Rule]:
    limit = policy.max_other_load_percent
    if limit is None:
        return []
    load = readings.other_load_percent
    if load is None:
        return [
            Rule("max_other_load_percent", False, f"The load cannot be known yet; other programs may use {limit} %.")
        ]
    text = f"Other programs use {load:.0f} % of the processors; max_other_load_percent is {limit}."
    return [Rule("max_other_load_percent", load <= limit, text)]


def _mains(policy: WorkerPolicy, readings: Readings) -> list[Rule]:
    if not policy.only_on_mains:
        return []
    said = {True: "on mains power", False: "on battery", None: "on a power that cannot be known"}[readings.on_mains]
    return [Rule("only_on_mains", readings.on_mains is True, f"The machine is {said}; only_on_mains is true.")]


def _temperature(policy: WorkerPolicy, readings: Readings) -> list[Rule]:
    limit = policy.max_temperature_c
    if limit is None:
        return []
    hottest = readings.temperature_c
    if hottest is None:
        text = f"No temperature sensor can be read here; remove max_temperature_c = {limit}, or give access to one."
        return [Rule("max_temperature_c", False, text)]
    return [
        Rule("max_temperature_c", hottest <= limit, f"The hottest sensor says {hottest:.0f} °C; at most {limit} °C.")
    ]


def _disk(policy: WorkerPolicy, readings: Readings) -> list[Rule]:
    rules: list[Rule] = []
    if readings.free_disk_bytes is not None:
        text = f"{readings.free_disk_bytes} bytes of disk are free; at least {policy.min_free_disk_bytes} must be."
        allowed = readings.free_disk_bytes >= policy.min_free_disk_bytes
        rules.append(Rule("min_free_disk_bytes", allowed, text, suspends=False))
    if policy.disk_bytes is not None and readings.used_disk_bytes is not None:
        text = f"Cache and jobs take {readings.used_disk_bytes} bytes of disk; disk_bytes is {policy.disk_bytes}."
        allowed = readings.used_disk_bytes <= policy.disk_bytes
        rules.append(Rule("disk_bytes", allowed, text, suspends=False))
    return rules
