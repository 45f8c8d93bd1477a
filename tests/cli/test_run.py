"""`fairgrid run` after the signature: whatever ends it, the requester learns how to go on."""

from __future__ import annotations

import asyncio
import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from fairgrid.cli.finishing import finish
from fairgrid.cli.run_report import show_job_error
from fairgrid.client.client import Client
from fairgrid.client.journal import DealRecord
from fairgrid.client.progress import OnProgress, ignore_progress
from fairgrid.errors import FairgridError, ServiceUnavailable, TransactionFailed, UsageError
from fairgrid.protocol.results import describe_error, exit_error, limit_error

RECORD = DealRecord(
    deal_id="0x" + "ab" * 32,
    task_ids=("0x" + "cd" * 32,),
    manifest_cid="bafy",
    job_name="job.py",
    trust=1,
    price=1,
    match_tx="0x",
    match_raw="0x",
)


class Requester:
    """A client whose match or whose waiting ends as it is told; None is never."""

    def __init__(self, *, match: FairgridError | None = None, mined: bool = False, follow: Any = None) -> None:
        self._match, self._mined, self._follow = match, mined, follow
        self.waits = asyncio.Event()
        """Set once it waits for ever."""

    async def match(self, record: DealRecord, on_progress: OnProgress) -> DealRecord:
        if self._mined:
            return replace(record, block_number=7)
        await self._end(self._match)
        return record

    async def follow(self, record: DealRecord, *, on_progress: OnProgress) -> None:
        await self._end(self._follow)

    async def _end(self, error: FairgridError | None) -> None:
        if error is not None:
            raise error
        self.waits.set()
        await asyncio.Event().wait()


async def told(requester: Requester, error: type[BaseException]) -> str:
    """What is printed when `finish` ends with ``error``, or is cancelled while it waits."""
    screen = Console(file=io.StringIO(), width=1_000)
    client = cast(Client, requester)
    task = asyncio.create_task(finish(client, RECORD, Path("out"), ignore_progress, time.monotonic(), screen))
    waits = asyncio.create_task(requester.waits.wait())
    await asyncio.wait((task, waits), return_when=asyncio.FIRST_COMPLETED)
    waits.cancel()
    task.cancel()
    with pytest.raises(error):
        await task
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


@pytest.mark.parametrize(
    ("requester", "says"),
    [(Requester(), "may go on without you"), (Requester(mined=True), "goes on without you")],
    ids=["while matching", "while computing"],
)
async def test_ctrl_c_says_how_to_fetch_the_result_and_the_money(requester: Requester, says: str) -> None:
    text = await told(requester, asyncio.CancelledError)
    assert says in text and RECORD.deal_id in text
    assert "`fairgrid result 0xabababab" in text and "`fairgrid claim 0xabababab" in text


@pytest.mark.parametrize(
    ("requester", "says"),
    [
        (Requester(match=ServiceUnavailable("chain", "http://x", "gone")), "is signed and kept"),
        (Requester(mined=True, follow=ServiceUnavailable("chain", "http://x", "gone")), "stays on chain"),
        (Requester(mined=True, follow=TransactionFailed("claim", "no")), "stays on chain"),
        (Requester(mined=True, follow=UsageError("in the way")), "stays on chain"),
    ],
)
async def test_what_fails_after_the_signature_says_how_to_go_on(requester: Requester, says: str) -> None:
    text = await told(requester, FairgridError)
    assert says in text and "`fairgrid result 0xabababab" in text


async def test_match_that_was_refused_promises_nothing(tmp_path: Path) -> None:
    refused = TransactionFailed("matchOrders", "it reverted on chain; nothing was locked")
    assert await told(Requester(match=refused), TransactionFailed) == ""


@pytest.mark.parametrize(
    ("document", "remedy"),
    [
        (limit_error("fuel", 5), "--fuel"),
        (limit_error("memory", 5), "--memory"),
        (limit_error("outputBytes", 5), "--output-limit"),
        (limit_error("outputFiles", 5), "Write fewer"),
        (exit_error(3, b"", b""), "Mend the script"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_failed_job_has_its_remedy_once(document: dict[str, Any], remedy: str) -> None:
    screen = Console(file=io.StringIO(), width=1_000)
    show_job_error(document, 3, screen)
    assert isinstance(screen.file, io.StringIO)
    lines = screen.file.getvalue().splitlines()
    assert [line.count(remedy) for line in lines] == [0, 1]
    assert lines[1] == describe_error(document)
