# pragma version ==0.4.3
"""
@title Task views: what is shown of tasks, runs and contributions
@license Apache-2.0
@notice A run is shown like a task whose idx is that of its first. A task that was settled in a run is unknown until it is
        materialised; then it shows its own digest, and the workers, counters and times of its run.
"""

from . import blob
from . import deals
from . import hashing
from . import packing
from . import scores
from . import state
from . import types

uses: state


# Where a task's contributions are: under its own id, or under that of its run.
struct Source:
    id: bytes32
    task: packing.TaskFields


@internal
@view
def task_of(id: bytes32) -> types.Task:
    """
    @dev All zero if it was never opened. Of a task of boost only the status, because the protocol knows nothing else of these.
    """
    task: packing.TaskFields = packing.unpack_task(state.tasks[id])
    if task.status == types.TASK_UNSET:
        return empty(types.Task)
    head: deals.Head = deals.load(task.deal_key)
    shown: types.Task = empty(types.Task)
    shown.status = convert(task.status, uint8)
    if deals.flags(head) & deals.FLAG_BOOST != 0:
        return shown
    source: Source = self._source_of(id, task)
    shown.dealid = deals.id_of(task.deal_key, head)
    shown.idx = deals.bot_first(head) + task.offset
    shown.timeref = deals.time_reference(head)
    shown.contributionDeadline = deals.contribution_deadline(head)
    shown.revealDeadline = source.task.reveal_deadline
    shown.finalDeadline = deals.final_deadline(head)
    shown.revealCounter = source.task.revealed
    shown.winnerCounter = source.task.winners
    agreed: bytes32 = state.groups[id][task.consensus_group]
    if source.task.revealed > 0:
        shown.resultDigest = agreed
        shown.consensusValue = hashing.result_hash(id, agreed)
    elif source.task.winners > 0:
        shown.consensusValue = agreed
    for i: uint256 in range(source.task.contributors, bound=types.MAX_CONTRIBUTORS):
        shown.contributors.append(packing.contribution_worker(state.contributions[source.id][i]))
    if task.status == types.TASK_COMPLETED:
        shown.results = self._results_of(id)
        shown.resultsCallback = self.callback_data_of(id)
    return shown


@internal
@view
def contribution_of(task_id: bytes32, worker: address) -> types.Contribution:
    """
    @dev All zero if the worker did not contribute. Hash and seal of a proved contribution follow from the digest; of a
         materialised task others have those of the run.
    """
    task: packing.TaskFields = packing.unpack_task(state.tasks[task_id])
    source: Source = self._source_of(task_id, task)
    for i: uint256 in range(source.task.contributors, bound=types.MAX_CONTRIBUTORS):
        word: uint256 = state.contributions[source.id][i]
        if packing.contribution_worker(word) != worker:
            continue
        shown: types.Contribution = empty(types.Contribution)
        status: uint256 = packing.contribution_status(word)
        group: uint256 = packing.contribution_group(word)
        shown.status = convert(status, uint8)
        if status == types.CONTRIBUTION_PROVED:
            digest: bytes32 = state.groups[task_id][task.consensus_group]
            shown.resultHash = hashing.result_hash(task_id, digest)
            shown.resultSeal = hashing.result_seal(worker, task_id, digest)
        else:
            shown.resultHash = state.groups[source.id][group]
            shown.resultSeal = state.seals[source.id][i]
            if source.task.revealed > 0 and group == source.task.consensus_group:
                # After the first reveal the winning group's place holds the digest.
                shown.resultHash = hashing.result_hash(source.id, shown.resultHash)
        if packing.contribution_has_challenge(word):
            shown.enclaveChallenge = state.challenges[source.id][i]
        shown.weight = scores.log2(packing.contribution_weight(word))
        return shown
    return empty(types.Contribution)


@internal
@view
def callback_data_of(task_id: bytes32) -> Bytes[types.MAX_RESULT]:
    """
    @dev Empty without a record.
    """
    location: address = blob.location_of(task_id)
    if location.codesize == 0:
        return b""
    length: uint256 = convert(convert(slice(location.code, 1, 2), bytes2), uint256)
    return convert(blob.read(location, 2 + length, location.codesize - 3 - length), Bytes[types.MAX_RESULT])


@internal
@view
def _results_of(task_id: bytes32) -> Bytes[types.MAX_RESULT]:
    location: address = blob.location_of(task_id)
    if location.codesize == 0:
        return b""
    length: uint256 = convert(convert(slice(location.code, 1, 2), bytes2), uint256)
    return convert(blob.read(location, 2, length), Bytes[types.MAX_RESULT])


@internal
@view
def _source_of(task_id: bytes32, task: packing.TaskFields) -> Source:
    if not task.materialised:
        return Source(id=task_id, task=task)
    run_id: bytes32 = state.groups[task_id][1]
    return Source(id=run_id, task=packing.unpack_task(state.tasks[run_id]))
