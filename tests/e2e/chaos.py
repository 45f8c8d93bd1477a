"""A seeded plan of strikes against the processes of a real network, and requesters that a strike may hit too."""

from __future__ import annotations

import gzip
import random
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from fairgrid.chain.client import JsonRpcChain
from fairgrid.client.journal import DealRecord, Journal
from fairgrid.localnet.options import ANVIL, MARKET, POOL, STORAGE
from tests.e2e.acts import on_chain, process, until
from tests.e2e.network import Answer, Network

__all__ = ["BagOfTasks", "Chaos", "Requester", "Strike", "Struck", "Way", "plan_of"]

_GOES_ON = 4
"""Exit code of a command that lost a service: its requester tries again."""


_RUN_AGAIN = "nothing was locked, run the job again"
"""What is said of a match that can never be mined."""

_TOO_FEW_WORKERS = "TrustUnreachable"
"""All workers may be away for longer than a command waits for them: nothing was signed, it is run again."""


class Way(StrEnum):
    """How a process is struck."""

    KILL = "kill -9"
    FREEZE = "SIGSTOP"


@dataclass(frozen=True, slots=True)
class Strike:
    """``gap_s`` after the strike before it, ``victim`` goes away for ``away_s`` seconds."""

    gap_s: float
    victim: str
    way: Way
    away_s: float


@dataclass(frozen=True, slots=True)
class Struck:
    """A strike that happened, ``at_s`` after the beginning; its victim was ready again after ``back_s`` seconds."""

    at_s: float
    strike: Strike
    back_s: float


@dataclass(frozen=True, slots=True)
class BagOfTasks:
    """One deal of the test."""

    name: str
    tasks: int
    lane: str
    confidence: str


def plan_of(seed: int, workers: Sequence[str], requesters: Sequence[str]) -> Iterator[Strike]:
    """Two laps. In each everybody is struck in an order that the lap draws, chain and pool in both ways."""
    for lap in range(2):
        dice = random.Random(f"{seed}/{lap}")
        both = [(name, way) for name in (ANVIL, POOL) for way in Way]
        killed = [(name, Way.KILL) for name in (STORAGE, MARKET, *workers, *requesters)]
        strikes = [*both, *killed]
        dice.shuffle(strikes)
        for victim, way in strikes:
            yield Strike(round(dice.uniform(1, 4), 2), victim, way, round(dice.uniform(0.5, 5), 2))


class Requester:
    """Runs one bag through the public command, as somebody who does not give up: a command that was killed, or that
    lost a service, is followed by `fairgrid result`."""

    def __init__(self, network: Network, bag: BagOfTasks, script: Path, arguments: Path) -> None:
        self.bag = bag
        self.out = network.scratch / bag.name
        self.answer: Answer | None = None
        self.commands = 0
        self.killed = 0
        self._network = network
        self._run = (
            *("run", script, "--each", arguments, "--lane", bag.lane, "--trust", bag.confidence),
            *("--out", self.out, "--json"),
        )
        self._script = script
        self._lost: set[str] = set()
        self._popen: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._insist, name=bag.name)
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin, beside the caller."""
        self._thread.start()

    def kill(self) -> None:
        """Kill the command that runs now."""
        if self._popen is not None and self._popen.poll() is None:
            self.killed += 1
            self._popen.kill()

    def over(self) -> bool:
        """True when a command came to its end."""
        return self._ended.is_set()

    def give_up(self) -> None:
        """End what still runs."""
        self._ended.set()
        if self._popen is not None:
            self._popen.kill()
        self._thread.join(60)

    def deal(self) -> DealRecord | None:
        """The bag's deal, once it is signed."""
        folder = self._network.local.folder.path / "deals" / self._network.local.accounts["requester"].address
        mine = [record for record in Journal(folder).all() if record.job_name == self._script.name]
        mine = [record for record in mine if record.deal_id not in self._lost]
        assert len(mine) <= 1, f"{self.bag.name} was signed {len(mine)} times"
        return mine[0] if mine else None

    def _insist(self) -> None:
        try:
            while not self._ended.is_set():
                record = self.deal()
                again = () if record is None else ("result", record.deal_id, "--out", self.out, "--json")
                answer = self._command(*(again or self._run))
                if record is not None and _RUN_AGAIN in answer.stdout:
                    self._lost.add(record.deal_id)  # all bags have one key, and another one took this match's nonce
                if answer.code not in (_GOES_ON, -9) and _TOO_FEW_WORKERS not in answer.stdout:
                    self.answer = answer
                    return
                time.sleep(0.5)
        finally:
            self._ended.set()

    def _command(self, *arguments: str | Path) -> Answer:
        self.commands += 1
        network = self._network
        stdout = network.scratch / f"{self.bag.name}-{self.commands}.stdout"
        stderr = stdout.with_suffix(".stderr")
        with stdout.open("wb") as out, stderr.open("wb") as err:
            self._popen = subprocess.Popen(
                network.command(*arguments), env=network.environment, cwd=network.scratch, stdout=out, stderr=err
            )
        return Answer(self._popen.wait(), stdout.read_text(), stderr.read_text())


class Chaos:
    """Strikes as a plan says, until it is told to stop; strikes may overlap, none hits who is away already."""

    def __init__(self, network: Network, requesters: Sequence[Requester]) -> None:
        self.struck: list[Struck] = []
        self.raged_s = 0.0
        """How long the plan took."""
        self._network = network
        self._requesters = {requester.bag.name: requester for requester in requesters}
        self._away: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._begun = time.monotonic()

    def rage(self, plan: Iterable[Strike], *, within_s: float) -> None:
        """Carry out the plan, and wait until every requester has its answer; all are back afterwards."""
        end = time.monotonic() + within_s
        try:
            for strike in plan:
                time.sleep(strike.gap_s)
                self._begin(strike)
                assert not self._failures, self._failures
        finally:
            for thread in self._threads:
                thread.join(120)
        assert not self._failures, self._failures
        self.raged_s = time.monotonic() - self._begun
        while not all(requester.over() for requester in self._requesters.values()):
            assert time.monotonic() < end, f"not every bag ended within {within_s:g} s"
            time.sleep(0.2)

    def _begin(self, strike: Strike) -> None:
        if strike.victim in self._away:
            return
        self._away.add(strike.victim)
        thread = threading.Thread(target=self._guarded, args=(strike,), name=f"strike at {strike.victim}")
        self._threads.append(thread)
        thread.start()

    def _guarded(self, strike: Strike) -> None:
        began = time.monotonic()
        try:
            if strike.victim in self._requesters:
                self._requesters[strike.victim].kill()
            elif strike.way is Way.FREEZE:
                self._freeze(strike)
            else:
                self._kill(strike)
        except BaseException as error:
            self._failures.append(error)
        finally:
            back_s = time.monotonic() - began
            self.struck.append(Struck(began - self._begun, strike, back_s))
            self._away.discard(strike.victim)

    def _freeze(self, strike: Strike) -> None:
        victim = psutil.Process(process(self._network, strike.victim).pid)
        victim.suspend()
        try:
            time.sleep(strike.away_s)
        finally:
            victim.resume()

    def _kill(self, strike: Strike) -> None:
        network = self._network
        if strike.victim == ANVIL:
            # A real node writes each block to its disk. Anvil does not: its state is taken a moment before the kill,
            # so that it forgets what was mined in between, as a node does that crashed before it had synced.
            state = on_chain(network, _dump)
            network.local.kill(ANVIL)
            network.local.folder.chain_state.write_bytes(gzip.decompress(bytes.fromhex(state)))
        else:
            network.local.kill(strike.victim)
        until(lambda: not process(network, strike.victim).running(), f"the end of {strike.victim}", within_s=30)
        time.sleep(strike.away_s)
        network.wait(network.local.restart(strike.victim))


async def _dump(chain: JsonRpcChain) -> str:
    return str(await chain.rpc.request("anvil_dumpState", True)).removeprefix("0x")
