"""What a running job prints reaches its requester and nobody else; a worker that floods or lies changes nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from fairgrid.errors import ServiceRefused
from fairgrid.pool.app import pool_application
from fairgrid.pool.client import LiveOutput, LiveProgress, PoolClient
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.jobs.live import LiveBoard, LiveEvent, PartialRefused
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.service import PoolService
from fairgrid.protocol import ids, pool_messages, wire, worker_messages
from fairgrid.protocol.access import PoolPlace, access_message
from fairgrid.protocol.archive import extract_archive
from fairgrid.protocol.seals import recover_message_signer
from fairgrid.protocol.views import TaskStatus
from fairgrid.runtime.interface import SandboxJob
from fairgrid.seams.service import serving
from tests.pool.grid import FastClock
from tests.pool.test_with_workers import _until
from tests.worker.world import OTHER, REQUESTER, SCHEDULER, WORKER, AgentSetting, World, new_world, running

TASK = "0x" + "11" * 32
RUN = "ab" * 8


# --- the board --------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """A board whose clock and leases the test decides on."""

    now: float = 0.0
    holders: set[str] = field(default_factory=lambda: {"one"})
    board: LiveBoard = field(init=False)

    def __post_init__(self) -> None:
        self.board = LiveBoard(holds=lambda task, worker: worker in self.holders, now=lambda: self.now)

    def output(self, data: bytes, offset: int, *, worker: str = "one", run: str = RUN, stream: str = "stdout") -> None:
        text = base64.b64encode(data).decode()
        self.board.take(worker, worker_messages.LiveOutput(TASK, run, stream, offset, text))  # type: ignore[arg-type]

    async def seen(self) -> list[LiveEvent | None]:
        """What a requester that comes now is told at once."""
        async with self.board.watching(TASK) as queue:
            return drained(queue)


def drained(queue: asyncio.Queue[LiveEvent | None]) -> list[LiveEvent | None]:
    events = []
    while not queue.empty():
        events.append(queue.get_nowait())
    return events


def texts(events: list[LiveEvent | None]) -> list[tuple[int, bytes]]:
    """Offset and content of outputs."""
    return [
        (event.data["offset"], base64.b64decode(event.data["data"]))
        for event in events
        if event is not None and event.kind == "output"
    ]


async def test_watcher_sees_what_was_and_then_what_comes() -> None:
    bench = Bench()
    bench.output(b"before ", 0)
    async with bench.board.watching(TASK) as queue:
        bench.output(b"before now", 0)
        bench.board.take("one", worker_messages.Progress(TASK, RUN, 500_000, "half"))
        events = drained(queue)
    assert texts(events) == [(0, b"before "), (7, b"now")]
    assert events[-1] == LiveEvent("progress", {"ppm": 500_000, "message": "half"})


async def test_only_the_end_of_a_long_output_is_kept_and_its_offset_says_so() -> None:
    bench = Bench()
    for piece in range(5):
        bench.output(bytes([piece]) * 24_576, piece * 24_576)
        bench.now += 10
    ((offset, data),) = texts(await bench.seen())
    assert (offset, len(data)) == (5 * 24_576 - 65_536, 65_536)
    assert data.endswith(b"\x04" * 24_576)


async def test_gap_shows_in_the_offset() -> None:
    bench = Bench()
    async with bench.board.watching(TASK) as queue:
        bench.output(b"one", 0)
        bench.output(b"three", 100)
        assert texts(drained(queue)) == [(0, b"one"), (100, b"three")]


async def test_new_run_begins_anew() -> None:
    bench = Bench()
    bench.output(b"first run", 0)
    bench.output(b"second", 0, run="cd" * 8)
    events = await bench.seen()
    assert texts(events) == [(0, b"second")]
    assert events[0] == LiveEvent("run", {"run": "cd" * 8})


async def test_who_does_not_hold_the_task_says_nothing_and_a_second_replica_waits_its_turn() -> None:
    bench = Bench()
    bench.output(b"mine", 0, worker="stranger")
    assert await bench.seen() == []
    bench.output(b"one", 0)
    bench.holders.add("two")
    bench.output(b"two", 0, worker="two", run="ee" * 8)
    assert texts(await bench.seen()) == [(0, b"one")]
    bench.holders.remove("one")
    bench.output(b"two", 0, worker="two", run="ee" * 8)
    assert texts(await bench.seen()) == [(0, b"two")]


async def test_flood_is_dropped_and_shows_as_a_gap() -> None:
    bench = Bench()
    async with bench.board.watching(TASK) as queue:
        for piece in range(100):
            bench.output(bytes(24_576), piece * 24_576)
        passed = texts(drained(queue))
        assert 5 < len(passed) < 30
        bench.now += 60
        bench.output(b"later", 100 * 24_576)
        assert texts(drained(queue)) == [(100 * 24_576, b"later")]


async def test_watcher_that_does_not_read_is_let_go_and_others_are_not_harmed() -> None:
    bench = Bench()
    async with bench.board.watching(TASK) as lazy, bench.board.watching(TASK) as keen:
        for number in range(600):
            bench.output(b"x", number)
            bench.now += 1
            assert drained(keen)
        assert drained(lazy)[0] is None
        for _ in range(6):
            await contextlib.AsyncExitStack().enter_async_context(bench.board.watching(TASK))
        with pytest.raises(PartialRefused, match="8 connections"):
            async with bench.board.watching(TASK):
                pytest.fail("that is one too many")


async def test_tasks_that_are_remembered_are_limited() -> None:
    bench = Bench()
    for number in range(1_001):
        bench.board.take("one", worker_messages.Progress(f"0x{number:064x}", RUN, 1, ""))
    assert bench.board.worker_of(f"0x{0:064x}") is None
    assert bench.board.worker_of(f"0x{1_000:064x}") == "one"


async def test_base64_that_is_none_is_dropped() -> None:
    bench = Bench()
    bench.board.take("one", worker_messages.LiveOutput(TASK, RUN, "stdout", 0, "abc"))
    assert texts(await bench.seen()) == []


async def test_answer_to_a_partial_counts_from_the_worker_that_was_asked_only() -> None:
    bench = Bench()
    asked: list[pool_messages.PartialRequest] = []
    waiting = asyncio.create_task(bench.board.partial(TASK, "one", asked.append))
    await asyncio.sleep(0)
    with pytest.raises(PartialRefused, match="already"):
        await bench.board.partial(TASK, "one", asked.append)
    name = asked[0].request_id
    bench.board.take("other", worker_messages.PartialResult(TASK, name, cid="forged"))
    bench.board.take("one", worker_messages.PartialResult(TASK, "another", cid="stray"))
    bench.board.take("one", worker_messages.PartialResult(TASK, name, cid="right", size=3))
    assert (await waiting).cid == "right"
    refused = asyncio.create_task(bench.board.partial(TASK, "one", asked.append))
    await asyncio.sleep(0)
    bench.board.take("one", worker_messages.PartialResult(TASK, asked[1].request_id, reason="no disk"))
    with pytest.raises(PartialRefused, match="no disk"):
        await refused


def test_access_is_bound_to_chain_pool_task_and_time() -> None:
    one = access_message(1, WORKER.address, OTHER.address, TASK, 5)
    assert len(one) == 32
    assert recover_message_signer(one, REQUESTER.sign_message(one)) == REQUESTER.address
    others = [
        access_message(2, WORKER.address, OTHER.address, TASK, 5),
        access_message(1, OTHER.address, OTHER.address, TASK, 5),
        access_message(1, WORKER.address, WORKER.address, TASK, 5),
        access_message(1, WORKER.address, OTHER.address, "0x" + "22" * 32, 5),
        access_message(1, WORKER.address, OTHER.address, TASK, 6),
    ]
    assert len({one, *others}) == 6


# --- a real pool, a real agent, real sockets --------------------------------------------------------------------


@dataclass
class Slow:
    """A job that goes on when it is told to."""

    step: dict[str, threading.Event] = field(
        default_factory=lambda: {"one": threading.Event(), "two": threading.Event()}
    )

    def __call__(self, job: SandboxJob) -> bytes:
        if job.watch is not None:
            folder = job.watch.folder
            (folder / "stdout").write_bytes(b"begins\n\x1b[31mred")
            (folder / "progress").write_text("0.25 a quarter\n")
        (job.output_folder / "part.txt").write_text("so far")
        assert self.step["one"].wait(50)
        if job.watch is not None:
            with (job.watch.folder / "stdout").open("ab") as file:
                file.write(b"\nends\n")
            (job.watch.folder / "progress").write_text("0.25 a quarter\n1 done\n")
        assert self.step["two"].wait(50)
        return b"begins\n\x1b[31mred\nends\n"


@contextlib.asynccontextmanager
async def pool_and_worker(tmp_path: Path, job: Callable[[SandboxJob], bytes]) -> AsyncIterator[tuple[World, str]]:
    (tmp_path / "worker").mkdir()
    store = PoolStore.open(tmp_path / "pool.db")
    try:
        async with (
            new_world() as world,
            PoolService(
                chain=world.chain,
                signer=SCHEDULER,
                workerpool=world.workerpool,
                store=store,
                storage=world.storage,
                policy=Policy(seal_window_min_s=1_000, lease_ttl_s=1_000, authorisation_timeout_s=1_000),
                clock=FastClock(),
                scratch=tmp_path / "uploads",
            ).running() as service,
            serving(pool_application(service), ws_max_size=wire.MAX_FRAME_BYTES) as url,
            running(world, AgentSetting(tmp_path / "worker", url, function=job)),
        ):
            yield world, url
    finally:
        store.close()


def place_of(world: World) -> PoolPlace:
    return PoolPlace(world.chain.chain_id, world.chain.hub, world.workerpool)


async def completed(world: World, task: str) -> bool:
    return (await world.chain.view_task(task)).status is TaskStatus.COMPLETED


async def test_requester_of_a_trust_1_task_sees_output_progress_and_files_while_it_runs(tmp_path: Path) -> None:
    job = Slow()
    async with (
        pool_and_worker(tmp_path, job) as (world, url),
        PoolClient(url, place=place_of(world), clock=FastClock()) as client,
    ):
        task = ids.task_id(await world.deal(trust=1), 0)

        async def known() -> bool:
            with contextlib.suppress(ServiceRefused):
                return any(replica.phase == "computing" for replica in (await client.task(task)).replicas)
            return False

        await _until(known)
        output, progress = bytearray(), []
        async with asyncio.timeout(60):
            async for event in client.live(task, REQUESTER):
                if isinstance(event, LiveOutput):
                    assert event.offset == len(output)
                    output += event.data
                else:
                    progress.append(event)
                if bytes(output) == b"begins\n\x1b[31mred" and progress and not job.step["one"].is_set():
                    seen = await client.partial(task, REQUESTER)
                    await world.storage.fetch(seen.cid, tmp_path / "part.zip", max_bytes=seen.size)
                    extract_archive(tmp_path / "part.zip", tmp_path / "part", max_bytes=1000, max_files=10)
                    assert (tmp_path / "part" / "part.txt").read_text() == "so far"
                    assert seen.worker == WORKER.address
                    with pytest.raises(ServiceRefused, match="Ask later"):
                        await client.partial(task, REQUESTER)
                    job.step["one"].set()
                if b"ends" in output:
                    job.step["two"].set()
        assert bytes(output) == b"begins\n\x1b[31mred\nends\n"
        assert progress[0] == LiveProgress(250_000, "a quarter") and progress[-1] == LiveProgress(1_000_000, "done")
        await _until(lambda: completed(world, task))
        assert not list((tmp_path / "worker" / "tasks").rglob("live"))


async def test_nobody_else_sees_it_and_above_trust_1_not_even_the_requester(tmp_path: Path) -> None:
    job = Slow()
    seen: list[bool] = []

    def noting(sandboxed: SandboxJob) -> bytes:
        seen.append(sandboxed.watch is not None)
        return job(sandboxed)

    async with (
        pool_and_worker(tmp_path, noting) as (world, url),
        PoolClient(url, place=place_of(world), clock=FastClock()) as client,
        httpx.AsyncClient(base_url=url) as http,
    ):
        open_task = ids.task_id(await world.deal(trust=1), 0)

        async def told() -> bool:
            with contextlib.suppress(ServiceRefused):
                return any(replica.phase == "computing" for replica in (await client.task(open_task)).replicas)
            return False

        await _until(told)
        for method, path in (("GET", "live"), ("POST", "partial")):
            answer = await http.request(method, f"/tasks/{open_task}/{path}")
            assert answer.status_code == 401 and "Only the requester" in answer.json()["error"]
            expired = access_message(world.chain.chain_id, world.chain.hub, world.workerpool, open_task, 1)
            headers = {"authorization": f"Fairgrid expires=1,signature={REQUESTER.sign_message(expired)}"}
            assert (await http.request(method, f"/tasks/{open_task}/{path}", headers=headers)).status_code == 401
        with pytest.raises(ServiceRefused, match="Only the requester") as refused:
            await client.partial(open_task, WORKER)
        assert refused.value.status == 403
        with pytest.raises(ServiceRefused):
            async for _ in client.live(open_task, OTHER):
                pytest.fail("nothing may come")
        with pytest.raises(ServiceRefused, match="no task"):
            await client.partial("0x" + "77" * 32, REQUESTER)
        job.step["one"].set()
        job.step["two"].set()
        await _until(lambda: completed(world, open_task))
        sealed = ids.task_id(await world.deal(trust=2), 0)

        async def known() -> bool:
            with contextlib.suppress(ServiceRefused):
                return bool((await client.task(sealed)).task_id)
            return False

        await _until(known)
        with pytest.raises(ServiceRefused, match="nothing is shown") as refused:
            await client.partial(sealed, REQUESTER)
        assert refused.value.status == 409
        await _until(lambda: completed(world, sealed))
    assert seen == [True, False], "the job of trust 2 was not even watched"


async def test_messages_of_hostile_workers_break_the_protocol(tmp_path: Path) -> None:
    good = {"kind": "live", "task_id": TASK, "run": RUN, "stream": "stdout", "offset": 0, "data": "eA=="}
    assert isinstance(decode(good), worker_messages.LiveOutput)
    for change in (
        {"stream": "stdin"},
        {"offset": -1},
        {"offset": 1 << 40},
        {"data": "x y"},
        {"data": "A" * 44_001},
        {"run": "../../etc"},
        {"extra": 1},
    ):
        with pytest.raises(wire.ProtocolViolation):
            decode(good | change)
    for change in ({"ppm": 1_000_001}, {"ppm": -1}, {"message": "x" * 201}):
        with pytest.raises(wire.ProtocolViolation):
            decode({"kind": "progress", "task_id": TASK, "run": RUN, "ppm": 1, "message": ""} | change)


def decode(document: dict[str, object]) -> worker_messages.WorkerMessage:
    return wire.decode_worker_message(json.dumps(document))
