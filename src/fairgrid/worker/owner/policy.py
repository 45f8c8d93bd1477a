"""What the owner of a machine allows (decision 22), and what this kind of worker can do at all.

``policy.toml`` in the worker's folder, every key optional; `docs/configuration.md` lists them, `docs/worker-owner.md`
shows whole files. `fairgrid.worker.owner.availability` holds `WorkerPolicy` against the state of the machine, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fairgrid.protocol.app_document import AppDocument
from fairgrid.protocol.app_types import LEVEL_OF_TYPE, Level, is_manifest_type
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.network import ANYWHERE, uncovered
from fairgrid.protocol.run_results import MAX_INDEX, MAX_RESULTS_TASKS
from fairgrid.protocol.runs import unit_id, units_of
from fairgrid.protocol.tags import FRAMEWORK_MASK, TEE_MASK
from fairgrid.protocol.views import AppInfo, Deal, Task, TaskStatus
from fairgrid.runtime.engines.options import EngineOptions

__all__ = [
    "LEVELS",
    "PoolRecord",
    "Terms",
    "WorkerPolicy",
    "refusal_of_app",
    "refusal_of_deal",
    "refusal_of_memory",
    "refusal_of_network",
]

_FINISHED_BEFORE_JUDGING: Final = 10
_MAX_INDEX: Final = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPolicy:
    """The owner's rules; a task that breaks one is handed back before anything is fetched or computed."""

    max_stake: int | None = None
    """Largest stake (nRLC) that one task, or one run of tasks, may lock; None: whatever the deposit covers."""
    min_worker_share: int = 0
    """Least percent of the pool's price that is shared among workers."""
    min_finalize_percent: int = 0
    """Least percent of own contributions that the pool has finalized; counts after ten of them."""
    runtimes: tuple[str, ...] = ()
    """Runtime ids that may run here; empty: all installed ones."""
    apps: tuple[str, ...] = ()
    """App addresses that may run here; empty: all."""
    refused_apps: tuple[str, ...] = ()
    refused_requesters: tuple[str, ...] = ()
    max_input_bytes: int = 1 << 30
    """Largest sum of one task's inputs."""
    cache_bytes: int = 8 << 30
    """Disk that inputs of earlier tasks may take."""
    tell_cached: bool = True
    """True: the pool is told of large inputs that lie here (the ends of their CIDs), and sends tasks that read them."""
    storage_mirrors: tuple[str, ...] = ()
    """More storages or IPFS gateways (URLs) that are asked for inputs when the network's own does not give them."""
    private_networks: tuple[str, ...] = ()
    """Private networks (such as ``10.1.0.0/16``) that inputs may be fetched from; without it only public addresses."""
    pools: tuple[str, ...] = ()
    """Workerpools that may be served; empty: all."""
    min_price: int = 0
    """Least price (nRLC) of a task, as its deal pays it to the pool and its workers."""
    levels: tuple[str, ...] = ("wasm",)
    """Isolation levels that may run here (``wasm``, ``process``, ``container``, ``vm``); empty: all that work here."""
    container_engine: str = ""
    """What runs containers: ``podman``, ``docker``, or a path of one; empty: the first that works."""
    container_registries: tuple[str, ...] = ()
    """Registries that images may be fetched from; empty: none, so only images that travel as a file are run."""
    container_cache_bytes: int = 16 << 30
    """Disk that unpacked images may take."""
    allow_network: bool = False
    """True: jobs that ask for it may connect to ``network_hosts``; never to this machine or private addresses."""
    network_hosts: tuple[str, ...] = (ANYWHERE,)
    """Where to: ``example.org``, ``*.example.org``, ``example.org:8443``, ``*``; ports 80 and 443 if none is said."""
    network_bytes: int = 1 << 30
    """What one job may send and receive together; then it is cut off."""
    gpus: tuple[int, ...] | None = None
    """Numbers of this machine's graphics processors that jobs may use; None: all that NVIDIA's tool lists; []: none."""
    gpu_jobs: int = 1
    """Jobs that may share one graphics processor, each with an equal part of its memory; nothing enforces that part."""
    labels: tuple[str, ...] = ()
    """Words of the owner's choice that the pool is told of this machine."""
    slots: int | None = None
    """Tasks computed at once, which is processors for jobs; None: what ``--slots`` says."""
    memory_bytes: int | None = None
    """Memory for all jobs together; a job gets its share of the slots. None: no limit but the job's own."""
    disk_bytes: int | None = None
    """Disk for cache and jobs together; beyond it no task is taken. None: no limit."""
    min_free_disk_bytes: int = 512 << 20
    """Below so much free disk no task is taken."""
    upload_bytes_per_s: int | None = None
    """Bandwidth of uploads in the long run; None: no limit."""
    download_bytes_per_s: int | None = None
    """Bandwidth of downloads in the long run; None: no limit."""
    hours: tuple[str, ...] = ()
    """When jobs may run, like ``mon-fri 19:00-07:00``; empty: always."""
    time_zone: str = ""
    """Zone of ``hours``, like ``Europe/Paris``; empty: the machine's own."""
    only_when_idle: bool = False
    """True: only while nobody used keyboard, mouse or terminal for ``idle_minutes``."""
    idle_minutes: int = 10
    max_other_load_percent: int | None = None
    """Most that other programs may use of the machine's processors, in percent; None: no limit."""
    only_on_mains: bool = False
    """True: never on battery."""
    max_temperature_c: int | None = None
    """Hottest sensor of the machine, in degrees Celsius, with which jobs still run; None: no limit."""
    max_suspend_minutes: int = 30
    """A job that a rule suspended longer is handed back; earlier if its lease ends earlier."""
    repay: str = "earnings"
    """How a stake that a pool lent is paid back: ``earnings`` (all that is earned there, first), ``deposit`` (at once,
    from what no task needs), or ``never`` by itself."""
    engine: EngineOptions | None = None
    """Where jobs run, table ``[engine]``; None: on this machine. Read when the worker starts."""
    ready_jobs: int | None = None
    """Processes that each runtime of level ``wasm`` keeps started for jobs to come; 0: none; None: one for each slot,
    at most four. Read when the worker starts."""
    stop_within_s: int = 0
    """A worker that is asked to end takes nothing new, and has so long to finish what it holds; then it hands back what
    is not sealed. Asked twice, or with 0, it does so at once."""


LEVELS: Final = tuple(level.value for level in Level)


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """What became of this worker's contributions to one pool."""

    completed: int
    failed: int

    @property
    def finalize_percent(self) -> int:
        """Percent of contributions whose task the pool finalized; 100 while there are none."""
        total = self.completed + self.failed
        return 100 if total == 0 else self.completed * 100 // total


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Everything about a leased task that is judged; read from the chain, never from the pool."""

    deal_id: str
    leased_task_id: str
    index: int
    deal: Deal
    task: Task
    chain_time: int
    workerpool: str
    """The pool that this worker enrolled with."""
    spendable_stake: int
    """Deposit (nRLC) that is neither locked nor promised to other tasks held here."""
    record: PoolRecord
    count: int = 0
    """Tasks of the leased run; 0: it is a task."""

    @property
    def stake(self) -> int:
        """What the contribution locks (nRLC)."""
        return self.deal.worker_stake * units_of(self.count)


def refusal_of_deal(policy: WorkerPolicy, terms: Terms) -> str | None:
    """Why this worker does not take (or does not go on with) a task; None when it does."""
    deal, task = terms.deal, terms.task
    last = terms.index + units_of(terms.count) - 1
    if not deal.bot_first <= terms.index <= last < deal.bot_first + deal.bot_size:
        return f"Index {last if last > terms.index else terms.index} is not of deal {terms.deal_id}."
    if last >= (MAX_INDEX if terms.count else _MAX_INDEX):
        return f"Index {last} is beyond what a manifest can have."
    if terms.count > MAX_RESULTS_TASKS:
        return f"A run of {terms.count} tasks is larger than the {MAX_RESULTS_TASKS} whose results can be described."
    if unit_id(terms.deal_id, terms.index, terms.count) != terms.leased_task_id:
        if terms.count:
            return "The run id is not that of the deal, index and count."
        return "The task id is not that of the deal and index."
    if deal.workerpool.pointer != terms.workerpool:
        return f"The deal was made with workerpool {deal.workerpool.pointer}, this worker serves {terms.workerpool}."
    # One that has its consensus may need an arbiter: it is computed and sealed, never contributed.
    arbitrates = task.status is TaskStatus.REVEALING and not terms.count
    if task.status is not TaskStatus.ACTIVE and not arbitrates:
        return f"The task is {task.status.name} on chain, not ACTIVE."
    if terms.chain_time >= task.contribution_deadline:
        return "The task's contribution deadline has passed."
    tag = int(deal.tag, 16)
    if tag & (TEE_MASK | FRAMEWORK_MASK):
        return "The deal asks for a trusted execution environment, which this worker does not have."
    if deal.dataset.pointer != ZERO_ADDRESS:
        return "The deal uses a registered dataset, which this worker does not serve: name inputs in the manifest."
    return _refusal_by_owner(policy, terms)


def _refusal_by_owner(policy: WorkerPolicy, terms: Terms) -> str | None:
    deal = terms.deal
    if policy.pools and deal.workerpool.pointer not in policy.pools:
        return f"The owner's policy does not list workerpool {deal.workerpool.pointer}."
    if deal.workerpool.price < policy.min_price:
        return f"A task pays {deal.workerpool.price} nRLC; the owner's policy asks for {policy.min_price}."
    if policy.apps and deal.app.pointer not in policy.apps:
        return f"The owner's policy does not list app {deal.app.pointer}."
    if deal.app.pointer in policy.refused_apps:
        return f"The owner's policy refuses app {deal.app.pointer}."
    if deal.requester in policy.refused_requesters:
        return f"The owner's policy refuses requester {deal.requester}."
    share = 100 - deal.scheduler_reward_ratio
    if share < policy.min_worker_share:
        return f"Workers get {share} % of this pool's price; the owner's policy asks for {policy.min_worker_share} %."
    if policy.max_stake is not None and terms.stake > policy.max_stake:
        return f"The stake is {terms.stake} nRLC; the owner's policy allows {policy.max_stake}."
    record = terms.record
    judged = record.completed + record.failed >= _FINISHED_BEFORE_JUDGING
    if judged and record.finalize_percent < policy.min_finalize_percent:
        return (
            f"This pool finalized {record.finalize_percent} % of this worker's contributions; "
            f"the owner's policy asks for {policy.min_finalize_percent} %."
        )
    if terms.stake > terms.spendable_stake:
        return (
            f"The stake is {terms.stake} nRLC and only {terms.spendable_stake} of the deposit are free. "
            f"Deposit more, or use fewer --slots."
        )
    return None


def refusal_of_memory(policy: WorkerPolicy, memory_bytes: int, slots: int) -> str | None:
    """Why a job that may use ``memory_bytes`` is not run in one of ``slots``; None when it is."""
    if policy.memory_bytes is None or memory_bytes <= policy.memory_bytes // slots:
        return None
    return (
        f"The job may use {memory_bytes} bytes of memory; the owner's policy gives {policy.memory_bytes} to {slots} "
        f"slot(s), which is {policy.memory_bytes // slots} each."
    )


def refusal_of_network(policy: WorkerPolicy, network: Sequence[str]) -> str | None:
    """Why a job that asks to connect to ``network`` is not run here; None when it is."""
    if not network:
        return None
    if not policy.allow_network:
        return "The job asks for the network; the owner's policy gives none (allow_network)."
    missing = uncovered(network, policy.network_hosts)
    if missing:
        return f"The job asks for {', '.join(missing)}, which the owner's policy does not list in network_hosts."
    return None


def refusal_of_app(
    policy: WorkerPolicy,
    app: AppInfo,
    installed: Mapping[str, tuple[str, str, str]],
    document: AppDocument | None = None,
) -> str | None:
    """Why this worker does not run an app; None when it does.

    ``installed`` maps the ids of the runtimes that work here to type, CID and SHA-256 (0x-hex) of their generic apps:
    the app must be exactly that one (decision 44), or be published with a ``document`` that asks for its runtime.
    """
    if not is_manifest_type(app.type):
        return f"The app's type is {app.type!r}; this worker runs apps of {', '.join(LEVEL_OF_TYPE)} only."
    if policy.levels and LEVEL_OF_TYPE[app.type] not in policy.levels:
        return f"The owner's policy does not list isolation level {LEVEL_OF_TYPE[app.type].value!r}."
    runtime = app.name if document is None else document.runtime
    if runtime not in installed:
        return f"Runtime {runtime!r} is not installed here; installed: {', '.join(sorted(installed)) or 'none'}."
    if policy.runtimes and runtime not in policy.runtimes:
        return f"The owner's policy does not list runtime {runtime!r}."
    app_type, cid, sha256 = installed[runtime]
    if app.type != app_type:
        return f"The app's type is {app.type!r}; the runtime {runtime!r} has type {app_type!r}."
    if document is None and (app.multiaddr != f"/ipfs/{cid}".encode() or app.checksum != sha256):
        return f"The app names another content than the runtime {runtime!r} has here."
    if app.mrenclave:
        return "The app is made for an enclave, which this worker does not have."
    return None
