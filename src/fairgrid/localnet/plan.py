"""Where each service of a local network will be, and the commands that start services and workers there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fairgrid.chain.deploy import Deployment
from fairgrid.chain.network import Network
from fairgrid.localnet.anvil import LOCAL_CHAIN_ID
from fairgrid.localnet.folder import NetworkFolder, free_port
from fairgrid.localnet.options import MARKET, POOL, SERVICES, STORAGE, LocalNetworkOptions, WorkerSpec
from fairgrid.pool.client import pool_urls

__all__ = ["moved_network", "planned_network", "service_command", "worker_command"]


def planned_network(
    rpc: str,
    deployment: Deployment,
    workerpool: str,
    *,
    old: Network | None,
    runs: Callable[[str], bool],
    pool_processes: int,
) -> Network:
    """With the addresses that services will have: those they had in ``old``, where they run or their ports are free."""
    urls: dict[str, str] = {}
    for service in SERVICES:
        before = None if old is None else getattr(old, service)
        if before is not None and runs(service):
            urls[service] = before
        else:
            urls[service] = _local_url(before=pool_urls(before)[0] if before else None, taken=[*urls.values()])
    processes = list(pool_urls(urls[POOL]))
    while len(processes) < pool_processes:
        processes.append(_local_url(taken=[urls[MARKET], urls[STORAGE], *processes]))
    return Network(
        name="local",
        chain_id=LOCAL_CHAIN_ID,
        rpc=rpc,
        hub=deployment.hub,
        hub_code_hash=deployment.hub_code_hash,
        rlc=deployment.rlc,
        market=urls[MARKET],
        storage=urls[STORAGE],
        pool=",".join(processes),
        pool_address=workerpool,
    )


def moved_network(network: Network, service: str) -> Network:
    """The same, with ``service`` at another free port; further processes of the pool stay where they are."""
    _, *others = pool_urls(getattr(network, service))
    moved: dict[str, Any] = {service: ",".join([_local_url(taken=others), *others])}
    return replace(network, **moved)


def service_command(name: str, network: Network, folder: NetworkFolder, options: LocalNetworkOptions) -> list[str]:
    """Arguments of ``fairgrid`` that start storage, market, pool, or a further process of the pool (``pool-2``)."""
    service, _, number = name.partition("-")
    url = pool_urls(getattr(network, service))[int(number or 1) - 1]
    command = [service, "start", "--dir", str(folder.service(service)), "--port", url.rpartition(":")[2]]
    if service != STORAGE:
        command += ["--network", str(folder.network)]
    if service == POOL:
        command += ["--policy", str(folder.pool_policy)]
        if options.pool_database:
            command += ["--database", options.pool_database]
    return command


def worker_command(worker: WorkerSpec, folder: NetworkFolder) -> list[str]:
    """Arguments of ``fairgrid`` that start a worker."""
    command = ["worker", "start", "--network", str(folder.network), "--slots", str(worker.slots)]
    command += ["--dir", str(folder.worker(worker.name))]
    command += worker.arguments
    return [*command, "--misbehave", worker.misbehave] if worker.misbehave else command


def _local_url(*, before: str | None = None, taken: list[str] | None = None) -> str:
    return f"http://127.0.0.1:{free_port(before, pick=True, taken=taken or [])}"
