"""`materialise`: one task of a finished run is proved and shown, its callback called; nothing else can be proved."""

from __future__ import annotations

from typing import Any

import boa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import ZERO32, keccak, to_hex, to_hex32
from tests.contracts.batch import (
    Answers,
    agree,
    answers,
    batch_deal,
    finalize_run,
    finished_run,
    materialisation,
    open_run,
    settle_run,
    split_run,
    view_run,
)
from tests.contracts.registries import NO_DATA, Log, Reverted, public_abi, reverts
from tests.contracts.world import World, bytes32, mock

RESULT = answers(7)


def _materialise(world: World, arguments: tuple[Any, ...]) -> tuple[str, list[Log]]:
    task, logs = world.hub.transact("materialise", *arguments, sender=world.stranger.address)
    return str(task), logs


# --- what comes of it -----------------------------------------------------------------------------------------------


def test_a_task_gets_a_place_of_its_own(world: World) -> None:
    run = finished_run(world, RESULT)
    deal = view_run(world, run).dealid
    ended = world.view_task(run)
    balances = [world.balance(person) for person in (world.worker(), world.scheduler, world.requester)]
    world.now = ended.finalDeadline + 10**6
    task, logs = _materialise(world, materialisation(run, 0, RESULT, 4))
    assert task == ids.task_id(deal, 4)
    digest = RESULT.digests[4]
    assert [(log.name, log.arguments) for log in logs] == [
        ("TaskMaterialise", {"taskid": task, "runid": run, "idx": 4, "digest": digest})
    ]
    view = world.view_task(task)
    assert (view.status, view.dealid, view.idx, view.timeref) == (3, deal, 4, 300)
    assert (view.contributionDeadline, view.finalDeadline) == (ended.contributionDeadline, ended.finalDeadline)
    assert view.revealDeadline == ended.revealDeadline
    assert (view.winnerCounter, view.revealCounter) == (1, 1)
    assert (view.consensusValue, view.resultDigest) == (ids.result_hash(task, digest), digest)
    assert (view.contributors, view.results, view.resultsCallback) == ((world.worker().address,), b"", b"")
    assert world.hub.call("resultFor", task) == b""
    assert balances == [world.balance(person) for person in (world.worker(), world.scheduler, world.requester)]
    assert view_run(world, task).count == 0
    with reverts("task-pending"):
        world.hub.call("resultFor", ids.task_id(deal, 3))


def test_contributions_are_shown_as_they_would_be_for_the_task(world: World) -> None:
    run = open_run(world, batch_deal(world, 7, request={"trust": 4}), 7)
    liar, silent, honest = (world.worker(number) for number in range(3))
    for worker in (liar, silent, honest):
        world.set_score(worker, 12)
    world.contribute(run, liar, bytes32(666))
    for worker in (silent, honest):
        world.contribute(run, worker, RESULT.digest)
    assert world.view_task(run).status == 1
    world.contribute(run, world.worker(3), RESULT.digest)
    for worker in (honest, world.worker(3)):
        world.reveal(run, worker, RESULT.digest)
    world.now = world.view_task(run).revealDeadline
    finalize_run(world, run, RESULT)
    task, _ = _materialise(world, materialisation(run, 0, RESULT, 2))
    digest = RESULT.digests[2]
    proved = world.view_contribution(task, honest)
    assert (proved.status, proved.weight) == (2, 1)
    assert proved.resultHash == ids.result_hash(task, digest)
    assert proved.resultSeal == ids.result_seal(honest.address, task, digest)
    for worker, claimed in ((liar, bytes32(666)), (silent, RESULT.digest)):
        shown = world.view_contribution(task, worker)
        assert (shown.status, shown.resultHash) == (1, ids.result_hash(run, claimed))
        assert shown.resultSeal == ids.result_seal(worker.address, run, claimed)
    assert world.view_contribution(task, world.worker(9)).status == 0
    assert len(world.view_task(task).contributors) == 4


def test_an_enclave_is_shown(world: World) -> None:
    enclave = world.worker(8)
    deal = batch_deal(world, 7)
    run, _ = settle_run(world, deal, RESULT, enclave=enclave)
    task, _ = _materialise(world, materialisation(run, 0, RESULT, 0))
    assert world.view_contribution(task, world.worker()).enclaveChallenge == enclave.address


def test_a_task_of_the_second_half_of_a_split_run(world: World) -> None:
    deal = batch_deal(world, 7)
    _, right = split_run(world, open_run(world, deal, 7), 3)
    result = answers(4)
    agree(world, right, result)
    finalize_run(world, right, result)
    with reverts(NO_DATA):
        _materialise(world, materialisation(right, 0, result, 2))
    task, _ = _materialise(world, materialisation(right, 3, result, 2))
    assert (task, world.view_task(task).idx) == (ids.task_id(deal, 5), 5)


@pytest.mark.parametrize("settled", [True, False])
def test_a_run_of_one_task(world: World, settled: bool) -> None:
    result = answers(1)
    run = settle_run(world, batch_deal(world, 1), result)[0] if settled else finished_run(world, result)
    arguments = materialisation(run, 0, result, 0)
    assert arguments[3] == ()
    task, _ = _materialise(world, arguments)
    assert world.view_task(task).resultDigest == result.digests[0]


# --- what is not proved ---------------------------------------------------------------------------------------------


def test_each_task_once_and_nothing_happens_to_it_later(world: World) -> None:
    run = finished_run(world, RESULT)
    deal = view_run(world, run).dealid
    for position in (4, 0, 6):
        _materialise(world, materialisation(run, 0, RESULT, position))
        with reverts(NO_DATA):
            _materialise(world, materialisation(run, 0, RESULT, position))
    task = ids.task_id(deal, 4)
    world.now = world.view_task(run).finalDeadline
    for function, arguments in (
        ("initialize", (deal, 4)),
        ("claim", (task,)),
        ("reopen", (task,)),
        ("finalize", (task, b"", b"")),
        ("reveal", (task, RESULT.digests[4])),
        ("splitRun", (task, 1)),
        ("finalizeRun", (task, RESULT.root, RESULT.results)),
    ):
        with reverts(NO_DATA):
            world.hub.call(function, *arguments, sender=world.scheduler.address)
    with reverts(NO_DATA):
        world.contribute(task, world.worker(1), RESULT.digests[4])


def test_not_before_the_run_is_finalized(world: World) -> None:
    run = open_run(world, batch_deal(world, 7), 7)
    arguments = materialisation(run, 0, RESULT, 0)
    with reverts(NO_DATA):
        _materialise(world, arguments)
    agree(world, run, RESULT)
    with reverts(NO_DATA):
        _materialise(world, arguments)
    finalize_run(world, run, RESULT)
    _materialise(world, arguments)


def test_nothing_of_a_run_that_failed_or_was_split(world: World) -> None:
    failed = open_run(world, batch_deal(world, 7), 7)
    split = open_run(world, batch_deal(world, 7), 7)
    split_run(world, split, 3)
    agree(world, failed, RESULT)
    world.now = world.view_task(failed).finalDeadline
    world.hub.call("claim", failed, sender=world.stranger.address)
    for run in (failed, split):
        with reverts(NO_DATA):
            _materialise(world, materialisation(run, 0, RESULT, 0))


def test_a_task_is_no_run(world: World) -> None:
    """Even one whose digest looks like that of a run."""
    single = answers(1)
    task = world.initialize(batch_deal(world, 1), 0, world.scheduler)
    agree(world, task, single)
    world.finalize(task)
    with reverts(NO_DATA):
        _materialise(world, materialisation(task, 0, single, 0))
    run = finished_run(world, RESULT)
    made, _ = _materialise(world, materialisation(run, 0, RESULT, 0))
    with reverts(NO_DATA):
        _materialise(world, materialisation(made, 0, single, 0))
    with reverts(NO_DATA):
        _materialise(world, materialisation(bytes32(5), 0, single, 0))


@pytest.mark.parametrize("index", [0, 2, 10, 2**256 - 1])
def test_an_index_outside_the_run_is_refused(world: World, index: int) -> None:
    deal = batch_deal(world, 12)
    for number in range(3):
        world.initialize(deal, number, world.scheduler)
    run, _ = settle_run(world, deal, RESULT)
    for position in (0, 6):
        run_, _, *rest = materialisation(run, 3, RESULT, position)
        with reverts(NO_DATA):
            _materialise(world, (run_, index, *rest))
        _materialise(world, (run_, 3 + position, *rest))


def test_root_and_results_are_those_of_the_run(world: World) -> None:
    run = finished_run(world, RESULT)
    good = materialisation(run, 0, RESULT, 3)
    other = answers(7, seed=1)
    for bad in (
        materialisation(run, 0, other, 3),
        materialisation(run, 0, Answers(RESULT.digests, b"elsewhere"), 3),
        (*good[:4], other.root, *good[5:]),
        (*good[:5], ZERO32, good[6]),
        (*good[:2], other.digests[3], *good[3:]),
    ):
        with reverts(NO_DATA):
            _materialise(world, bad)
    _materialise(world, good)


def test_an_inner_node_is_no_digest(world: World) -> None:
    result = answers(4)
    run = finished_run(world, result)
    proof = runs.task_proof(result.digests, 0)
    leaf = keccak(b"\x10" + bytes.fromhex(result.digests[0][2:]))
    inner = to_hex32(keccak(b"\x11" + leaf + bytes.fromhex(proof[0][2:])))
    for bad in (inner, to_hex32(leaf)):
        with reverts(NO_DATA):
            _materialise(world, (run, 0, bad, proof[1:], result.root, result.results_hash, b""))


def test_a_proof_has_at_most_twenty_nodes(world: World) -> None:
    """As many as the last but one task of the largest run needs; one more is refused before anything is read."""
    count = 2**20 - 1
    many = {"volume": count}
    deal = batch_deal(world, count, app={**many, "appprice": 0}, workerpool={**many, "workerpoolprice": 0})
    digest, position = bytes32(1), 0
    proof = tuple(bytes32(1_000 + level) for level in range(20))
    node = keccak(b"\x10" + bytes.fromhex(digest[2:]))
    for sibling in proof:
        node = keccak(b"\x11" + node + bytes.fromhex(sibling[2:]))
    root, results = to_hex32(node), b"r"
    run = open_run(world, deal, count)
    agreed = runs.run_digest(root, results)
    world.contribute(run, world.worker(), agreed)
    world.reveal(run, world.worker(), agreed)
    world.hub.call("finalizeRun", run, root, results, sender=world.scheduler.address)
    results_hash = to_hex32(keccak(results))
    for bad in (proof[:-1], (*proof, ZERO32)):
        with reverts(NO_DATA):
            _materialise(world, (run, position, digest, bad, root, results_hash, b""))
    task, _ = _materialise(world, (run, position, digest, proof, root, results_hash, b""))
    assert world.view_task(task).resultDigest == digest


# --- the shape of proofs --------------------------------------------------------------------------------------------

COUNTS = (1, 2, 3, 5, 6, 7, 8, 11, 16, 17)


def test_a_proof_holds_on_chain_exactly_where_it_holds_in_python(world: World) -> None:
    """Runs of many sizes, odd ones among them; proofs that are right, of another place, too long, too short, bent."""
    finished = {count: finished_run(world, answers(count, seed=count)) for count in COUNTS}
    outcomes = set()

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(count=st.sampled_from(COUNTS), data=st.data())
    def holds(count: int, data: st.DataObject) -> None:
        result, run = answers(count, seed=count), finished[count]
        places = st.integers(0, count - 1)
        index, proved, digest_of = (data.draw(st.one_of(st.just(base), places)) for base in [data.draw(places)] * 3)
        proof = list(runs.task_proof(result.digests, proved))
        change = data.draw(st.sampled_from(["none", "longer", "longer at front", "shorter", "bent", "swapped"]))
        if change == "longer":
            proof.append(data.draw(st.sampled_from([ZERO32, result.root])))
        elif change == "longer at front":
            proof.insert(0, ZERO32)
        elif change == "shorter" and proof:
            proof.pop(data.draw(st.integers(0, len(proof) - 1)))
        elif change == "bent" and proof:
            proof[data.draw(st.integers(0, len(proof) - 1))] = ZERO32
        elif change == "swapped":
            proof.reverse()
        digest = result.digests[digest_of]
        expected = runs.task_proof_holds(digest, index, count, proof, result.root)
        with world.anchor():
            try:
                _materialise(world, (run, index, digest, tuple(proof), result.root, result.results_hash, b""))
                accepted = True
            except Reverted as error:
                assert error.data == b""
                accepted = False
        assert accepted == expected
        assert not expected or digest_of == index
        outcomes.add((accepted, change))

    holds()
    assert {accepted for accepted, _ in outcomes} == {True, False}
    assert ((True, "none") in outcomes) and ((False, "shorter") in outcomes) and ((False, "longer") in outcomes)


# --- callback -------------------------------------------------------------------------------------------------------


def _callback_run(world: World, data: bytes, callback: str) -> tuple[str, Answers]:
    result = Answers((bytes32(1), to_hex(keccak(data)), bytes32(3)))
    return finished_run(world, result, request={"callback": callback}), result


def test_a_callback_gets_the_bytes_whose_hash_is_the_digest(world: World) -> None:
    receiver = mock("callback", 0)
    data = b"\xab" * 2048
    run, result = _callback_run(world, data, str(receiver.address))
    for wrong in (b"", data[:-1], data[:-1] + b"!"):
        with reverts(NO_DATA):
            _materialise(world, materialisation(run, 0, result, 1, wrong))
    assert receiver.gas_seen() == 0
    task, logs = _materialise(world, materialisation(run, 0, result, 1, data))
    assert logs[-1].name == "TaskMaterialise"
    assert (to_hex(receiver.task()), receiver.digest()) == (task, keccak(data))
    assert 150_000 < receiver.gas_seen() <= 200_000
    assert world.hub.call("resultFor", task) == data
    assert (world.view_task(task).results, world.view_task(task).resultsCallback) == (b"", data)
    with reverts(NO_DATA):
        _materialise(world, materialisation(run, 0, result, 1, data))


def test_data_beyond_our_bound_reverts(world: World) -> None:
    data = b"x" * 2049
    result = Answers((to_hex(keccak(data)),))
    with reverts(NO_DATA):
        _materialise(world, materialisation(finished_run(world, result), 0, result, 0, data))


def test_without_a_callback_data_must_match_the_digest_or_be_empty(world: World) -> None:
    data = b"pull me"
    result = Answers((to_hex(keccak(data)), bytes32(2)))
    run = finished_run(world, result)
    for position, wrong in ((0, b"other"), (1, data)):
        with reverts(NO_DATA):
            _materialise(world, materialisation(run, 0, result, position, wrong))
    task, _ = _materialise(world, materialisation(run, 0, result, 0, data))
    assert world.hub.call("resultFor", task) == data
    task, _ = _materialise(world, materialisation(run, 0, result, 1))
    assert world.hub.call("resultFor", task) == b""


def test_a_callback_can_neither_fail_the_task_nor_be_starved(world: World) -> None:
    for mode in (1, 2):
        run, result = _callback_run(world, b"d", str(mock("callback", mode).address))
        task, _ = _materialise(world, materialisation(run, 0, result, 1, b"d"))
        assert world.view_task(task).status == 3
    receiver = mock("callback", 0)
    run, result = _callback_run(world, b"d", str(receiver.address))
    task = ids.task_id(view_run(world, run).dealid, 1)
    data = public_abi("hub").encode_call("materialise", materialisation(run, 0, result, 1, b"d"))
    outcomes = set()
    for gas in range(120_000, 520_000, 16_000):
        with world.anchor():
            computation = boa.env.execute_code(to_address=world.hub.address, data=data, gas=gas)
            finished = world.view_task(task).status == 3
            assert finished == (not computation.is_error)
            assert finished == (receiver.digest() == keccak(b"d"))
            outcomes.add(finished)
    assert outcomes == {False, True}
