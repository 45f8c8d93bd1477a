# pragma version ==0.4.3
"""
@title Contributions: who may contribute, and the proof of a worker alone
@license Apache-2.0
@notice The caller of the hub is the worker, always.
@dev Everything that calls a foreign contract here is a static call, and happens before the first write.
"""

from . import deals
from . import hashing
from . import packing
from . import signatures
from . import state
from . import types

uses: state


@internal
@view
def check_authorised(
    task_id: bytes32,
    deal: deals.Head,
    challenge: address,
    authorisation_sign: Bytes[types.MAX_SIGNATURE],
):
    """
    @notice The scheduler lets the caller contribute; of an enclave it is the TEE broker, if there is one. A deal that asks for
            enclaves takes nothing else.
    @dev Reverts without data otherwise.
    """
    has_challenge: bool = challenge != empty(address)
    assert has_challenge or deals.low_tag(deal) & types.TAG_TEE == 0
    authority: address = deals.pool_owner(deal)
    if has_challenge and state.tee_broker != empty(address):
        authority = state.tee_broker
    assert signatures.is_signed(
        authority, hashing.authorisation(msg.sender, task_id, challenge), authorisation_sign
    )


@internal
@view
def check_enclave(
    challenge: address, result_hash: bytes32, result_seal: bytes32, enclave_sign: Bytes[types.MAX_SIGNATURE]
):
    """
    @notice The enclave vouches for the result.
    @dev Reverts without data otherwise.
    """
    assert signatures.is_signed(
        challenge, hashing.signed_message(keccak256(concat(result_hash, result_seal))), enclave_sign
    )


@internal
def prove_alone(
    task_id: bytes32,
    task: packing.TaskFields,
    deal: deals.Head,
    digest: bytes32,
    challenge: address,
    enclave_sign: Bytes[types.MAX_SIGNATURE],
    authorisation_sign: Bytes[types.MAX_SIGNATURE],
) -> bytes32:
    """
    @notice Contribution, consensus, reveal and end of a task in one: the caller is its only worker, and needs no weight because
            one is enough at trust 1.
    @dev `task` says which task or run it is; all else of its word is written here. Pays nobody.
    @return The result hash.
    """
    self.check_authorised(task_id, deal, challenge, authorisation_sign)
    result_hash: bytes32 = hashing.result_hash(task_id, digest)
    has_challenge: bool = challenge != empty(address)
    if has_challenge:
        self.check_enclave(
            challenge, result_hash, hashing.result_seal(msg.sender, task_id, digest), enclave_sign
        )
    done: packing.TaskFields = task
    done.status = types.TASK_COMPLETED
    done.contributors = 1
    done.winners = 1
    done.revealed = 1
    done.groups = 1
    done.reveal_deadline = block.timestamp + types.REVEAL_DEADLINE_RATIO * deals.time_reference(deal)
    state.tasks[task_id] = packing.pack_task(done)
    state.contributions[task_id][0] = packing.contribution(
        types.CONTRIBUTION_PROVED, 0, has_challenge, 0, msg.sender
    )
    if has_challenge:
        state.challenges[task_id][0] = challenge
    # The digest, as after a reveal: hash and seal follow from it.
    state.groups[task_id][0] = digest
    return result_hash
