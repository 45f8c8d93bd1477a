"""Native jobs: what they see, the limits that they meet, and what is left of them."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Stop
from fairgrid.runtime.log_sink import cut_marker
from fairgrid.runtime.process import sandbox as module
from fairgrid.runtime.process.process_tree import ProcessTrees
from fairgrid.runtime.process.sandbox import CANNOT_RUN, ProcessSandbox
from fairgrid.runtime.watch import JobWatch, read_progress
from tests.needs import need
from tests.runtime.process.conftest import LIMITS, RunNative, native_job, running, until

MIB = 1 << 20
_WORKERS = """\
#!/usr/bin/python3
import threading, multiprocessing, os, subprocess, socket, select, mmap, signal, tempfile, shutil, sqlite3, ctypes, json

def square(number):
    return number * number

if __name__ == "__main__":
    done = []
    threads = [threading.Thread(target=done.append, args=(n,)) for n in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        squares = pool.map(square, range(5))
    left, right = socket.socketpair()
    left.send(b"x")
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree("/app", folder + "/copy")
        os.mkfifo(folder + "/fifo")
        database = sqlite3.connect(folder + "/data.db")
        database.execute("create table t (n)")
        database.commit()
    said = subprocess.run(["sh", "-c", "echo $((6 * 7)) | awk '{print $1 + 1}'"], capture_output=True, text=True)
    print(json.dumps([sorted(done), squares, right.recv(1).decode(), said.stdout.strip()]))
"""


async def test_a_script_reads_its_input_and_writes_its_output(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    job = native_job(
        tmp_path / "job",
        """
        #!/bin/sh
        tr a-z A-Z < /iexec_in/words.txt > "$IEXEC_OUT/loud.txt"
        echo "$1 $2"
        echo trouble >&2
        exit 3
        """,
        arguments=("one", "two words"),
    )
    (job.input_folder / "words.txt").write_text("hello\n")
    outcome = await sandbox.run(job)
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 3)
    assert (outcome.stdout, outcome.stderr) == (b"one two words\n", b"trouble\n")
    assert (job.output_folder / "loud.txt").read_text() == "HELLO\n"
    assert outcome.written_bytes == 6 and outcome.wall_s > 0
    # Without cgroups a short job ends between two looks.
    assert outcome.cpu_s > 0 or sandbox.summary == ProcessTrees().summary
    assert [path.name for path in (tmp_path / "job").iterdir() if path.name.startswith("scratch")] == []


async def test_python_has_threads_processes_sockets_of_its_own_and_a_database(run_native: RunNative) -> None:
    run = await run_native(_WORKERS, name="work.sh")
    assert run.outcome.exit_code == 0, run.outcome.stderr.decode()
    assert run.stdout == '[[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 4, 9, 16], "x", "43"]\n'


async def test_surroundings_are_the_same_from_run_to_run(run_native: RunNative) -> None:
    source = "#!/bin/sh\nenv | sort; pwd; hostname 2>/dev/null || cat /proc/sys/kernel/hostname; id -un; ls /iexec_in\n"
    first, second = await run_native(source, folder="one"), await run_native(source, folder="two")
    assert first.stdout == second.stdout
    assert {"LANG=C.UTF-8", "TZ=UTC", "PYTHONHASHSEED=0", "OMP_NUM_THREADS=1", "/tmp", "fairgrid", "nobody"} <= {
        *first.stdout.splitlines()
    }
    assert not any("canary" in line or "PYTEST" in line for line in first.stdout.splitlines())


@pytest.mark.parametrize(
    ("source", "why"),
    [("print('hello')\n", "neither an ELF"), ("#!/opt/python\n", "below /usr"), (b"\x7fELF", "cut off")],
)
async def test_what_is_no_program_ends_alike_on_every_machine(
    run_native: RunNative, source: str | bytes, why: str
) -> None:
    run = await run_native(source)
    assert (run.outcome.stop, run.outcome.exit_code) == (Stop.EXITED, CANNOT_RUN)
    assert why in run.outcome.stderr.decode()


async def test_a_missing_interpreter_is_this_machines_failure(run_native: RunNative) -> None:
    with pytest.raises(HostFailure, match="no-such-interpreter"):
        await run_native("#!/usr/bin/no-such-interpreter\n")


@pytest.fixture(params=["machine", "without"])
def either(request: pytest.FixtureRequest, sandbox: ProcessSandbox) -> ProcessSandbox:
    """The machine's own way of limiting, and the one for machines without cgroups."""
    return sandbox if request.param == "machine" else ProcessSandbox(sandbox.runtime_id, controls=ProcessTrees())


async def test_memory_beyond_the_limit_ends_the_job(run_native: RunNative, either: ProcessSandbox) -> None:
    source = "#!/usr/bin/python3\nimport time\nkept = bytearray(90 << 20)\ntime.sleep(30)\n"
    run = await run_native(source, limits=replace(LIMITS, memory_bytes=64 * MIB), sandbox=either)
    assert run.outcome.stop is Stop.MEMORY
    fits = await run_native(
        "#!/usr/bin/python3\nkept = bytearray(30 << 20)\n", limits=LIMITS, sandbox=either, folder="fits"
    )
    assert (fits.outcome.stop, fits.outcome.exit_code) == (Stop.EXITED, 0)


async def test_processor_time_of_all_processes_together_is_limited(
    run_native: RunNative, either: ProcessSandbox
) -> None:
    source = "#!/bin/sh\nfor n in 1 2 3 4; do (while :; do :; done) & done\nwait\n"
    run = await run_native(source, limits=replace(LIMITS, cpu_s=0.8, cpus=2), sandbox=either)
    assert run.outcome.stop is Stop.CPU
    assert run.outcome.cpu_s > 0.8


async def test_processes_beyond_the_limit_are_refused_and_the_job_goes_on(
    run_native: RunNative, either: ProcessSandbox
) -> None:
    source = """
        #!/usr/bin/python3
        import os, signal
        children = []
        try:
            for _ in range(40):
                child = os.fork()
                if child == 0:
                    signal.pause()
                children.append(child)
        except OSError as error:
            print(error.strerror)
        print(len(children) < 20)
        for child in children:
            os.kill(child, 9)
        """
    run = await run_native(source, limits=replace(LIMITS, processes=20), sandbox=either)
    assert run.outcome.exit_code == 0, run.outcome.stderr
    assert run.stdout == "Resource temporarily unavailable\nTrue\n"
    if either.summary != ProcessTrees().summary:
        assert "beyond the limit of 20" in run.outcome.detail


async def test_a_wall_clock_ends_a_job_that_sleeps(run_native: RunNative, either: ProcessSandbox) -> None:
    run = await run_native("#!/bin/sh\nsleep 60\n", limits=replace(LIMITS, wall_s=0.5), sandbox=either)
    assert run.outcome.stop is Stop.WALL_CLOCK


async def test_exactly_the_allowed_bytes_are_allowed_and_one_more_is_not(run_native: RunNative) -> None:
    source = "#!/bin/sh\nhead -c $1 /dev/zero > /iexec_out/zeros\n"
    limits = replace(LIMITS, output_bytes=MIB)
    fits = await run_native(source, arguments=(str(MIB),), limits=limits, folder="fits")
    assert (fits.outcome.stop, fits.outcome.exit_code) == (Stop.EXITED, 0)
    more = await run_native(source, arguments=(str(MIB + 1),), limits=limits, folder="more")
    assert (more.outcome.stop, more.outcome.detail) == (Stop.OUTPUT, "")


async def test_exactly_the_allowed_files_are_allowed_and_one_more_is_not(run_native: RunNative) -> None:
    source = "#!/bin/sh\nfor n in $(seq $1); do : > /iexec_out/$n; done\n"
    limits = replace(LIMITS, output_files=20)
    fits = await run_native(source, arguments=("20",), limits=limits, folder="fits")
    assert fits.outcome.stop is Stop.EXITED
    more = await run_native(source, arguments=("21",), limits=limits, folder="more")
    assert (more.outcome.stop, more.outcome.detail) == (Stop.OUTPUT, "files")


async def test_folders_in_folders_without_end_are_ended_and_removed(run_native: RunNative) -> None:
    source = """
        #!/usr/bin/python3
        import os
        os.chdir("/iexec_out")
        while True:
            os.mkdir("d")
            os.chdir("d")
        """
    run = await run_native(source)
    assert (run.outcome.stop, run.outcome.detail) == (Stop.OUTPUT, "files")
    assert list(run.out.iterdir()) == []


async def test_what_is_in_a_closed_folder_counts_too(run_native: RunNative) -> None:
    source = (
        "#!/bin/sh\ncd /iexec_out\nmkdir closed\nhead -c 2000000 /dev/zero > closed/zeros\nchmod 0 closed .\nsleep 60\n"
    )
    run = await run_native(source, limits=replace(LIMITS, output_bytes=MIB))
    assert run.outcome.stop is Stop.OUTPUT


async def test_logs_are_kept_up_to_their_limit(run_native: RunNative) -> None:
    run = await run_native("#!/bin/sh\nhead -c 5000 /dev/zero | tr '\\0' x\n", limits=replace(LIMITS, log_bytes=1000))
    assert run.outcome.stdout == b"x" * 1000 + cut_marker(1000)


async def test_background_processes_die_with_the_job(run_native: RunNative) -> None:
    name = f"31{os.getpid()}"
    run = await run_native(f"#!/bin/sh\nsetsid sleep {name} &\nsleep {name} &\necho started\n")
    assert run.stdout == "started\n"
    assert running(name) == []


async def test_cancelling_kills_every_process(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    name = f"32{os.getpid()}"
    job = native_job(tmp_path / "job", f"#!/bin/sh\n(setsid sleep {name} &)\n: > /iexec_out/on\nsleep {name}\n")
    task = asyncio.ensure_future(sandbox.run(job))
    await until((job.output_folder / "on").exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert running(name) == []
    assert list((tmp_path / "job").glob("scratch-*")) == []


async def test_a_suspended_job_stands_still_and_its_wall_clock_too(either: ProcessSandbox, tmp_path: Path) -> None:
    source = "#!/bin/sh\nwhile [ ! -e /iexec_out/stop ]; do echo x >> /iexec_out/beats; sleep 0.02; done\n"
    job = native_job(tmp_path / "job", source, limits=replace(LIMITS, wall_s=20.0))
    beats = job.output_folder / "beats"
    task = asyncio.ensure_future(either.run(job))
    await until(beats.exists)
    assert either.suspend()
    await asyncio.sleep(0.3)
    stood, began = beats.stat().st_size, time.monotonic()
    await asyncio.sleep(0.5)
    assert beats.stat().st_size == stood
    either.resume()
    suspended_s = time.monotonic() - began
    await until(lambda: beats.stat().st_size > stood)
    (job.output_folder / "stop").touch()
    outcome = await task
    assert outcome.stop is Stop.EXITED
    assert outcome.wall_s < time.monotonic() - began + 20 - suspended_s


async def test_a_job_is_watched_while_it_runs(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    source = """
        #!/bin/sh
        echo begun
        echo first > /iexec_out/first.txt
        ln -s /etc/passwd /iexec_out/link
        mkfifo /iexec_out/pipe
        echo "0.5 half way" > /.fairgrid/progress
        while [ ! -e /iexec_out/stop ]; do sleep 0.02; done
        """
    live = tmp_path / "live"
    live.mkdir()
    watch = JobWatch(live)
    job = replace(native_job(tmp_path / "job", source), watch=watch)
    task = asyncio.ensure_future(sandbox.run(job))
    await until(lambda: read_progress(live / "progress") is not None)
    progress = read_progress(live / "progress")
    assert progress is not None
    assert (progress.ppm, progress.message) == (500_000, "half way")
    assert (live / "stdout").read_text() == "begun\n"
    assert await watch.snapshot(tmp_path / "copy", 10_000)
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"first.txt"}
    (job.output_folder / "stop").touch()
    await task
    assert not await watch.snapshot(tmp_path / "again", 10_000)


async def test_a_progress_that_is_a_link_or_a_pipe_shows_nothing_of_this_machine(
    sandbox: ProcessSandbox, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0.5 secret\n")
    live = tmp_path / "live"
    live.mkdir()
    source = f"""
        #!/bin/sh
        ln -s {secret} /.fairgrid/progress
        sleep 0.2
        rm /.fairgrid/progress
        mkfifo /.fairgrid/progress
        sleep 0.2
        """
    outcome = await sandbox.run(replace(native_job(tmp_path / "job", source), watch=JobWatch(live)))
    assert outcome.exit_code == 0
    assert read_progress(live / "progress") is None


async def test_what_a_job_closes_or_owns_can_be_collected_and_removed(run_native: RunNative) -> None:
    source = """
        #!/bin/sh
        cd /iexec_out
        mkdir -p a/b
        echo x > a/b/c
        chmod 0 a/b/c a/b a .
        """
    run = await run_native(source)
    assert (run.out / "a" / "b" / "c").read_text() == "x\n"
    assert all(path.stat().st_uid == os.geteuid() for path in run.out.rglob("*"))


async def test_without_bubblewrap_the_remedy_is_named(
    sandbox: ProcessSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise HostFailure("Bubblewrap is missing. Install it: pip install 'fairgrid[process]'.")

    monkeypatch.setattr(module, "find_bubblewrap", missing)
    with pytest.raises(HostFailure, match=r"pip install 'fairgrid\[process\]'"):
        await sandbox.run(native_job(tmp_path / "job", "#!/bin/sh\n"))


async def test_root_runs_each_job_as_another_user_without_any_right(run_native: RunNative) -> None:
    need(os.geteuid() == 0, "only root can become other users")
    source = "#!/bin/sh\nid -u\ngrep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status\n"
    first, second = await run_native(source, folder="one"), await run_native(source, folder="two")
    assert first.stdout.splitlines()[0] != second.stdout.splitlines()[0] != "0"
    values = [line.split()[1] for line in first.stdout.splitlines()[1:]]
    assert values == ["0000000000000000"] * 5 + ["1", "2"]
