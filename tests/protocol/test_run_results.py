from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.errors import UsageError, VerificationError
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import ZERO32, keccak, to_hex32
from fairgrid.protocol.results import MAX_CALLBACK_BYTES, cid_of_results
from fairgrid.protocol.run_results import (
    MAX_INDEX,
    MAX_RESULTS_TASKS,
    RunResults,
    TaskResult,
    max_manifest_bytes,
    parse_run_results,
)
from fairgrid.protocol.runs import run_digest, task_proof_holds, tasks_root
from tests.protocol.formats import VECTORS


def task(number: int) -> TaskResult:
    content = b"%d" % number
    return TaskResult(to_hex32(keccak(content)), cid_of(content), len(content))


def called_back(number: int) -> TaskResult:
    content = b"%d" % number
    return TaskResult(to_hex32(keccak(content)), callback=content)


def results(count: int, first: int = 5) -> RunResults:
    return RunResults(first, tuple(task(number) for number in range(count)))


def changed(**change: Any) -> bytes:
    wire = json.loads(results(2).to_bytes())
    return json.dumps(wire | change, separators=(",", ":"), sort_keys=True).encode()


def test_the_committed_vector_holds() -> None:
    vector = VECTORS["run"]
    found = parse_run_results(vector["text"].encode(), first=7, count=3)
    assert (found.cid, found.root, found.digest) == (vector["cid"], vector["root"], vector["digest"])
    assert list(found.proof(9)) == vector["proof"]


@given(st.integers(1, 40), st.integers(0, 1 << 40))
def test_what_is_written_is_read_and_every_task_is_proven_alone(count: int, first: int) -> None:
    written = results(count, first)
    assert len(written.to_bytes()) <= max_manifest_bytes(count)
    found = parse_run_results(written.to_bytes(), first=first, count=count)
    assert found == written
    for index in range(first, first + count):
        assert task_proof_holds(found.task(index).digest, index - first, count, found.proof(index), found.root)


def test_the_digest_binds_root_and_place_of_the_results() -> None:
    run = results(3)
    assert cid_of_results(run.results) == run.cid
    assert run.digest == run_digest(tasks_root(run.digests), run.results)
    elsewhere = RunResults(run.first, (TaskResult(run.tasks[0].digest, cid_of(b"else"), 4), *run.tasks[1:]))
    assert elsewhere.root == run.root
    assert elsewhere.digest != run.digest


def test_a_deal_with_a_callback_carries_the_bytes() -> None:
    run = RunResults(0, (called_back(1), called_back(2)))
    assert parse_run_results(run.to_bytes(), first=0, count=2, callback=True) == run
    with pytest.raises(VerificationError, match="other keys"):
        parse_run_results(run.to_bytes(), first=0, count=2)
    with pytest.raises(VerificationError, match="other keys"):
        parse_run_results(results(2, 0).to_bytes(), first=0, count=2, callback=True)


def test_a_callback_of_the_largest_size_fits_and_a_longer_one_does_not() -> None:
    for size, fits in ((MAX_CALLBACK_BYTES, True), (MAX_CALLBACK_BYTES + 1, False)):
        data = b"\x01" * size
        run = RunResults(MAX_INDEX - 2, (TaskResult(to_hex32(keccak(data)), callback=data),))
        if fits:
            assert parse_run_results(run.to_bytes(), first=run.first, count=1, callback=True) == run
        else:
            with pytest.raises(VerificationError):
                parse_run_results(run.to_bytes(), first=run.first, count=1, callback=True)


def test_a_callback_whose_hash_is_another_digest_is_refused() -> None:
    run = RunResults(0, (TaskResult(ZERO32, callback=b"1"),))
    with pytest.raises(VerificationError, match="not the hash of its callback"):
        parse_run_results(run.to_bytes(), first=0, count=1, callback=True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", "other keys"),
        (b"\xff", "not JSON"),
        (b"[" * 100 + b"]" * 100, "not JSON"),
        (results(2).to_bytes() + b" ", "not canonical"),
        (changed(extra=1), "other keys"),
        (changed(fairgrid="results/2"), "'results/2'"),
        (changed(first=4), "not of its 2 tasks"),
        (changed(count=3), "not of its 2 tasks"),
        (results(3).to_bytes(), "cannot have"),
        (changed(tasks=7), "not of its 2 tasks"),
        (changed(tasks=[1, 2]), "other keys"),
        (changed(tasks=[task(1).to_wire() | {"cid": "Qm"}] * 2), "no archive"),
        (changed(tasks=[task(1).to_wire() | {"size": -1}] * 2), "no archive"),
        (changed(tasks=[task(1).to_wire() | {"size": True}] * 2), "no archive"),
        (changed(tasks=[task(1).to_wire() | {"digest": "0x12"}] * 2), "other keys"),
        (changed(tasks=[task(1).to_wire() | {"digest": "0x" + "AB" * 32}] * 2), "lower case"),
        (b" " * (max_manifest_bytes(2) + 1), "cannot have"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_honest_worker_writes_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(VerificationError, match=message):
        parse_run_results(data, first=5, count=2)


def test_a_run_without_tasks_or_with_too_many_has_no_results() -> None:
    with pytest.raises(UsageError, match="1 to 65536"):
        RunResults(0, ())
    with pytest.raises(UsageError, match="smaller runs"):
        RunResults(0, (task(0),) * (MAX_RESULTS_TASKS + 1))


def test_an_index_that_json_cannot_hold_is_refused() -> None:
    RunResults(MAX_INDEX - 1, (task(0),))
    with pytest.raises(UsageError, match="beyond"):
        RunResults(MAX_INDEX, (task(0),))
    with pytest.raises(UsageError, match="one deal"):
        RunResults(0, (task(0), called_back(1)))


def test_a_task_of_another_run_has_no_result_here() -> None:
    run = results(3)
    assert run.task(7) == task(2)
    for index in (4, 8):
        with pytest.raises(VerificationError, match="5 to 7"):
            run.proof(index)
