"""``client.tasks``: how far a task is, why it has no result yet, what happened to it, and its verified result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fairgrid.client.results import CollectedResult, collect_result
from fairgrid.client.why import Facts, Why, explain, gather, place_of
from fairgrid.errors import UsageError
from fairgrid.pool.client import StoryEntry
from fairgrid.protocol.ids import task_id as task_id_of
from fairgrid.seams import tracing

if TYPE_CHECKING:
    from fairgrid.client.client import Client

__all__ = ["Tasks"]


class Tasks:
    """The tasks of one account's deals. ``task`` is the beginning of a deal's or task's id, or ``last``; ``index`` says
    which task of a bag, the first without one.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def show(self, task: str = "last", *, index: int | None = None) -> Facts:
        """Everything that chain, pool and journal say of a task. The chain's word counts.

        Raises:
            UsageError: there is no such deal, or it has no such task.
            ServiceUnavailable: the chain does not answer.
        """
        return await gather(self._client, self._client.journal.find(task), index=index)

    async def why(self, task: str = "last", *, index: int | None = None) -> Why:
        """Why a task has no result yet, what happens next and when, and how the money comes back, in sentences.

        Raises:
            as `show`.
        """
        return explain(await self.show(task, index=index))

    async def story(self, task: str = "last", *, index: int | None = None) -> list[StoryEntry]:
        """What happened to a task, in order, as its pool saw it.

        Raises:
            as `show`; UsageError also for a deal that is not on chain.
            ServiceRefused, ServiceUnavailable: the pool does not know the task, or does not answer.
        """
        return await self._client.pool.story(await self._on_chain(task, index))

    async def result(self, out: Path, task: str = "last", *, index: int | None = None) -> CollectedResult:
        """Fetch the result of one COMPLETED task, compare its digest with the chain's, and only then write it into
        ``out``. Results of the batch lane are those of runs: `Client.collect_bag` fetches them.

        Raises:
            as `show`; UsageError also if the task is not COMPLETED, or in the batch lane.
            VerificationError: it is not the result that was agreed; nothing was written.
        """
        record = self._client.journal.find(task)
        if record.batch:
            raise UsageError(
                f"Deal {record.deal_id} is settled in runs: `fairgrid result {record.deal_id[:12]}`, or "
                f"`Client.collect_bag`, fetches the results of its tasks."
            )
        task_id = await self._on_chain(task, index)
        found = await self._client.chain.view_task(task_id)
        with tracing.span("download", record.deal_id, tracing.task_place(task_id)):
            return await collect_result(self._client.storage, found, task_id, out, key=self._client.private.result_key)

    async def _on_chain(self, task: str, index: int | None) -> str:
        """The id of a task whose deal is mined."""
        record = self._client.journal.find(task)
        _, place = place_of(record, index)
        deal = await self._client.chain.view_deal(record.deal_id)
        if deal is None:
            raise UsageError(f"Deal {record.deal_id} is signed and not on chain: nothing is locked yet.")
        return task_id_of(record.deal_id, deal.bot_first + place)
