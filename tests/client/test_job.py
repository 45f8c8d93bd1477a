"""Jobs from files: looked at before anything is signed, and named by their content."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from fairgrid.client.job import MAX_INPUT_BYTES, MAX_TASKS, WAITING_DAYS, Job, JobRuntime
from fairgrid.client.job_options import parse_days, parse_gpus, parse_size, read_items
from fairgrid.client.prepared_job import FUEL_PER_SECOND, manifest_of, prepare_job, run_locally
from fairgrid.errors import ManifestError, ServiceRefused, UsageError
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.manifest import parse_manifest
from fairgrid.protocol.needs import GpuNeed, Needs
from fairgrid.runtime.interface import SandboxJob
from fairgrid.runtime.twin import FunctionSandbox
from fairgrid.runtime.wasm.interpreters import default_runtime_id, interpreter_sha256
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import MemoryStore, StoreLimits

RUNTIME = default_runtime_id()
TIMEREF = 300


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "job.py"
    path.write_text("print(1)")
    return path


@pytest.fixture
async def storage() -> AsyncIterator[StorageClient]:
    async with StorageClient("http://storage", transport=httpx.ASGITransport(storage_application(MemoryStore()))) as c:
        yield c


def file(folder: Path, name: str, content: bytes = b"x") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("text", "days"), [("1", 1), ("7d", 7), (" 4W ", 28), ("30 d", 30), (7, 7), ("36500d", 36_500)]
)
def test_days_are_read(text: str | int, days: int) -> None:
    assert parse_days(text, "--keep") == days


@pytest.mark.parametrize("text", ["", "0", "0d", "-1d", "1.5d", "7h", "d", "٣d", "36501", "99999w", "for ever"])
def test_what_is_no_number_of_days_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"--keep .*Nothing was signed"):
        parse_days(text, "--keep")


@pytest.mark.parametrize("days", [0, -1, 36_501])
def test_a_job_is_not_kept_for_a_time_that_no_manifest_can_say(script: Path, days: int) -> None:
    with pytest.raises(UsageError, match="Nothing was signed"):
        Job.from_files(script, [], [], runtime_id=RUNTIME).kept_for(days)


async def test_what_a_job_with_an_end_uploads_is_removed_in_time_and_what_others_keep_stays(
    script: Path, tmp_path: Path
) -> None:
    now = 1_700_000_000.0
    store = MemoryStore(now=lambda: now)
    shared, own = file(tmp_path, "shared.csv", b"shared"), file(tmp_path, "own.csv", b"own")
    async with StorageClient("http://storage", transport=httpx.ASGITransport(storage_application(store))) as storage:
        await storage.add_file(shared)
        job = Job.from_files(script, [shared, own], [], runtime_id=RUNTIME).kept_for(3)
        ready = await prepare_job(job, storage, timeref=TIMEREF)
    assert parse_manifest(ready.manifest.to_bytes()).keep_s == 3 * 86_400
    now += (3 + WAITING_DAYS) * 86_400 - 1
    assert await store.sweep() == ()
    now += 1
    assert set(await store.sweep()) == {ready.manifest_cid, cid_of(b"own"), cid_of(script.read_bytes())}
    assert await store.size(cid_of(b"shared")) == 6


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("4096", 4096),
        ("1K", 1 << 10),
        ("512M", 512 << 20),
        ("512m", 512 << 20),
        ("2G", 2 << 30),
        ("2GB", 2 << 30),
        ("2 GiB", 2 << 30),
        (" 64M ", 64 << 20),
        ("10b", 10),
    ],
)
def test_size_is_read_with_units_of_1024(text: str, size: int) -> None:
    assert parse_size(text, "--memory") == size


@pytest.mark.parametrize("text", ["", "0", "0G", "-1", "1.5G", "lots", "1T", "M", "1e9", "0x10", "٣", "9" * 13])
def test_what_is_no_size_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(UsageError, match="--memory"):
        parse_size(text, "--memory")


@pytest.mark.parametrize(
    ("text", "need"),
    [
        ("1", GpuNeed(1)),
        ("2:16G", GpuNeed(2, 16 << 30)),
        (" 1:40g:A100 ", GpuNeed(1, 40 << 30, "a100")),
        ("4::tesla t4", GpuNeed(4, 0, "tesla t4")),
    ],
)
def test_graphics_processors_are_read_by_count_memory_and_model(text: str, need: GpuNeed) -> None:
    assert parse_gpus(text) == need


@pytest.mark.parametrize("text", ["", "0", "65", "-1", "1:lots", "a100", "1:1G:", "1:1G:*", "1:0G", "1:1G:a100:b"])
def test_what_says_no_graphics_processors_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--gpus"):
        parse_gpus(text)


def test_a_need_for_graphics_processors_is_in_the_manifest_and_a_script_cannot_have_one(
    script: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image.oci.tar"
    image.write_bytes(script.read_bytes())
    job = Job(image, (), (), JobRuntime.of("oci/linux-x86_64")).needing(GpuNeed(2, 16 << 30))
    assert manifest_of(job, timeref=1).needs == Needs(gpus=GpuNeed(2, 16 << 30))
    assert manifest_of(job.needing(None), timeref=1).needs.is_empty
    with pytest.raises(UsageError, match=r"passes no devices.*Nothing was signed"):
        Job(script, (), (), JobRuntime.of(RUNTIME)).needing(GpuNeed(1))
    with pytest.raises(UsageError, match=r"passes no devices.*Nothing was signed"):
        Job(script, (), (), JobRuntime.of(RUNTIME), gpus=GpuNeed(1))


def test_job_knows_its_interpreter(script: Path) -> None:
    job = Job.from_files(script, [], ["a", ""], runtime_id=RUNTIME)
    assert job.runtime.checksum == interpreter_sha256(RUNTIME)
    assert job.arguments == ("a", "")


def test_unknown_runtime_is_refused(script: Path) -> None:
    with pytest.raises(UsageError):
        Job.from_files(script, [], [], runtime_id="wasmtime-0/none")


def test_missing_script_and_input_are_named(script: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no script .*nowhere\.py"):
        Job.from_files(tmp_path / "nowhere.py", [], [], runtime_id=RUNTIME)
    with pytest.raises(UsageError, match=r"no input .*nowhere\.csv"):
        Job.from_files(script, [tmp_path / "nowhere.csv"], [], runtime_id=RUNTIME)


def test_path_that_cannot_be_looked_at_is_named(script: Path, tmp_path: Path) -> None:
    too_long = tmp_path / ("x" * 300)
    with pytest.raises(UsageError, match=r"script .* cannot be read"):
        Job.from_files(too_long, [], [], runtime_id=RUNTIME)
    with pytest.raises(UsageError, match=r"input .* cannot be read"):
        Job.from_files(script, [too_long], [], runtime_id=RUNTIME)


def test_folder_is_no_script_and_no_input(script: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        Job.from_files(tmp_path, [], [], runtime_id=RUNTIME)
    with pytest.raises(UsageError, match="is not a file"):
        Job.from_files(script, [tmp_path], [], runtime_id=RUNTIME)


def test_two_inputs_of_one_name_are_refused_also_from_different_folders(script: Path, tmp_path: Path) -> None:
    twins = [file(tmp_path / "a", "data.csv"), file(tmp_path / "b", "data.csv")]
    with pytest.raises(UsageError, match=r"Two inputs are named data\.csv"):
        Job.from_files(script, twins, [], runtime_id=RUNTIME)
    named_apart = [twins[0], file(tmp_path / "b", "other.csv")]
    assert len(Job.from_files(script, named_apart, [], runtime_id=RUNTIME).inputs) == 2


def test_input_may_have_the_name_of_the_script(script: Path, tmp_path: Path) -> None:
    namesake = file(tmp_path / "a", script.name)
    assert Job.from_files(script, [namesake], [], runtime_id=RUNTIME).inputs == (namesake,)


def test_name_that_workers_refuse_is_refused_here(script: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Rename it"):
        Job.from_files(script, [file(tmp_path, "a\nb")], [], runtime_id=RUNTIME)


def test_files_that_are_too_large_together_are_refused_and_at_the_limit_taken(script: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as sparse:
        sparse.truncate(MAX_INPUT_BYTES - script.stat().st_size)
    Job.from_files(script, [large], [], runtime_id=RUNTIME)
    with large.open("ab") as sparse:
        sparse.write(b"x")
    with pytest.raises(UsageError, match="workers take at most"):
        Job.from_files(script, [large], [], runtime_id=RUNTIME)


def test_manifest_does_not_depend_on_the_order_of_inputs_or_on_folders(script: Path, tmp_path: Path) -> None:
    first, second = file(tmp_path / "x", "b.csv", b"b"), file(tmp_path / "y", "a.csv", b"a")
    jobs = [Job.from_files(script, inputs, [], runtime_id=RUNTIME) for inputs in ([first, second], [second, first])]
    manifests = [manifest_of(job, timeref=TIMEREF) for job in jobs]
    assert manifests[0].to_bytes() == manifests[1].to_bytes()
    assert [reference.name for reference in manifests[0].inputs] == ["a.csv", "b.csv"]
    assert [reference.cid for reference in manifests[0].inputs] == [cid_of(b"a"), cid_of(b"b")]
    assert str(tmp_path) not in manifests[0].to_bytes().decode()


def test_default_fuel_comes_from_the_category_and_can_be_given(script: Path) -> None:
    job = Job.from_files(script, [], [], runtime_id=RUNTIME)
    assert manifest_of(job, timeref=TIMEREF).resources.fuel == FUEL_PER_SECOND * TIMEREF
    assert manifest_of(replace(job, fuel=7), timeref=TIMEREF).resources.fuel == 7


async def test_prepared_job_lies_in_storage_whole(storage: StorageClient, script: Path, tmp_path: Path) -> None:
    data = file(tmp_path / "in", "dä ta.csv", b"1,2\n")
    job = Job.from_files(script, [data], ["x"], runtime_id=RUNTIME, memory_bytes=64 << 20, output_bytes=1 << 20)
    prepared = await prepare_job(job, storage, timeref=TIMEREF)
    stored = parse_manifest(await storage.fetch_bytes(prepared.manifest_cid, max_bytes=100_000))
    assert stored == prepared.manifest
    assert prepared.name == "job.py"
    assert await storage.fetch_bytes(stored.script.cid, max_bytes=1_000) == b"print(1)"
    assert await storage.fetch_bytes(stored.inputs[0].cid, max_bytes=1_000) == b"1,2\n"
    assert stored.arguments == ("x",)
    assert (stored.resources.memory_bytes, stored.resources.output_bytes) == (64 << 20, 1 << 20)


async def test_file_that_storage_has_is_not_sent_again(script: Path) -> None:
    application = storage_application(MemoryStore())
    posts: list[str] = []

    class Counting(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST":
                posts.append(request.url.path)
            return await super().handle_async_request(request)

    job = Job.from_files(script, [], [], runtime_id=RUNTIME)
    async with StorageClient("http://storage", transport=Counting(application)) as storage:
        first = await prepare_job(job, storage, timeref=TIMEREF)
        assert len(posts) == 2
        assert await prepare_job(job, storage, timeref=TIMEREF) == first
        assert posts[2:] == [f"/keep/{first.manifest.script.cid}", "/api/v0/add"], "only the manifest is sent again"


async def test_file_that_changes_while_it_is_sent_is_noticed(
    storage: StorageClient, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job.from_files(script, [], [], runtime_id=RUNTIME)
    upload = storage.add_file

    async def change_and_upload(path: Path, *, keep_s: int | None = None) -> str:
        path.write_text("print(2)")
        return await upload(path, keep_s=keep_s)

    monkeypatch.setattr(storage, "add_file", change_and_upload)
    with pytest.raises(UsageError, match="changed while it was being uploaded"):
        await prepare_job(job, storage, timeref=TIMEREF)


async def test_storage_that_is_full_refuses_the_job(script: Path, tmp_path: Path) -> None:
    store = MemoryStore(StoreLimits(max_blob_bytes=10_000, quota_bytes=10_000))
    job = Job.from_files(script, [file(tmp_path, "data.bin", bytes(20_000))], [], runtime_id=RUNTIME)
    async with StorageClient("http://full", transport=httpx.ASGITransport(storage_application(store))) as full:
        with pytest.raises(ServiceRefused):
            await prepare_job(job, full, timeref=TIMEREF)


async def test_limits_that_no_worker_takes_are_refused_before_the_upload(storage: StorageClient, script: Path) -> None:
    job = replace(Job.from_files(script, [], [], runtime_id=RUNTIME), arguments=("a\x00b",))
    with pytest.raises(ManifestError):
        await prepare_job(job, storage, timeref=TIMEREF)
    assert await storage.stat(cid_of(b"print(1)")) is None


async def test_local_run_gets_the_jobs_files_and_arguments(script: Path, tmp_path: Path) -> None:
    def add_up(sandbox_job: SandboxJob) -> bytes:
        (sandbox_job.output_folder / "sum.txt").write_text("3")
        return b"done\n"

    job = Job.from_files(script, [file(tmp_path, "data.csv", b"1,2\n")], [], runtime_id=RUNTIME)
    sandbox = FunctionSandbox(add_up, runtime_id=RUNTIME)
    results = [
        await run_locally(job, timeref=TIMEREF, index=0, workdir=tmp_path / name, sandbox=sandbox)
        for name in ("first", "second")
    ]
    assert results[0].digest == results[1].digest
    assert sorted(results[0].covered) == ["stdout.txt", "sum.txt"]


async def test_local_run_is_told_the_ids_of_the_deal_that_it_is_compared_with(script: Path, tmp_path: Path) -> None:
    def ids(sandbox_job: SandboxJob) -> bytes:
        names = ("IEXEC_DEAL_ID", "IEXEC_TASK_ID")
        return " ".join(sandbox_job.environment[name] for name in names).encode()

    job = Job.from_files(script, [], [], runtime_id=RUNTIME)
    deal, task = "0x" + "0d" * 32, "0x" + "0e" * 32
    result = await run_locally(
        job,
        timeref=TIMEREF,
        index=0,
        workdir=tmp_path / "run",
        sandbox=FunctionSandbox(ids, runtime_id=RUNTIME),
        deal_id=deal,
        task_id=task,
    )
    assert (result.result_folder / "stdout.txt").read_text() == f"{deal} {task}"


def test_a_bag_gives_each_task_its_line_of_arguments_after_those_of_the_job(script: Path, tmp_path: Path) -> None:
    lines = file(tmp_path, "lines.txt", 'one "two words"\n\n  ü \n'.encode())
    bag = Job.from_files(script, [], ["--all"], runtime_id=RUNTIME).as_bag(read_items(lines))
    manifest = parse_manifest(manifest_of(bag, timeref=TIMEREF).to_bytes())
    assert bag.tasks == 2
    assert [manifest.arguments_of(index) for index in range(2)] == [("--all", "one", "two words"), ("--all", "ü")]


def test_a_bag_of_tasks_alike_has_no_items(script: Path) -> None:
    bag = Job.from_files(script, [], ["x"], runtime_id=RUNTIME).as_bag(tasks=1_000)
    assert (bag.tasks, manifest_of(bag, timeref=TIMEREF).items) == (1_000, ())


@pytest.mark.parametrize(("items", "tasks"), [((), None), ((), 0), ((), MAX_TASKS + 1), ((["a"], ["b"]), 3)], ids=str)
def test_a_bag_without_tasks_with_too_many_or_with_two_counts_is_refused(
    script: Path, items: tuple[list[str], ...], tasks: int | None
) -> None:
    with pytest.raises(UsageError, match="Nothing was signed"):
        Job.from_files(script, [], [], runtime_id=RUNTIME).as_bag(items, tasks=tasks)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is empty"), (b"a\nb 'c\n", "Line 2"), (b"\xff", "cannot be read")], ids=str
)
def test_a_list_of_arguments_that_cannot_be_one_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_items(file(tmp_path, "lines.txt", content))
    with pytest.raises(UsageError, match="cannot be read"):
        read_items(tmp_path / "missing.txt")


def test_hosts_that_a_job_connects_to_are_in_its_manifest_and_a_job_without_keeps_its_cid(tmp_path: Path) -> None:
    program = tmp_path / "fetch.sh"
    program.write_text("#!/bin/sh\n")
    job = Job.from_files(program, [], [], runtime_id="process/linux-x86_64")
    manifest = manifest_of(job.connecting_to(["a.org", "*.b.org:22", "a.org"]), timeref=60)
    assert manifest.needs.network == ("a.org", "*.b.org:22")
    assert manifest_of(job.connecting_to([]), timeref=60).cid() == manifest_of(job, timeref=60).cid() != manifest.cid()


def test_a_job_cannot_ask_for_a_network_that_no_machine_could_give_it(script: Path, tmp_path: Path) -> None:
    job = Job.from_files(script, [], [], runtime_id=default_runtime_id())
    with pytest.raises(UsageError, match=r"no network on any machine.*Nothing was signed"):
        job.connecting_to(["*"])
    assert job.connecting_to([]) == job
    program = tmp_path / "fetch.sh"
    program.write_text("#!/bin/sh\n")
    native = Job.from_files(program, [], [], runtime_id="process/linux-x86_64")
    with pytest.raises(UsageError, match="no place that a job could connect to"):
        native.connecting_to(["http://a.org"])
    with pytest.raises(UsageError, match="may name 16 hosts"):
        native.connecting_to([f"h{number}.org" for number in range(17)])


def test_tasks_without_arguments_of_their_own_may_have_files_of_their_own(script: Path, tmp_path: Path) -> None:
    files = [file(tmp_path, f"{number}/part.bin", bytes([number])) for number in range(3)]
    job = replace(
        Job(script, (), ("all",), JobRuntime.of(RUNTIME)).as_bag(tasks=3), item_inputs=tuple((f,) for f in files)
    )
    manifest = manifest_of(job, timeref=TIMEREF)
    assert [item.arguments for item in manifest.items] == [("all",)] * 3
    assert [[ref.cid for ref in item.inputs or ()] for item in manifest.items] == [
        [cid_of(bytes([number]))] for number in range(3)
    ]


def test_files_for_more_tasks_than_the_bag_has_are_refused(script: Path, tmp_path: Path) -> None:
    files = ((file(tmp_path, "part.bin"),),) * 3
    job = replace(Job(script, (), (), JobRuntime.of(RUNTIME)).as_bag(tasks=2), item_inputs=files)
    with pytest.raises(UsageError, match="for 3 tasks of a bag of 2"):
        manifest_of(job, timeref=TIMEREF)
