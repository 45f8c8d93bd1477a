"""A worker is leased a task again because its contribution seemed lost; then that is mined all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.chain.twin import ModelChain
from fairgrid.protocol.hexes import keccak
from fairgrid.protocol.pool_messages import OpeningRequest, UploadRequest
from fairgrid.protocol.seals import seal_hash
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.worker_messages import Opening
from fairgrid.seams.clock import SystemClock
from fairgrid.wallet.keys import KeySigner
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core.held import Phase
from fairgrid.worker.core.machine import WorkerMachine
from fairgrid.worker.errands import Errands
from fairgrid.worker.interface import AgentOptions
from tests.worker.machine_kit import (
    CONTRIBUTED,
    CONTRIBUTION_MINED,
    DIGEST,
    LEASE,
    PROVED,
    REVEAL_MINED,
    REVEAL_SIGNED,
    SALT,
    SEAL_SIGNED,
    TASK,
    TO_CONTRIBUTING,
    TO_SEALED,
    fed,
    kinds,
    record,
    seen,
    sent,
    task,
)

AGAIN = replace(LEASE, lease_id="l2", round=1)
CONSENSUS = seen(task(TaskStatus.REVEALING), CONTRIBUTED, block=14)


def leased_again() -> WorkerMachine:
    """The hub refused the contribution; the worker sealed for its second lease; in another branch it was mined."""
    machine = fed((*TO_CONTRIBUTING, replace(CONTRIBUTION_MINED, succeeded=False), AGAIN, SEAL_SIGNED))
    assert (record(machine).lease_id, record(machine).phase) == ("l2", Phase.SEALED)
    machine.handle(seen(task(), CONTRIBUTED, block=12))
    assert record(machine).phase is Phase.CONTRIBUTED
    return machine


@pytest.mark.parametrize("lease_id", ["l1", "l2"])
def test_the_seal_is_opened_under_whichever_lease_the_pool_counts_the_contribution(lease_id: str) -> None:
    machine = leased_again()
    machine.handle(OpeningRequest(lease_id, TASK))
    (opening,) = [message for message in sent(machine.handle(CONSENSUS)) if isinstance(message, Opening)]
    assert (opening.lease_id, opening.digest, opening.salt) == (lease_id, DIGEST, SALT)


@pytest.mark.parametrize("lease_id", ["l1", "l2"])
def test_the_result_is_uploaded_under_whichever_lease_the_pool_counts_the_contribution(lease_id: str) -> None:
    machine = leased_again()
    for event in (CONSENSUS, REVEAL_SIGNED, REVEAL_MINED, UploadRequest(lease_id, TASK)):
        machine.handle(event)
    assert to_do.Upload(TASK) in machine.handle(seen(task(TaskStatus.REVEALING), PROVED, block=16))
    assert [message.lease_id for message in sent(machine.handle(ev.Uploaded(TASK, "bafy")))] == [lease_id]


def test_before_a_contribution_was_signed_only_the_lease_that_is_held_counts() -> None:
    machine = fed((*TO_SEALED, AGAIN, SEAL_SIGNED))
    assert kinds(machine.handle(OpeningRequest("l1", TASK))) == ["Note"]
    assert kinds(machine.handle(UploadRequest("l1", TASK))) == ["Note"]
    assert record(machine).lease_id == "l2"


def test_an_early_upload_is_made_for_the_lease_that_is_held_only() -> None:
    machine = fed((*TO_CONTRIBUTING, replace(CONTRIBUTION_MINED, succeeded=False), AGAIN, SEAL_SIGNED))
    assert kinds(machine.handle(UploadRequest("l1", TASK, early=True))) == ["Note"]


def test_the_seal_of_a_second_lease_has_the_salt_of_the_first_one_so_that_both_open_alike() -> None:
    machine = fed((*TO_SEALED, AGAIN))
    signer = KeySigner(keccak(b"sealing"))
    chain = ModelChain.fresh(owner=signer.address)
    reported: list[ev.Event] = []
    anything: Any = None
    errands = Errands(
        machine,
        chain=chain,
        signer=signer,
        worker=signer.address,
        work=anything,
        judge=anything,
        transactions=anything,
        clock=SystemClock(),
        options=AgentOptions(),
        report=reported.append,
    )
    errands.sign_seal(TASK)
    (signed,) = reported
    assert isinstance(signed, ev.SealSigned)
    assert signed.salt == SALT
    assert signed.seal == seal_hash(chain.chain_id, chain.hub, TASK, 1, signer.address, DIGEST, SALT)
