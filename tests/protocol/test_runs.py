from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.errors import VerificationError
from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import ZERO32, from_hex, keccak, to_hex32

DEAL = "0x" + "d1" * 32


def digest_of(number: int) -> str:
    return to_hex32(keccak(number.to_bytes(32, "big")))


def leaf(number: int) -> bytes:
    return keccak(b"\x10" + from_hex(digest_of(number)))


def node(left: bytes, right: bytes) -> bytes:
    return keccak(b"\x11" + left + right)


def test_a_run_id_binds_deal_first_and_count_and_is_no_task_id() -> None:
    assert runs.run_id(DEAL, 3, 4) == to_hex32(keccak(from_hex(DEAL) + bytes(31) + b"\x03" + bytes(31) + b"\x04"))
    distinct = {runs.run_id(DEAL, 3, 4), runs.run_id(DEAL, 4, 3), runs.run_id(ZERO32, 3, 4), ids.task_id(DEAL, 3)}
    assert len(distinct) == 4


def test_a_digest_binds_the_root_and_the_bytes_of_the_results() -> None:
    root = digest_of(1)
    assert runs.run_digest(root, b"cid") == to_hex32(keccak(from_hex(root) + keccak(b"cid")))
    assert runs.run_digest(root, b"cid") == runs.run_digest_of_hash(root, to_hex32(keccak(b"cid")))
    assert runs.run_digest(root, b"cid") != runs.run_digest(root, b"cie")


def test_the_tree_promotes_odd_nodes() -> None:
    assert runs.tasks_root([digest_of(0)]) == to_hex32(leaf(0))
    three = node(node(leaf(0), leaf(1)), leaf(2))
    assert runs.tasks_root([digest_of(n) for n in range(3)]) == to_hex32(three)
    four = node(node(leaf(0), leaf(1)), node(leaf(2), leaf(3)))
    assert runs.tasks_root([digest_of(n) for n in range(5)]) == to_hex32(node(four, leaf(4)))


def test_nothing_has_no_root() -> None:
    with pytest.raises(VerificationError):
        runs.tasks_root([])


@pytest.mark.parametrize("position", [-1, 3])
def test_a_position_outside_has_no_proof(position: int) -> None:
    digests = [digest_of(n) for n in range(3)]
    with pytest.raises(VerificationError):
        runs.task_proof(digests, position)
    assert not runs.task_proof_holds(digest_of(0), position, 3, [], runs.tasks_root(digests))


def test_promoted_nodes_take_nothing_of_a_proof() -> None:
    digests = [digest_of(n) for n in range(5)]
    four = node(node(leaf(0), leaf(1)), node(leaf(2), leaf(3)))
    assert runs.task_proof(digests, 4) == (to_hex32(four),)
    assert runs.task_proof([digest_of(0)], 0) == ()


@given(count=st.integers(1, 40), data=st.data())
def test_each_digest_is_proved_at_its_position_and_nowhere_else(count: int, data: st.DataObject) -> None:
    digests = [digest_of(n) for n in range(count)]
    root = runs.tasks_root(digests)
    position = data.draw(st.integers(0, count - 1))
    other = data.draw(st.integers(0, count - 1))
    proof = runs.task_proof(digests, position)
    assert runs.task_proof_holds(digests[position], position, count, proof, root)
    assert runs.task_proof_holds(digests[position], other, count, proof, root) == (other == position)
    assert runs.task_proof_holds(digests[other], position, count, proof, root) == (other == position)
    assert not runs.task_proof_holds(digests[position], position, count, (*proof, ZERO32), root)
    assert not runs.task_proof_holds(digests[position], position, count, proof, digest_of(99))
    if proof:
        assert not runs.task_proof_holds(digests[position], position, count, proof[:-1], root)
        assert not runs.task_proof_holds(digests[position], position, count, (*proof[:-1], ZERO32), root)


def test_an_inner_node_is_no_leaf() -> None:
    digests = [digest_of(n) for n in range(4)]
    root = runs.tasks_root(digests)
    inner = to_hex32(node(leaf(0), leaf(1)))
    assert not runs.task_proof_holds(inner, 0, 2, [to_hex32(node(leaf(2), leaf(3)))], root)
