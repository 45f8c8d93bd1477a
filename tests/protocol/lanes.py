"""Words for plays in the batch lane of the model: deals with both lane bits, runs, digests, proofs."""

from __future__ import annotations

from typing import Any

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex32
from tests.protocol.actors import Actor
from tests.protocol.scenario import DEPOSIT, Scenario

__all__ = ["LANE", "RESULTS", "Batch", "digests_of", "gains"]

LANE = {"tag": f"0x{1 << 16:064x}"}
RESULTS = b"/ipfs/manifest"
SALT = "0x" + "ba" * 32


def digests_of(count: int, version: int = 0) -> tuple[str, ...]:
    """What the tasks of a run compute; another ``version`` is another answer."""
    return tuple(to_hex32(keccak(bytes([version]) + number.to_bytes(32, "big"))) for number in range(count))


def gains(scenario: Scenario) -> dict[str, int]:
    """Free money gained or lost since the start, by name."""
    return {actor.name: scenario.stake(actor) - DEPOSIT for actor in scenario.people.all}


class Batch:
    """A deal of ten tasks in the batch lane (pool price 1,009 nRLC, stakes of 302), and its runs."""

    def __init__(self, scenario: Scenario, *, with_dataset: bool = False, **changes: dict[str, Any]) -> None:
        self.scenario, self.hub, self.people = scenario, scenario.hub, scenario.people
        self.scheduler = self.people.scheduler.address
        self.deal = scenario.deal(
            with_dataset=with_dataset,
            app={"salt": SALT, **changes.get("app", {})},
            workerpool={**LANE, "salt": SALT, "workerpoolprice": 1_009, **changes.get("workerpool", {})},
            request={**LANE, "salt": SALT, "workerpoolmaxprice": 1_009, "volume": 10, **changes.get("request", {})},
        )

    def open(self, count: int) -> str:
        """The scheduler opens the next run."""
        return self.hub.open_run(self.scheduler, self.deal, count)

    def digest(self, run: str, version: int = 0, results: bytes = RESULTS) -> str:
        """What workers of the run agree on."""
        return runs.run_digest(self.root(run, version), results)

    def root(self, run: str, version: int = 0) -> str:
        """The root of the run's tasks."""
        return runs.tasks_root(digests_of(self.hub.view_run(run).count, version))

    def contributed(self, count: int, versions: dict[int, int]) -> str:
        """A new run, after workers contributed these versions."""
        run = self.open(count)
        for worker, version in versions.items():
            self.scenario.contribute(self.people.workers[worker], run, self.digest(run, version))
        return run

    def finish(self, run: str, version: int = 0, results: bytes = RESULTS) -> None:
        """The scheduler finalizes."""
        self.hub.finalize_run(self.scheduler, run, self.root(run, version), results)

    def completed(self, count: int, versions: dict[int, int]) -> str:
        """A new run, finalized after all who contributed version 0 revealed."""
        run = self.contributed(count, versions)
        for worker, version in versions.items():
            if version == 0:
                self.scenario.reveal(self.people.workers[worker], run, self.digest(run))
        self.finish(run)
        return run

    def settle(
        self,
        count: int,
        *,
        worker: int = 0,
        authority: Actor | None = None,
        enclave: Actor | None = None,
        enclave_signer: Actor | None = None,
        digests: tuple[str, ...] | None = None,
    ) -> str:
        """One worker settles the next run, authorised by the scheduler unless somebody else is named."""
        who = self.people.workers[worker].address
        root = runs.tasks_root(digests or digests_of(max(count, 1)))
        run = runs.run_id(self.deal, self.hub.view_lane(self.deal).cursor, max(count, 0))
        digest = runs.run_digest(root, RESULTS)
        challenge = enclave.address if enclave else ZERO_ADDRESS
        message = ids.enclave_message(ids.result_hash(run, digest), ids.result_seal(who, run, digest))
        signer = enclave_signer or enclave
        return self.hub.settle_run(
            who,
            self.deal,
            count,
            root,
            RESULTS,
            challenge,
            signer.sign_message(message) if signer else "0x",
            (authority or self.people.scheduler).authorise(who, run, challenge),
        )

    def materialise(
        self,
        run: str,
        position: int,
        callback: bytes = b"",
        *,
        digests: tuple[str, ...] | None = None,
        **changes: Any,
    ) -> str:
        """A stranger proves one task of a run; ``changes`` spoil its arguments by name."""
        view = self.hub.view_run(run)
        known = digests or digests_of(view.count)
        arguments: dict[str, Any] = {
            "run_id": run,
            "index": view.first + position,
            "result_digest": known[position],
            "proof": runs.task_proof(known, position),
            "root": runs.tasks_root(known),
            "results_hash": to_hex32(keccak(RESULTS)),
            "results_callback": callback,
        }
        return self.hub.materialise(self.people.stranger.address, **{**arguments, **changes})
