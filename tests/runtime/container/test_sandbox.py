"""Jobs in real containers of podman, docker and gVisor: what they get, what they cannot, and what ends them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.runtime.container.leftovers import sweep
from fairgrid.runtime.container.oci_writer import ImageFile, RunConfig, write_archive
from fairgrid.runtime.interface import Outcome, Stop
from fairgrid.runtime.log_sink import cut_marker
from tests.runtime.container.conftest import LIMITS, SEED, SLOWER, Jobs, Level, RunJob, groups_left

pytestmark = pytest.mark.timeout(180 * SLOWER)


def assert_nothing_is_left(level: Level, jobs: Jobs) -> None:
    mine = [name for name in level.containers() if name.startswith(f"fairgrid-job-{os.getpid()}-")]
    assert (mine, groups_left(), jobs.leftovers()) == ([], [], [])


async def test_a_job_reads_its_inputs_and_leaves_its_results_and_logs(
    run_job: RunJob, level: Level, jobs: Jobs
) -> None:
    run = await run_job(
        'cat "$IEXEC_IN/a b" > "$IEXEC_OUT/copy"; mkdir $IEXEC_OUT/sub; echo $NAME > $IEXEC_OUT/sub/name;'
        "echo out; echo err >&2; echo $FAIRGRID_SEED; exit 0",
        inputs={"a b": b"hello"},
        environment={"NAME": "two words", "LINES": "a\nb"},
    )
    assert (run.outcome.stop, run.outcome.exit_code) == (Stop.EXITED, 0), run.stderr
    assert (run.stdout, run.stderr) == (f"out\n{SEED.hex()}\n", "err\n")
    assert (run.out / "copy").read_bytes() == b"hello"
    assert (run.out / "sub" / "name").read_text() == "two words\n"
    assert run.outcome.written_bytes == 15
    assert run.outcome.cpu_s > 0 and run.outcome.peak_memory_bytes > 0
    assert_nothing_is_left(level, jobs)


async def test_a_job_that_fails_tells_its_exit_code(run_job: RunJob) -> None:
    run = await run_job("echo wrong >&2; exit 7")
    assert (run.outcome.stop, run.outcome.exit_code, run.stderr) == (Stop.EXITED, 7, "wrong\n")


async def test_a_job_is_nobody_and_has_no_capabilities(run_job: RunJob, level: Level) -> None:
    run = await run_job("id -u; id -g; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status")
    lines = run.stdout.split()
    assert lines[:2] == ["65534", "65534"]
    status = dict(zip(lines[2::2], lines[3::2], strict=True))
    assert int(status["CapEff:"], 16) == int(status["CapBnd:"], 16) == 0
    if not level.is_gvisor:
        # gVisor's own kernel is the filter, and does not say so here.
        assert (status["NoNewPrivs:"], status["Seccomp:"]) == ("1", "2")


async def test_inputs_and_image_are_read_only_and_only_three_places_can_be_written(run_job: RunJob) -> None:
    run = await run_job(
        "for d in / /bin /iexec_in /etc /proc /sys /iexec_in/x; do touch $d/new 2>/dev/null && echo WROTE $d; done;"
        "for d in /tmp /iexec_out /.fairgrid; do touch $d/new && echo $d; done;"
        "echo x > /iexec_in/a 2>/dev/null && echo BAD",
        inputs={"a": b"1"},
    )
    assert run.stdout.split() == ["/tmp", "/iexec_out", "/.fairgrid"]


async def test_a_job_has_no_network(run_job: RunJob) -> None:
    run = await run_job("cat /proc/net/dev | grep -c :; wget -q -T 2 -O - http://1.1.1.1/ && echo REACHED; exit 0")
    interfaces = run.stdout.split()
    assert "REACHED" not in run.stdout and int(interfaces[0]) <= 1


_PAGES = 1 << 20
"""By so much a kernel's own count may be beyond the limit at the moment of the kill."""


async def test_a_job_that_takes_too_much_memory_ends_with_that_reason(
    run_job: RunJob, level: Level, jobs: Jobs
) -> None:
    run = await run_job("x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done")
    assert run.outcome.stop is Stop.MEMORY
    assert 0.9 * LIMITS.memory_bytes < run.outcome.peak_memory_bytes <= LIMITS.memory_bytes + _PAGES
    assert_nothing_is_left(level, jobs)


async def test_a_job_that_lives_through_the_memory_limit_of_its_child_is_ended_too(run_job: RunJob) -> None:
    run = await run_job(f"sh -c 'x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done'; sleep {round(30 * SLOWER)}; exit 0")
    assert run.outcome.stop is Stop.MEMORY and run.outcome.wall_s < 25 * SLOWER


async def test_nothing_is_left_where_the_worker_was_started(
    run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = await run_job("exec tail /dev/zero")
    assert run.outcome.stop is Stop.MEMORY
    assert list((tmp_path / "here").iterdir()) == []


async def test_a_job_that_runs_too_long_is_killed_and_leaves_nothing(run_job: RunJob, level: Level, jobs: Jobs) -> None:
    run = await run_job("echo started; sleep 300", limits=replace(LIMITS, wall_s=5.0))
    assert (run.outcome.stop, run.stdout) == (Stop.WALL_CLOCK, "started\n")
    assert list(run.out.iterdir()) == []
    assert_nothing_is_left(level, jobs)


async def test_a_job_that_computes_too_much_is_ended_by_its_processor_time(run_job: RunJob) -> None:
    run = await run_job("while true; do :; done", limits=replace(LIMITS, cpu_s=2.0))
    assert run.outcome.stop is Stop.CPU and run.outcome.cpu_s >= 2.0


async def test_two_busy_processes_share_the_one_processor_of_a_job(run_job: RunJob) -> None:
    run = await run_job(
        "busy() { while read -r up rest </proc/uptime && [ ${up%.*} -lt $1 ]; do :; done; };"
        "read -r now rest </proc/uptime; busy $((${now%.*} + 5)) & busy $((${now%.*} + 5)) & wait",
        limits=replace(LIMITS, cpus=1),
    )
    assert (run.outcome.stop, run.outcome.exit_code) == (Stop.EXITED, 0), run.stderr
    assert 0.5 < run.outcome.cpu_s < 1.2 * run.outcome.wall_s


async def test_a_fork_bomb_is_held_by_the_limit_of_processes(run_job: RunJob, level: Level) -> None:
    limits = replace(LIMITS, wall_s=15.0 * SLOWER)
    run = await run_job(f"for i in $(seq 400); do sleep {round(60 * SLOWER)} & done; echo all", limits=limits)
    if level.is_gvisor:
        # Its threads count, too, so the limit is higher; the memory limit, or the time, ends such a job.
        assert run.outcome.stop is not Stop.HOST
    else:
        assert "all" not in run.stdout and "fork" in run.stderr


@pytest.mark.parametrize("place", ["/iexec_out", "/tmp"])
async def test_a_job_that_fills_the_disk_ends_with_that_reason(run_job: RunJob, place: str) -> None:
    run = await run_job(
        f"i=0; while true; do i=$((i+1)); dd if=/dev/zero of={place}/$i bs=1M count=1 2>/dev/null; done"
    )
    assert (run.outcome.stop, run.outcome.detail) == (Stop.OUTPUT, "bytes")
    assert list(run.out.iterdir()) == []


async def test_files_that_were_removed_while_open_count(run_job: RunJob) -> None:
    run = await run_job(
        "dd if=/dev/zero of=/tmp/a bs=1M count=6; dd if=/dev/zero of=/tmp/b bs=1M count=6 & wait;"
        "exec 3</tmp/a 4</tmp/b; rm /tmp/a /tmp/b; sleep 300",
        limits=replace(LIMITS, output_bytes=8 << 20),
    )
    assert (run.outcome.stop, run.outcome.detail) == (Stop.OUTPUT, "bytes")


async def test_one_file_cannot_grow_beyond_the_limit(run_job: RunJob) -> None:
    run = await run_job("dd if=/dev/zero of=/iexec_out/big bs=1M count=64; wc -c < /iexec_out/big; exit 3")
    assert run.outcome.stop is Stop.OUTPUT or int(run.stdout) <= LIMITS.output_bytes + (1 << 20)


async def test_a_file_of_holes_counts_as_large_as_it_seems(run_job: RunJob) -> None:
    script = "for i in 1 2 3; do dd if=/dev/zero of=/iexec_out/$i bs=1 count=1 seek=5000000 2>/dev/null; done"
    run = await run_job(script)
    assert (run.outcome.stop, run.outcome.detail) == (Stop.OUTPUT, "bytes")


async def test_too_many_files_end_a_job(run_job: RunJob) -> None:
    run = await run_job("i=0; while true; do i=$((i+1)); touch /iexec_out/$i; done")
    assert (run.outcome.stop, run.outcome.detail) == (Stop.OUTPUT, "files")


async def test_logs_are_cut_at_their_limit_and_the_job_goes_on(run_job: RunJob) -> None:
    run = await run_job("yes | head -c 20000000; echo end >&2", limits=replace(LIMITS, log_bytes=1000))
    assert (run.outcome.stop, run.outcome.exit_code, run.stderr) == (Stop.EXITED, 0, "end\n")
    assert run.outcome.stdout == b"y\n" * 500 + cut_marker(1000)


async def test_links_in_results_stay_links_and_lead_nowhere(run_job: RunJob, jobs: Jobs) -> None:
    run = await run_job("cd /iexec_out; ln -s /etc/shadow shadow; ln -s .. up; mkdir d; chmod 0 d")
    assert run.outcome.stop is Stop.EXITED
    assert (run.out / "shadow").is_symlink() and (run.out / "up").is_symlink()
    assert (run.out / "d").stat().st_uid == os.geteuid()


async def test_a_cancelled_job_leaves_no_container_mount_or_cgroup(level: Level, jobs: Jobs) -> None:
    for pause_s in (0.05, 0.3, 0.8, 2.0):
        running = asyncio.ensure_future(level.sandbox.run(jobs.job("sleep 300")))
        await asyncio.sleep(pause_s)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert_nothing_is_left(level, jobs)
    mounts = Path("/proc/self/mounts").read_text()
    assert not any(str(base) in mounts for base in jobs.made)


async def test_a_suspended_job_stands_still_and_loses_no_time(level: Level, jobs: Jobs) -> None:
    job = jobs.job("i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo $i; sleep 0.1; done", watch=True)
    job = replace(job, limits=replace(LIMITS, wall_s=20.0))
    running = asyncio.ensure_future(level.sandbox.run(job))
    assert job.watch is not None
    live = job.watch.folder / "stdout"
    while not live.exists() or live.stat().st_size < 4:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    assert level.sandbox.suspend()
    await asyncio.sleep(1.0)
    before = live.stat().st_size
    await asyncio.sleep(2.0)
    assert live.stat().st_size == before and not running.done()
    level.sandbox.resume()
    outcome = await running
    assert (outcome.stop, outcome.stdout.split()[-1]) == (Stop.EXITED, b"30")


async def test_a_suspended_job_can_be_cancelled(level: Level, jobs: Jobs) -> None:
    running = asyncio.ensure_future(level.sandbox.run(jobs.job("sleep 300")))
    await asyncio.sleep(1.5)
    assert level.sandbox.suspend()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert_nothing_is_left(level, jobs)
    level.sandbox.resume()


async def test_progress_logs_and_files_can_be_seen_while_a_job_runs(level: Level, jobs: Jobs, tmp_path: Path) -> None:
    job = jobs.job(
        "echo hello; echo part > /iexec_out/part; ln -s /etc/passwd /iexec_out/link;"
        "echo '0.5 half' > $FAIRGRID_PROGRESS;"
        "while [ ! -e /iexec_out/never ]; do sleep 0.1; done",
        watch=True,
        environment={"FAIRGRID_PROGRESS": "/.fairgrid/progress"},
    )
    running = asyncio.ensure_future(level.sandbox.run(job))
    assert job.watch is not None
    async with asyncio.timeout(60):
        while not (job.watch.folder / "progress").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert (job.watch.folder / "stdout").read_bytes() == b"hello\n"
    assert await job.watch.snapshot(tmp_path / "snapshot", 1 << 20)
    assert sorted(path.name for path in (tmp_path / "snapshot").iterdir()) == ["part"]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not await job.watch.snapshot(tmp_path / "later", 1 << 20)


async def test_a_job_goes_on_from_its_checkpoint(run_job: RunJob, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    script = "cd /fairgrid_checkpoint; cat n; echo $1 > new; mv new n"
    first = await run_job("", arguments=("-c", script, "sh", "one"), checkpoint=checkpoint)
    second = await run_job("", arguments=("-c", script, "sh", "two"), checkpoint=checkpoint)
    assert (first.stdout, first.outcome.resumed) == ("", False)
    assert (second.stdout, second.outcome.resumed) == ("one\n", True)


async def test_what_a_killed_worker_left_is_swept_and_a_living_ones_is_not(level: Level, jobs: Jobs) -> None:
    dead = "fairgrid-job-1-1-1"
    running = asyncio.ensure_future(level.sandbox.run(jobs.job("sleep 300")))
    while not [name for name in level.containers() if name.startswith("fairgrid-job-")]:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    image = (level.folder / f"images-{level.engine.kind}").iterdir()
    said = await level.engine.call(
        *("run", "--detach", "--pull=never", "--network", "none", "--name", dead),
        *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", next(image).name),
    )
    assert dead in level.containers(), said
    assert await sweep(level.engine) == 1
    names = level.containers()
    assert dead not in names and len(names) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_jobs_side_by_side_do_not_see_each_other(level: Level, jobs: Jobs) -> None:
    script = "echo secret-$1 > /tmp/mine; sleep 1; cat /tmp/* /iexec_out/* 2>/dev/null; ls /proc | grep -c '^[0-9]'"

    async def one(number: int) -> Outcome:
        return await level.sandbox.run(jobs.job("", arguments=("-c", script, "sh", str(number))))

    outcomes = await asyncio.gather(one(1), one(2))
    for number, outcome in enumerate(outcomes, start=1):
        lines = outcome.stdout.decode().split()
        assert lines[0] == f"secret-{number}" and int(lines[1]) < 8, outcome


async def test_a_program_that_is_no_image_is_refused_before_anything_runs(
    level: Level, jobs: Jobs, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.oci.tar"
    broken.write_bytes(b"not a tar at all" * 100)
    outcome = await level.sandbox.run(jobs.job("true", program=broken))
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 125)
    assert b"refused" in outcome.stderr


async def test_an_entry_point_that_is_not_there_is_the_jobs_own_error(
    level: Level, run_job: RunJob, tmp_path: Path
) -> None:
    program = tmp_path / "empty.oci.tar"
    architecture = "arm64" if level.provider.info.runtime_id.endswith("aarch64") else "amd64"
    write_archive(program, [ImageFile("a", b"")], RunConfig(entrypoint=("/missing",)), architecture=architecture)
    run = await run_job("", program=program, arguments=())
    if level.is_gvisor:
        assert run.outcome.exit_code != 0 or run.outcome.stop is Stop.HOST
    else:
        assert (run.outcome.stop, run.outcome.exit_code) == (Stop.EXITED, 127)
