"""What the operator's REST API takes and answers: the shapes that its OpenAPI document shows, and its client reads."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

__all__ = [
    "ActList",
    "ActView",
    "Alert",
    "BanList",
    "BanRequest",
    "BanView",
    "ChainView",
    "DrainView",
    "Error",
    "GasView",
    "Handover",
    "LabelRequest",
    "PolicyChange",
    "PolicyKey",
    "PolicyView",
    "PoolStatus",
    "ProcessView",
    "ReasonRequest",
    "Rule",
    "StoryEvent",
    "StoryView",
    "TaskList",
    "TaskRow",
    "UsageList",
    "UsageRow",
    "WhyTask",
    "WhyWorker",
    "WorkerList",
    "WorkerMark",
    "WorkerRow",
]

_Reason = Annotated[str, Field(min_length=1, max_length=500)]
_Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]


class _View(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class _Request(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True)


class Error(_View):
    """What went wrong, and what to do."""

    error: str


# --- requests -----------------------------------------------------------------------------------------------------


class ReasonRequest(_Request):
    """Why it is done; it is kept with the act."""

    reason: _Reason


class BanRequest(ReasonRequest):
    """The worker's owner is told the reason."""

    owner: str = ""
    """Its owner's address, if it is not connected now and has no record here."""


class LabelRequest(_Request):
    """Exactly these labels, beside those of the machine's owner."""

    labels: Annotated[list[_Label], Field(max_length=32)]


class PolicyChange(_Request):
    """Keys to set, and keys that are to be the file's again."""

    values: Annotated[dict[str, Any], Field(max_length=100)] = {}
    unset: Annotated[list[str], Field(max_length=100)] = []


# --- answers ------------------------------------------------------------------------------------------------------


class ProcessView(_View):
    """A process that stands by; ``fit``: it can take over now."""

    address: str
    version: str
    fit: bool


class DrainView(_View):
    """Nothing new is taken. ``at`` is in seconds since 1970."""

    who: str
    reason: str
    at: float


class ChainView(_View):
    """The node as this process sees it. ``lag_s``: how old the newest block is; ``block``: read so far; ``to_read``:
    blocks of the time before the start that are still to be read, before which nothing is given out."""

    time: int
    block: int | None
    lag_s: float
    silence_s: float
    to_read: int = 0


class GasView(_View):
    """The scheduler's coins. ``days_left`` is an estimate from the last day's transactions; null: it sent none."""

    address: str
    balance_wei: str | None
    transactions_left: int | None
    transactions_last_day: int
    days_left: float | None
    low: bool


class Alert(_View):
    """Something that an operator should look at: ``severity`` is ``warning`` or ``critical``."""

    name: str
    severity: str
    text: str
    remedy: str


class PoolStatus(_View):
    """The pool in numbers."""

    workerpool: str
    chain_id: int
    hub: str
    version: str
    epoch: int
    leader: str
    standby: list[ProcessView]
    draining: DrainView | None
    chain: ChainView
    gas: GasView
    workers: dict[str, int]
    """Known workers by state."""
    owners: int
    slots: int
    free_slots: int
    tasks: dict[str, int]
    """Begun tasks by phase, those that are over and still in the database included."""
    live_tasks: int
    waiting_for_workers: int
    not_begun: int
    oldest_wait_s: float
    """How long the oldest task waits that has no worker yet, begun or not."""
    transactions_under_way: int
    bans: int
    alerts: list[Alert]


class WorkerRow(_View):
    """One worker. ``state``: ready, busy, joining, drained, quarantined, out_of_quota, banned or away."""

    worker: str
    owner: str
    state: str
    last_heard_s: float | None
    """Seconds since it spoke last; null when it is not connected."""
    slots: int
    free_slots: int
    running: int
    levels: list[str]
    runtimes: list[str]
    cpus: int
    memory_bytes: int
    disk_bytes: int
    gpus: list[str]
    system: str
    labels: list[str]
    given_labels: list[str]
    """Those of its labels that the operator gave it."""
    score: int
    weight: int
    deposit_nrlc: str
    given_nrlc: str = "0"
    """The stake that the pool gave it and that it agreed to repay."""
    repaid_nrlc: str = "0"
    """What of it the chain shows as repaid."""
    valid: int
    valid_in_a_row: int
    disproved: int
    faults: int
    strikes: int
    quota_left: int | None
    quarantined_s: float
    reason: str
    """Why it is drained or banned."""


class WorkerList(_View):
    """A page; ``count`` is of all that the filter leaves."""

    count: int
    workers: list[WorkerRow]


class TaskRow(_View):
    """One begun task."""

    task_id: str
    deal_id: str
    index: int
    phase: str
    created_at: float
    updated_at: float
    requester: str
    app: str
    trust: int


class TaskList(_View):
    """A page; ``next`` is the next page's offset, null on the last."""

    tasks: list[TaskRow]
    next: int | None


class StoryEvent(_View):
    """One thing that happened: ``kind`` is ``task`` or ``transaction``; ``at`` is local time in seconds since 1970."""

    at: float
    kind: str
    text: str
    worker: str


class StoryView(_View):
    task_id: str
    deal_id: str
    phase: str
    events: list[StoryEvent]


class Rule(_View):
    """One rule: whether it holds, with its number."""

    rule: str
    allowed: bool
    text: str


class WhyTask(_View):
    """Why a task does not go on. ``kept_away`` counts connected workers (the first 2,000) by the rule against them."""

    task_id: str
    phase: str
    waits_for: str
    rules: list[Rule]
    workers: int
    suitable: int
    kept_away: dict[str, int]


class WhyWorker(_View):
    """Why a worker gets no work."""

    worker: str
    waiting_tasks: int
    rules: list[Rule]


class WorkerMark(_View):
    """What counts for a worker after an act."""

    worker: str
    drained: bool
    banned: bool
    labels: list[str]


class BanView(_View):
    worker: str
    owner: str
    reason: str
    task_id: str
    at: float


class BanList(_View):
    bans: list[BanView]


class PolicyKey(_View):
    """One key of the policy. ``source``: default, file, or set (then by whom and when)."""

    name: str
    value: Any
    source: str
    who: str = ""
    at: float = 0.0
    later: bool = False
    """A change counts from the next start or takeover on."""


class PolicyView(_View):
    """The policy; ``waiting`` are keys whose change counts from the next start or takeover on."""

    keys: list[PolicyKey]
    waiting: list[str]


class ActView(_View):
    at: float
    who: str
    act: str
    subject: str
    detail: str


class ActList(_View):
    """What operators did, newest first."""

    acts: list[ActView]


class UsageRow(_View):
    """Sums of one requester, app or worker; times in milliseconds, ``nrlc`` a decimal number."""

    subject: str
    tasks: int
    completed: int
    leases: int
    metered: int
    cpu_ms: int
    wall_ms: int
    peak_memory_bytes: int
    bytes_in: int
    bytes_out: int
    nrlc: Annotated[str, Field(coerce_numbers_to_str=True)]


class UsageList(_View):
    """Who used the pool, and what was paid; the highest amounts first."""

    accounts: list[UsageRow]
    total: int
    """So many subjects there are; ``accounts`` may be a part of them."""


class Handover(_View):
    """Who takes over: its URL."""

    leader: str
