"""What tests of lies and outages do to a network, and what they read from it."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from fairgrid.chain.client import JsonRpcChain
from fairgrid.localnet.folder import ProcessBook
from fairgrid.localnet.processes import ProcessRecord
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.views import Task
from tests.e2e.network import Answer, Network

__all__ = [
    "Books",
    "Started",
    "address",
    "advance_chain_to",
    "books",
    "check_money",
    "everybody_is_back",
    "frozen",
    "on_chain",
    "pool_document",
    "process",
    "recast",
    "started",
    "stop_and_wait",
    "story",
    "task_on_chain",
    "until",
]

_Value = TypeVar("_Value")
_DEAL = re.compile(r"deal (0x[0-9a-f]{64})")


def until(found: Callable[[], _Value | None], what: str, *, within_s: float = 60, every_s: float = 0.1) -> _Value:
    """Ask again and again until there is an answer that counts."""
    end = time.monotonic() + within_s
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < end, f"{what} did not happen within {within_s:g} s"
        time.sleep(every_s)


class Started:
    """A command that runs while the test goes on."""

    def __init__(self, popen: subprocess.Popen[bytes], stdout: Path, stderr: Path) -> None:
        self._popen = popen
        self._stdout = stdout
        self._stderr = stderr

    @property
    def said(self) -> str:
        """What stderr has so far."""
        return self._stderr.read_text()

    def running(self) -> bool:
        """True until it ended."""
        return self._popen.poll() is None

    def task(self) -> str:
        """The task of the deal that `fairgrid run` makes; waits for the match."""

        def deal() -> str | None:
            found = _DEAL.search(self.said)
            assert found or self.running(), self.said
            return found[1] if found else None

        return task_id(until(deal, "a deal"), 0)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._popen.send_signal(signal.SIGINT)

    def finish(self, within_s: float = 150) -> Answer:
        """Wait for its end."""
        try:
            code = self._popen.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within_s:g} s; it said:\n{self.said}") from None
        return Answer(code, self._stdout.read_text(), self.said)

    def end(self) -> None:
        """Kill it if it still runs."""
        self._popen.kill()
        self._popen.wait()


@contextmanager
def started(network: Network, *arguments: str | Path) -> Iterator[Started]:
    """Run ``fairgrid`` beside the block."""
    number = sum(1 for _ in network.scratch.glob("*.stderr"))
    stdout, stderr = network.scratch / f"{number}.stdout", network.scratch / f"{number}.stderr"
    with stdout.open("wb") as out, stderr.open("wb") as err:
        popen = subprocess.Popen(
            network.command(*arguments), env=network.environment, cwd=network.scratch, stdout=out, stderr=err
        )
    command = Started(popen, stdout, stderr)
    try:
        yield command
    finally:
        command.end()


def on_chain(network: Network, work: Callable[[JsonRpcChain], Awaitable[_Value]]) -> _Value:
    """Do something with the network's chain."""

    async def connected() -> _Value:
        async with await JsonRpcChain.connect(network.local.network) as chain:
            return await work(chain)

    return network.wait(connected())


def advance_chain_to(network: Network, moment: int) -> None:
    """Let chain time pass until ``moment``."""

    async def skip(chain: JsonRpcChain) -> None:
        await chain.rpc.request("evm_increaseTime", hex(moment - (await chain.head()).timestamp))
        await chain.rpc.request("evm_mine")

    on_chain(network, skip)


def task_on_chain(network: Network, task: str) -> Task:
    """What the hub says of a task."""
    return on_chain(network, lambda chain: chain.view_task(task))


def address(network: Network, name: str) -> str:
    """Address of a role or worker."""
    return network.local.accounts[name].address


def process(network: Network, name: str) -> ProcessRecord:
    """The process of that name, if it was started."""
    records = ProcessBook(network.local.folder.processes).records()
    return next(record for record in records if record.name == name)


def stop_and_wait(network: Network, name: str, *, kill: bool = False) -> None:
    """End a process in order, or as a crash would, and wait until it is gone. ``restart`` starts it again."""
    record = process(network, name)
    record.signal(kill=kill)
    until(lambda: not record.running(), f"the end of {name}", within_s=30)


@contextmanager
def frozen(network: Network, worker: str) -> Iterator[None]:
    """Let the worker of this address stand still for the time of the block."""
    name = next(spec.name for spec in network.local.workers if address(network, spec.name) == worker)
    stopped = psutil.Process(process(network, name).pid)
    stopped.suspend()
    try:
        yield
    finally:
        stopped.resume()


def everybody_is_back(network: Network, *, without: Collection[str] = ()) -> None:
    """Wait until every worker but those named is enrolled at the pool."""
    wanted = {address(network, worker.name) for worker in network.local.workers if worker.name not in without}

    def complete() -> bool:
        listing = pool_document(network, "/trust")
        return listing is not None and wanted <= {owner["owner"] for owner in listing["owners"]}

    until(complete, "everybody's return to the pool", within_s=90, every_s=0.25)


def recast(network: Network, lies: Mapping[str, str]) -> None:
    """Let workers lie as ``lies`` says (name to misbehaviour), and all others be honest."""
    local = network.local
    cast = tuple(replace(worker, misbehave=lies.get(worker.name)) for worker in local.workers)
    changed = [new.name for old, new in zip(local.workers, cast, strict=True) if old != new]
    local.workers = cast

    async def restart() -> None:
        await asyncio.gather(*(local.restart(name) for name in changed))

    network.wait(restart())
    everybody_is_back(network)


def pool_document(network: Network, path: str) -> dict[str, Any] | None:
    """What the pool answers; None while it does not."""
    try:
        answer = httpx.get(network.local.network.pool + path, timeout=5, trust_env=False)
    except httpx.HTTPError:
        return None
    if answer.status_code != 200:
        return None
    document: dict[str, Any] = answer.json()
    return document


def story(network: Network, task: str) -> list[str]:
    """What the pool tells of a task, line by line."""
    document = pool_document(network, f"/tasks/{task}/story")
    return [line["text"] for line in document["lines"]] if document else []


@dataclass(frozen=True, slots=True)
class Books:
    """Everybody's money in escrow, free and locked, and everybody's score, by address."""

    totals: Mapping[str, int]
    locked: Mapping[str, int]
    scores: Mapping[str, int]
    hub_holds: int


def books(network: Network) -> Books:
    """Read the books of all accounts of the network and of the kitty."""
    addresses = [KITTY_ADDRESS, *dict.fromkeys(signer.address for signer in network.local.accounts.values())]

    async def read(chain: JsonRpcChain) -> Books:
        accounts = {account: await chain.view_account(account) for account in addresses}
        return Books(
            {account: view.stake + view.locked for account, view in accounts.items()},
            {account: view.locked for account, view in accounts.items()},
            {account: await chain.view_score(account) for account in addresses},
            await chain.rlc_balance(chain.hub),
        )

    return on_chain(network, read)


def check_money(network: Network, before: Books, document: Mapping[str, Any]) -> Books:
    """Hold what a job says that it paid against the chain, to the last nRLC; gives the books after it."""
    after = books(network)
    net = {line["account"]: line["net"] for line in document["payments"]}
    assert sum(net.values()) == 0
    changes = {account: after.totals[account] - before.totals[account] for account in before.totals}
    assert {account: change for account, change in changes.items() if change} == {
        account: gain for account, gain in net.items() if gain
    }
    assert sum(after.totals.values()) == after.hub_holds
    assert changes[address(network, "requester")] == -document["price"]
    return after
