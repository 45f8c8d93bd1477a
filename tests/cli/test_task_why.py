"""`fairgrid task logs` and `why`: what is shown of a task that runs, has ended, or may not be shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fairgrid.cli.task_why import _Logs, _span, _when
from fairgrid.client.client import Client
from fairgrid.client.follow import Ending
from fairgrid.client.journal import DealRecord
from fairgrid.errors import ServiceError, ServiceRefused, ServiceUnavailable, UsageError
from fairgrid.pool.client import LiveOutput, LiveProgress, PoolRoom, TrustListing
from fairgrid.protocol.views import TaskStatus
from tests.client.deals import Deals


class QuietPool:
    """A pool that has not seen the deal."""

    async def trust(self) -> TrustListing:
        return TrustListing((), 0)

    async def room(self, *, trust: int, requester: str) -> PoolRoom:
        return PoolRoom(True, "", 1, 0, 0.0)

    async def task(self, task_id: str) -> Any:
        raise ServiceRefused("pool", 404, "unknown")


@dataclass
class Viewer:
    """A requester's client: a real (twin) chain, and what the pool streams."""

    deals: Deals
    events: Sequence[LiveOutput | LiveProgress] = ()
    ends: bool = True
    """False: the stream stays open after the last event."""
    refusal: ServiceError | None = None
    ending: Ending = Ending.FAILED
    address: str = "0x" + "22" * 20
    pool: QuietPool = field(default_factory=QuietPool)

    @property
    def chain(self) -> Any:
        return self.deals.chain

    async def live(self, task_id: str) -> AsyncIterator[LiveOutput | LiveProgress]:
        if self.refusal is not None:
            raise self.refusal
        for event in self.events:
            yield event
        if not self.ends:
            await asyncio.Event().wait()

    async def follow(self, record: DealRecord, *, on_progress: Any) -> Ending:
        return self.ending


@pytest.fixture
def deals(tmp_path: Path) -> Deals:
    return Deals(tmp_path)


PRINTED = (
    LiveOutput("stdout", 0, b"one\ntw"),
    LiveProgress(500_000, "half"),
    LiveOutput("stderr", 0, b"oh\x1b[31m no\n"),
    LiveOutput("stdout", 6, b"o\n"),
)


async def told(viewer: Viewer, record: DealRecord, *, follow: bool = False) -> dict[str, Any]:
    return await _Logs(cast(Client, viewer), show=True).told(record, None, follow=follow)


@pytest.mark.parametrize("ends", [True, False], ids=["stream ends", "stream stays open"])
async def test_running_task_of_trust_1_shows_what_its_worker_told_so_far(
    deals: Deals, capsys: pytest.CaptureFixture[str], ends: bool
) -> None:
    record = await deals.record(trust=1)
    document = await told(Viewer(deals, PRINTED, ends=ends), record)
    assert (document["verified"], document["stdout"]) == (False, "one\ntwo\n")
    assert "\x1b" not in document["stderr"]
    said = capsys.readouterr()
    assert said.out == "one\ntwo\n" and "oh" in said.err and "\x1b[31m" not in said.err


async def test_task_that_printed_nothing_says_so(deals: Deals, capsys: pytest.CaptureFixture[str]) -> None:
    document = await told(Viewer(deals), await deals.record(trust=1))
    assert (document["stdout"], document["stderr"]) == ("", "")
    assert "It has printed nothing yet." in capsys.readouterr().err


async def test_nothing_is_shown_above_trust_1_before_the_workers_agreed(deals: Deals) -> None:
    record = await deals.record(trust=4)
    with pytest.raises(UsageError, match="nothing of it is shown before its workers agreed"):
        await told(Viewer(deals, PRINTED), record)


async def test_following_a_task_that_ends_without_a_result_says_where_the_money_is_told(deals: Deals) -> None:
    record = await deals.record(trust=1)
    with pytest.raises(ServiceError, match="fairgrid task why"):
        await told(Viewer(deals, PRINTED), record, follow=True)


async def test_refusal_of_the_pool_is_told(deals: Deals) -> None:
    refusal = ServiceRefused("pool", 403, "another key is the requester")
    with pytest.raises(UsageError, match="another key is the requester"):
        await told(Viewer(deals, refusal=refusal), await deals.record(trust=1))


async def test_deal_that_is_not_on_chain_and_bag_in_runs_are_refused_with_the_next_command(deals: Deals) -> None:
    record = await deals.record(trust=1)
    lost = DealRecord(**{name: getattr(record, name) for name in DealRecord.__slots__} | {"deal_id": "0x" + "99" * 32})
    with pytest.raises(UsageError, match="fairgrid task why"):
        await told(Viewer(deals), lost)
    batch = DealRecord(**{name: getattr(record, name) for name in DealRecord.__slots__} | {"batch": True})
    with pytest.raises(UsageError, match="fairgrid result"):
        await told(Viewer(deals), batch)


@dataclass
class Store:
    """Storage in which nothing lies."""

    async def fetch(self, cid: str, dest: Path, *, max_bytes: int) -> None:
        raise ServiceUnavailable("storage", "http://storage", "down")


async def test_task_that_is_done_shows_its_result_only(deals: Deals) -> None:
    record = await deals.record(trust=1)
    await deals.complete(record)
    assert (await deals.chain.view_task(record.task_ids[0])).status is TaskStatus.COMPLETED
    viewer = Viewer(deals, PRINTED)
    viewer_with_storage = SimpleNamespace(
        chain=deals.chain,
        pool=viewer.pool,
        address=viewer.address,
        live=viewer.live,
        storage=Store(),
        private=SimpleNamespace(result_key=None),
    )
    # The result is asked for, and not the pool: there is none here.
    with pytest.raises(Exception, match=r"storage|without saying where"):
        await _Logs(cast(Client, viewer_with_storage), show=True).told(record, None, follow=False)


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_300, "2 h 1 min")])
def test_span_is_told_in_units_for_people(seconds: int, said: str) -> None:
    assert _span(seconds) == said


def test_moment_that_is_now_has_no_clock_and_one_that_has_passed_says_so() -> None:
    assert _when(0, 100) == ""
    assert _when(160, 100).endswith("(in 60 s): ") and _when(99, 100).endswith("(passed): ")
