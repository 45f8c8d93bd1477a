"""Whether a machine can compute a job, rule by rule, with the numbers: for the scheduler, and to tell owners why.

What a manifest *asks* for (``needs``) must have been claimed by the machine. The job's own memory limit and runtime,
which every job has, are held against a claim only where there is one: who claims nothing still gets ordinary jobs.
What a runtime can never give (`fairgrid.protocol.abilities`) no machine gives, whatever it claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fairgrid.protocol.abilities import gpu_fault, level_fault, network_fault
from fairgrid.protocol.machine import Machine
from fairgrid.protocol.needs import NO_NEEDS, Alike, GpuNeed, Needs, machine_class
from fairgrid.protocol.network import uncovered

__all__ = ["NO_REQUIREMENTS", "Requirements", "Rule", "RuleResult", "explain", "first_obstacle", "suits"]

_NO_MACHINE = Machine()


@dataclass(frozen=True, slots=True)
class Requirements:
    """What the tasks of a deal ask of a worker, from manifest, tag and deal. The same for every task of a bag."""

    needs: Needs = NO_NEEDS
    runtime: str = ""
    memory_limit_bytes: int = 0
    """What one task may use; every job has such a limit."""
    inputs: tuple[tuple[str, int], ...] = ()
    """CID and size of the largest files that all its tasks read."""
    labels: tuple[str, ...] = ()
    """Labels that the pool's operator asks for the app, beside the job's own."""
    sealed: bool = False
    """The manifest has a sealed key: only workers that can ask for it compute the job."""
    private: bool = False
    """Everything of the job is encrypted, its results too."""

    @property
    def input_bytes(self) -> int:
        return sum(size for _, size in self.inputs)


NO_REQUIREMENTS = Requirements()
"""Any worker will do."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule: whether it holds, what was asked, what the worker has, and what would change the answer."""

    rule: str
    holds: bool
    wanted: str
    offered: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Offer:
    """A worker as the rules see it: its claims, its slots, and what its other tasks already take of the machine."""

    machine: Machine
    claims: bool
    slots: int
    runtimes: tuple[str, ...]
    taken: Sequence[Requirements]
    wanted_class: str | None
    opens_keys: bool


Rule = Callable[[Requirements, _Offer], RuleResult | None]


def suits(
    wanted: Requirements,
    machine: Machine | None,
    *,
    slots: int = 1,
    runtimes: tuple[str, ...] = (),
    taken: Sequence[Requirements] = (),
    task_class: str | None = None,
    opens_keys: bool = False,
) -> bool:
    """True if no rule speaks against it; as `explain`, but it stops at the first that does."""
    found = first_obstacle(
        wanted,
        machine,
        slots=slots,
        runtimes=runtimes,
        taken=taken,
        task_class=task_class,
        opens_keys=opens_keys,
    )
    return found is None


def first_obstacle(
    wanted: Requirements,
    machine: Machine | None,
    *,
    slots: int = 1,
    runtimes: tuple[str, ...] = (),
    taken: Sequence[Requirements] = (),
    task_class: str | None = None,
    opens_keys: bool = False,
) -> RuleResult | None:
    """The first rule that does not hold; None if all do. ``taken`` is what the worker's other leases ask."""
    offer = _Offer(machine or _NO_MACHINE, machine is not None, slots, runtimes, taken, task_class, opens_keys)
    for rule in _RULES:
        result = rule(wanted, offer)
        if result is not None and not result.holds:
            return result
    return None


def explain(
    wanted: Requirements,
    machine: Machine | None,
    *,
    slots: int = 1,
    runtimes: tuple[str, ...] = (),
    taken: Sequence[Requirements] = (),
    task_class: str | None = None,
    opens_keys: bool = False,
) -> tuple[RuleResult, ...]:
    """Every rule that the job asks for, with its number; a rule that asks nothing is left out.

    ``task_class`` is the class of machines that the task's first replica chose, None before.
    """
    offer = _Offer(machine or _NO_MACHINE, machine is not None, slots, runtimes, taken, task_class, opens_keys)
    results = (rule(wanted, offer) for rule in _RULES)
    return tuple(result for result in results if result is not None)


# --- rules --------------------------------------------------------------------------------------------------------


def _runtime(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    known = offer.machine.runtimes or offer.runtimes
    if not wanted.runtime or not known:
        return None
    return RuleResult(
        "runtime",
        wanted.runtime in known,
        wanted.runtime,
        ", ".join(known),
        f"install the runtime {wanted.runtime} and allow it in policy.toml",
    )


def _sealed(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    if not wanted.sealed:
        return None
    offered = "opens sealed keys" if offer.opens_keys else "does not know them"
    return RuleResult("private jobs", offer.opens_keys, "a sealed key", offered, "update this worker's fairgrid")


def _level(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    level = wanted.needs.level
    if not level:
        return None
    if fault := level_fault(wanted.runtime, level):
        return RuleResult("isolation level", False, f"{level} in {wanted.runtime}", "never", fault)
    return _one_of("isolation level", (level,), offer.machine.levels, "allow it under levels in policy.toml")


def _system(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    return _this_of("operating system", wanted.needs.os, offer.machine.os)


def _arch(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    return _this_of("architecture", wanted.needs.arch, offer.machine.arch)


def _tee(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    if not wanted.needs.tee:
        return None
    return _one_of("trusted execution environment", wanted.needs.tee, offer.machine.tee, "another machine is needed")


def _labels(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    asked = tuple(dict.fromkeys((*wanted.needs.labels, *wanted.labels)))
    if not asked:
        return None
    missing = [label for label in asked if label not in offer.machine.labels]
    return RuleResult(
        "labels",
        not missing,
        ", ".join(asked),
        ", ".join(offer.machine.labels) or "none",
        f"add {', '.join(missing)} to labels in policy.toml, if it is true of this machine",
    )


def _cpus(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    need = wanted.needs.cpus
    if not need:
        return None
    used = sum(max(other.needs.cpus, 1) for other in offer.taken)
    return _at_least("processors", need, offer.machine.cpus - used, _count, "offer more cpus, or wait for other tasks")


def _memory(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    need, total = wanted.needs.memory_bytes, offer.machine.memory_bytes
    if need:
        used = sum(other.needs.memory_bytes or other.memory_limit_bytes for other in offer.taken)
        return _at_least("memory", need, total - used, _size, "raise memory_bytes in policy.toml, or use fewer slots")
    if not wanted.memory_limit_bytes or not total:
        return None
    # A limit is not a need: several tasks rarely use all of theirs at once, and the worker itself knows what it shares.
    return _at_least("memory", wanted.memory_limit_bytes, total, _size, "raise memory_bytes in policy.toml")


def _disk(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    need = wanted.needs.disk_bytes
    if not need:
        return None
    used = sum(other.needs.disk_bytes for other in offer.taken)
    return _at_least("disk", need, offer.machine.disk_bytes - used, _size, "raise disk_bytes in policy.toml")


def _gpus(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    need = wanted.needs.gpus
    if need is None:
        return None
    good = sum(_gpu_fits(need, gpu.model, gpu.memory_bytes) for gpu in offer.machine.gpus)
    # Which processors the other tasks took is the machine's affair: all of theirs may be the good ones.
    used = sum(other.needs.gpus.count for other in offer.taken if other.needs.gpus)
    asked = f"{need.count}"
    if need.model:
        asked += f" {need.model!r}"
    if need.memory_bytes:
        asked += f" with {_size(need.memory_bytes)} each"
    if fault := gpu_fault(wanted.runtime):
        return RuleResult("graphics processors", False, f"{asked} in {wanted.runtime}", "never", fault)
    free = max(good - used, 0)
    return RuleResult(
        "graphics processors", free >= need.count, asked, f"{free} that fit", "another machine, or other tasks done"
    )


def _network(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    asked = wanted.needs.network
    if not asked:
        return None
    if fault := network_fault(wanted.runtime, asked):
        return RuleResult("network", False, f"{', '.join(asked)} in {wanted.runtime}", "never", fault)
    allowed, able = offer.machine.network or (), offer.machine.network_runtimes or ()
    if missing := uncovered(asked, allowed):
        remedy = (
            f"add {', '.join(missing)} to network_hosts in policy.toml"
            if allowed
            else "set allow_network = true in policy.toml, and look with `fairgrid worker doctor` which level can"
        )
        return RuleResult("network", False, ", ".join(asked), ", ".join(allowed) or "none", remedy)
    # A pool that could not read the manifest's runtime must not guess that it can.
    holds = wanted.runtime in able
    return RuleResult(
        "network",
        holds,
        f"{', '.join(asked)} in {wanted.runtime or 'a runtime that is not known'}",
        f"{', '.join(allowed)} in {', '.join(able) or 'no runtime'}",
        f"`fairgrid worker doctor` says what {wanted.runtime} lacks",
    )


def _alike(wanted: Requirements, offer: _Offer) -> RuleResult | None:
    alike = wanted.needs.alike
    if alike is Alike.ANY:
        return None
    own = machine_class(offer.machine if offer.claims else None, alike)
    wanted_class = offer.wanted_class or "any class, but one"
    holds = own is not None and (offer.wanted_class is None or own == offer.wanted_class)
    return RuleResult(
        "class of machines", holds, wanted_class, own or "not said", "the other replicas run on another kind of machine"
    )


_RULES: tuple[Rule, ...] = (
    _runtime,
    _sealed,
    _level,
    _system,
    _arch,
    _tee,
    _labels,
    _cpus,
    _memory,
    _disk,
    _gpus,
    _network,
    _alike,
)


def _gpu_fits(need: GpuNeed, model: str, memory_bytes: int) -> bool:
    return memory_bytes >= need.memory_bytes and need.model in model.lower()


def _this_of(rule: str, wanted: tuple[str, ...], offered: str) -> RuleResult | None:
    if not wanted:
        return None
    return RuleResult(rule, offered in wanted, " or ".join(wanted), offered or "not said", "another machine is needed")


def _one_of(rule: str, wanted: tuple[str, ...], offered: Iterable[str], remedy: str) -> RuleResult:
    known = tuple(offered)
    holds = any(item in known for item in wanted)
    return RuleResult(rule, holds, " or ".join(wanted), ", ".join(known) or "none", remedy)


def _at_least(rule: str, need: int, have: int, show: Callable[[int], str], remedy: str) -> RuleResult:
    return RuleResult(rule, have >= need, f"at least {show(need)}", f"{show(max(have, 0))} free", remedy)


def _count(value: int) -> str:
    return str(value)


def _size(value: int) -> str:
    amount, unit = float(value), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.4g} {unit}"
