"""A claim of speed that holds passes, one that is far off falls, and a wrong answer is no answer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.spot_checks import SpotChecks, Timing, implausible
from fairgrid.protocol import pool_messages, worker_messages
from fairgrid.protocol.machine import Benchmark, Machine
from fairgrid.protocol.spot_checks import BASE_FUEL, FUEL_PER_ROUND, MAX_ROUNDS, SCRIPT, answer_of
from fairgrid.runtime.interface import Limits, SandboxJob
from fairgrid.runtime.wasm.interpreters import default_runtime_id, install_interpreter
from tests.pool.grid import Grid
from tests.pool.scripted import Scripted

CLAIM = 10**9
NOW = 1_000.0


def checks(every_s: float = 3_600.0) -> SpotChecks:
    return SpotChecks(every_s, draw=random.Random(7))


def test_the_right_answer_in_time_passes_and_the_next_check_comes_later() -> None:
    testing = checks()
    check = testing.ask("w", CLAIM, NOW)
    assert check.expected_s == pytest.approx(3.0, rel=0.1)
    assert not testing.due("w", NOW), "one question at a time"
    verdict = testing.judge("w", check.check_id, answer_of(check.seed, check.rounds), NOW + check.allowed_s - 1)
    assert verdict is not None and verdict.passed
    assert not testing.due("w", NOW + 3_600) and testing.due("w", NOW + 3_600 + check.allowed_s)


@pytest.mark.parametrize("wrong", ["late", "answer"])
def test_a_late_or_wrong_answer_fails_and_is_asked_again_soon(wrong: str) -> None:
    testing = checks()
    check = testing.ask("w", CLAIM, NOW)
    answer = answer_of(check.seed, check.rounds) + (wrong == "answer")
    took = check.allowed_s + (0.1 if wrong == "late" else -1)
    verdict = testing.judge("w", check.check_id, answer, NOW + took)
    assert verdict is not None and not verdict.passed
    assert testing.due("w", NOW + took + 360)


def test_silence_fails_and_going_away_does_not() -> None:
    testing = checks()
    check = testing.ask("w", CLAIM, NOW)
    assert testing.overdue(NOW + 2 * check.allowed_s) == []
    assert [verdict.passed for verdict in testing.overdue(NOW + 2 * check.allowed_s + 1)] == [False]
    testing.ask("v", CLAIM, NOW)
    testing.forget("v")
    assert testing.overdue(NOW + 10**6) == []


def test_an_answer_to_nothing_or_to_an_older_question_is_nothing() -> None:
    testing = checks()
    assert testing.judge("w", "00", 1, NOW) is None
    check = testing.ask("w", CLAIM, NOW)
    assert testing.judge("w", check.check_id + "0", answer_of(check.seed, check.rounds), NOW) is None


def test_a_pool_that_checks_nobody_asks_nobody() -> None:
    assert not checks(0.0).due("w", NOW)


@pytest.mark.parametrize("claimed", [1, 10**6, 10**12])
def test_a_question_is_bounded_whatever_is_claimed(claimed: int) -> None:
    check = checks().ask("w", claimed, NOW)
    assert 10_000 <= check.rounds <= MAX_ROUNDS


def test_real_work_contradicts_a_claim_only_when_it_is_far_off_and_often() -> None:
    honest = Timing(own_s=20, other_s=10, own_claim=CLAIM, other_claim=2 * CLAIM)
    boaster = Timing(own_s=20, other_s=10, own_claim=9 * CLAIM, other_claim=2 * CLAIM)
    assert implausible([honest] * 50) == ""
    assert implausible([boaster] * 4) == ""
    assert "times as long" in implausible([boaster] * 5)
    assert implausible([boaster] * 2 + [honest] * 5) == ""
    assert implausible([Timing(1, 1, 0, CLAIM)] * 9) == "", "without a claim there is nothing to contradict"


async def test_the_script_prints_the_answer_and_burns_the_fuel_that_is_said(tmp_path: Path) -> None:
    sandbox = install_interpreter(default_runtime_id()).sandbox()
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "check.py").write_bytes(SCRIPT)
    rounds = 20_000
    job = SandboxJob(
        tmp_path / "check.py",
        ("12345", str(rounds)),
        tmp_path / "in",
        tmp_path / "out",
        {},
        bytes(32),
        Limits(fuel=10**11),
    )
    outcome = await sandbox.run(job)
    assert int(outcome.stdout) == answer_of(12_345, rounds)
    assert outcome.fuel_used == pytest.approx(BASE_FUEL + FUEL_PER_ROUND * rounds, rel=0.02)


@pytest.mark.parametrize("right", [True, False])
async def test_an_idle_worker_is_asked_and_loses_only_its_benchmark_when_it_fails(tmp_path: Path, right: bool) -> None:
    grid = Grid(tmp_path, policy=Policy(spot_check_every_s=3_600))
    worker = Scripted(grid, "worker")
    machine = Machine(cpus=2, benchmark=Benchmark(fuel_per_s=10**8))
    async with grid.pool(), worker.connected(machine=machine):

        async def asked() -> bool:
            return "spot_check" in worker.kinds()

        await grid.until(asked)
        check = next(message for message in worker.received if isinstance(message, pool_messages.SpotCheck))
        answer = answer_of(check.seed, check.rounds) + (not right)
        await worker.say(worker_messages.SpotAnswer(check_id=check.check_id, answer=answer))

        async def judged() -> bool:
            state = grid.service.machine.workers[worker.address]
            assert state.machine is not None
            return (state.machine.benchmark is None) is not right and worker.address in grid.service.spot_verdicts

        await grid.until(judged)
        state = grid.service.machine.workers[worker.address]
        assert state.machine is not None and state.machine.cpus == 2, "the rest of what it said stays"
        told = {reason.rule: reason.allowed for reason in grid.service.why(worker.address).reasons}
        assert told["benchmark"] is right
