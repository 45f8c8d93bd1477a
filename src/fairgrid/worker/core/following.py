"""Of the worker's machine: what follows from the chain, for tasks that are held and for those that are over."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fairgrid.protocol.views import ContributionStatus, TaskStatus
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core import replies
from fairgrid.worker.core.book import WorkerBook
from fairgrid.worker.core.contributing import MAX_ATTEMPTS, contributed, contribution_off, revealed
from fairgrid.worker.core.held import WORKING, HeldTask, Phase, Step

__all__ = ["chain_seen", "head_seen", "kept_seen"]

_CONSENSUS: Final = (TaskStatus.REVEALING, TaskStatus.COMPLETED)
_UNKNOWN_BLOCKS: Final = 64
"""So long the chain may have forgotten a task whose deal it dropped, before the worker does."""
_OVER: Final = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SPLIT)


def chain_seen(book: WorkerBook, held: HeldTask, event: ev.ChainSeen) -> list[to_do.Instruction]:
    if event.block < book.mined_at.get(held.task_id, 0):
        return []
    task, status = event.task, event.task.status
    consensus = (task.consensus_value, task.reveal_deadline) if status in _CONSENSUS else None
    agreed = book.depth.reached(held.task_id, "consensus", consensus, event.block)
    over = book.depth.reached(held.task_id, "end", status if status in _OVER else None, event.block)
    instructions: list[to_do.Instruction] = []
    if held.opening_requested and held.salt and (agreed or (over and status is TaskStatus.FAILED)):
        held = replace(held, opening_requested=False, story=held.told("opened the seal"))
        instructions += [
            *book.save(held),
            replies.opening(held),
        ]
    if over and _may_let_go(book, held, event):
        return instructions + book.retire(held, status.name.lower(), event.block)
    is_lost = status is TaskStatus.UNSET and held.phase not in WORKING and not _may_be_opened(held, event)
    unknown = status if is_lost else None
    if book.depth.reached(held.task_id, "unknown", unknown, event.block, blocks=_UNKNOWN_BLOCKS):
        return instructions + book.forget(held, "unknown to the chain")
    return instructions + _follow_chain(book, held, event, agreed=agreed, over=over)


def _follow_chain(
    book: WorkerBook, held: HeldTask, event: ev.ChainSeen, *, agreed: bool, over: bool
) -> list[to_do.Instruction]:
    task, mine = event.task, event.contribution
    busy = book.busy.get(held.task_id)
    match held.phase:
        case Phase.ACCEPTED | Phase.DOWNLOADING | Phase.COMPUTING if over:
            return book.hand_back(held, f"The task is {task.status.name} on chain.")
        case Phase.SEALED if mine.status is not ContributionStatus.UNSET and held.contribution is not None:
            return contributed(book, held)
        case Phase.SEALED if held.authorisation and busy is None and _accepts_contributions(held, event):
            return [book.begin(held, to_do.Contribute)]
        case Phase.SEALED if held.upload_requested and not held.cid and busy is None and held.may_be_quick:
            return [book.begin(held, to_do.Upload)]
        case Phase.CONTRIBUTING if mine.status is not ContributionStatus.UNSET:
            return contributed(book, held)
        case Phase.CONTRIBUTING if agreed or over or event.time >= task.contribution_deadline > 0:
            book.busy.pop(held.task_id, None)
            reason = "Too late: the task took its contributions without this one."
            return contribution_off(book, book.move(held, Phase.SEALED, reason), reason)
        case Phase.CONTRIBUTING if busy is None and _accepts_contributions(held, event):
            return _sent_again(book, held, Step.CONTRIBUTE)
        case Phase.CONTRIBUTED:
            return _follow_contributed(book, held, event, agreed=agreed, busy=busy is not None)
        case Phase.REVEALING if mine.status is ContributionStatus.PROVED:
            return revealed(book, held)
        case Phase.REVEALING if task.status is not TaskStatus.REVEALING or event.time >= task.reveal_deadline:
            book.busy.pop(held.task_id, None)
            reason = f"the task is {task.status.name}" if task.status in (TaskStatus.ACTIVE, *_OVER) else "too late"
            return book.save(book.move(held, Phase.CONTRIBUTED, f"not revealed: {reason}"))
        case Phase.REVEALING if busy is None and _may_reveal(event):
            return _sent_again(book, held, Step.REVEAL)
        case Phase.REVEALED | Phase.UPLOADED if mine.status is not ContributionStatus.PROVED:
            return _follow_undone(book, held, event)
        case Phase.REVEALED | Phase.UPLOADED if held.upload_requested and task.status in _CONSENSUS:
            held = replace(book.move(held, Phase.UPLOADING, "uploads"), upload_requested=False)
            return [*book.save(held), replies.report(held), book.begin(held, to_do.Upload)]
        case _:
            return []


def _sent_again(book: WorkerBook, held: HeldTask, step: Step) -> list[to_do.Instruction]:
    """Nobody delivers its transaction: the task was over before it was seen mined, and a reorganisation undid both."""
    held = replace(held, story=held.told(f"{step}: nobody delivers it any more, sent again"))
    return [*book.save(held), book.broadcast(held, step)]


def _follow_undone(book: WorkerBook, held: HeldTask, event: ev.ChainSeen) -> list[to_do.Instruction]:
    """A reorganisation took the reveal back, and perhaps what was before it."""
    status = event.task.status
    if status is TaskStatus.REVEALING and held.reveal is not None:
        held = book.move(held, Phase.REVEALING, "the chain undid the reveal: sent again")
        return [*book.save(held), book.broadcast(held, Step.REVEAL)]
    if status in (TaskStatus.ACTIVE, TaskStatus.REVEALING):
        held = book.move(held, Phase.CONTRIBUTED, "the chain undid the reveal")
        return [*book.save(held), to_do.LookAtChain(held.task_id)]
    if _may_be_opened(held, event):
        held = book.move(held, Phase.CONTRIBUTED, "the chain undid the settling of the run")
        return [*book.save(held), to_do.LookAtChain(held.task_id)]
    return []


def _follow_contributed(
    book: WorkerBook, held: HeldTask, event: ev.ChainSeen, *, agreed: bool, busy: bool
) -> list[to_do.Instruction]:
    mine = event.contribution
    if mine.status is ContributionStatus.UNSET:
        if _accepts_contributions(held, event) and held.contribution is not None:
            held = book.move(held, Phase.CONTRIBUTING, "the chain undid the contribution: sent again")
            return [*book.save(held), book.broadcast(held, Step.CONTRIBUTE)]
        return []
    if mine.status is ContributionStatus.PROVED:
        return revealed(book, held)
    due = agreed and not busy and held.attempts < MAX_ATTEMPTS and _may_reveal(event)
    return [book.begin(held, to_do.Reveal)] if due else []


def _may_reveal(event: ev.ChainSeen) -> bool:
    task, mine = event.task, event.contribution
    if task.status is not TaskStatus.REVEALING or event.time >= task.reveal_deadline:
        return False
    return mine.status is ContributionStatus.CONTRIBUTED and mine.result_hash == task.consensus_value


def _may_let_go(book: WorkerBook, held: HeldTask, event: ev.ChainSeen) -> bool:
    if held.phase in WORKING or held.phase is Phase.UPLOADING:
        return False
    return held.done_requested or event.time >= event.task.final_deadline + book.keep_s


def _accepts_contributions(held: HeldTask, event: ev.ChainSeen) -> bool:
    if held.fast and _may_be_opened(held, event):
        return True
    return event.task.status is TaskStatus.ACTIVE and event.time < event.task.contribution_deadline


def _may_be_opened(held: HeldTask, event: ev.ChainSeen) -> bool:
    return held.unopened and event.task.status is TaskStatus.UNSET and event.time < held.final_deadline


# --- tasks that are over --------------------------------------------------------------------------------------------


def head_seen(book: WorkerBook, event: ev.HeadSeen) -> list[to_do.Instruction]:
    """Let go for good of what is deep enough; look at the others again when the chain was rewritten."""
    instructions: list[to_do.Instruction] = []
    for kept in tuple(book.kept.values()):
        if event.rewritten:
            # Its end may be in another block now.
            book.kept[kept.task_id] = again = replace(kept, ended_block=event.block)
            instructions += [to_do.Save(again), to_do.LookAtChain(kept.task_id)]
        elif event.block - kept.ended_block >= book.keep_blocks:
            instructions.append(book.drop(kept))
    return instructions


def kept_seen(book: WorkerBook, kept: HeldTask, event: ev.ChainSeen) -> list[to_do.Instruction]:
    """Over no more, or otherwise: take it up."""
    status = event.task.status
    if status in _OVER and status.name.lower() == kept.outcome:
        return []
    held, instructions = book.take_up(kept, f"the chain says {status.name} again")
    return [*instructions, *chain_seen(book, held, event)]
