"""What a job can do in the WebAssembly sandbox, what stops it, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Limits, Stop
from fairgrid.runtime.log_sink import cut_marker
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.wasm import host_process as wasm
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.interpreters import InstalledRuntime
from fairgrid.runtime.wasm.launch import GuestProgram, Launch
from fairgrid.runtime.wasm.sandbox import WasmSandbox
from tests.runtime.conftest import RunScript, job_in

FUEL = 30_000_000_000
FOR_EVER = "while True: pass"


def python(compiled: Path) -> GuestProgram:
    """The interpreter in another compiled form."""
    return GuestProgram(compiled, Launch.PYTHON, EngineClass.DETERMINISTIC)


def hosts() -> list[psutil.Process]:
    """Sandbox processes that this test process has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "fairgrid.runtime.wasm.host" in process.cmdline():
                found.append(process)
    return found


def operating_system_limits(process: psutil.Process) -> dict[str, str]:
    """Soft limits of a process on Linux by their names in /proc."""
    lines = Path(f"/proc/{process.pid}/limits").read_text().splitlines()[1:]
    return {line[:26].strip(): line[26:].split()[0] for line in lines}


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.05)


async def test_script_reads_inputs_and_writes_outputs(run_script: RunScript) -> None:
    run = await run_script(
        """
        import os, sys
        with open(os.environ["IEXEC_IN"] + "/sub/dä ta.txt", encoding="utf-8") as file:
            text = file.read()
        os.makedirs("a/b")
        with open("a/b/ünï.txt", "w", encoding="utf-8") as file:
            file.write(text.upper())
        open(os.environ["IEXEC_OUT"] + "/empty", "w").close()
        os.mkdir("nothing")
        print(sys.argv, __name__, __file__)
        print("careful", file=sys.stderr)
        """,
        inputs={"sub/dä ta.txt": "grüße".encode()},
        arguments=("one", "zwei drei", ""),
    )
    assert run.outcome.stop is Stop.EXITED and run.outcome.exit_code == 0
    assert run.stdout == "['/iexec_app/script.py', 'one', 'zwei drei', ''] __main__ /iexec_app/script.py\n"
    assert run.stderr == "careful\n"
    files = {str(path.relative_to(run.out)): path.read_text("utf-8") for path in run.out.rglob("*") if path.is_file()}
    assert files == {"a/b/ünï.txt": "GRÜSSE", "empty": ""}
    assert (run.out / "nothing").is_dir()


async def test_exception_ends_with_code_1_and_a_traceback_of_the_script_only(run_script: RunScript) -> None:
    run = await run_script("def divide():\n    return 1 / 0\n\ndivide()\n")
    assert (run.outcome.stop, run.outcome.exit_code) == (Stop.EXITED, 1)
    assert run.stderr == (
        "Traceback (most recent call last):\n"
        '  File "/iexec_app/script.py", line 4, in <module>\n'
        "    divide()\n"
        '  File "/iexec_app/script.py", line 2, in divide\n'
        "    return 1 / 0\n"
        "           ~~^~~\n"
        "ZeroDivisionError: division by zero\n"
    )


async def test_syntax_error_names_the_line_and_nothing_of_ours(run_script: RunScript) -> None:
    run = await run_script("x = 1\nx = = 2\n")
    assert run.outcome.exit_code == 1
    assert 'File "/iexec_app/script.py", line 2' in run.stderr and "prelude" not in run.stderr


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit()", 0),
        ("import sys; sys.exit('no input')", 1),
        ("import os; os._exit(300)", 300 & 0xFF),
        ("raise SystemExit(-1)", 255),
    ],
)
async def test_exit_code_is_the_one_a_shell_would_see(run_script: RunScript, source: str, code: int) -> None:
    run = await run_script(source)
    assert (run.outcome.stop, run.outcome.exit_code) == (Stop.EXITED, code)


async def test_endless_loop_stops_when_its_fuel_is_used_up(run_script: RunScript) -> None:
    run = await run_script("print('begin', flush=True)\n" + FOR_EVER, limits=Limits(fuel=2_000_000_000))
    assert run.outcome.stop is Stop.FUEL
    assert run.outcome.fuel_used == 2_000_000_000
    assert list(run.out.iterdir()) == []


async def test_waiting_in_a_loop_for_the_clock_uses_up_fuel(run_script: RunScript) -> None:
    source = "import time\nend = time.time() + 3600\nwhile time.time() < end: pass"
    run = await run_script(source, limits=Limits(fuel=5_000_000_000))
    assert run.outcome.stop is Stop.FUEL


async def test_memory_that_nobody_caught_stops_as_memory(run_script: RunScript) -> None:
    source = "kept = []\nwhile True: kept.append(bytearray(8_000_000))"
    run = await run_script(source, limits=Limits(fuel=FUEL, memory_bytes=64 << 20))
    assert run.outcome.stop is Stop.MEMORY
    assert 48 << 20 < run.outcome.peak_memory_bytes <= 64 << 20


async def test_memory_error_that_the_script_catches_is_its_own_business(run_script: RunScript) -> None:
    source = "try:\n    bytearray(100_000_000)\nexcept MemoryError:\n    print('caught')"
    run = await run_script(source, limits=Limits(fuel=FUEL, memory_bytes=64 << 20))
    assert (run.outcome.stop, run.stdout) == (Stop.EXITED, "caught\n")


async def test_memory_limit_below_the_interpreters_need_stops_as_memory(run_script: RunScript) -> None:
    run = await run_script("print(1)", limits=Limits(fuel=FUEL, memory_bytes=1 << 20))
    assert run.outcome.stop is Stop.MEMORY


async def test_recursion_through_the_interpreter_is_the_same_error_everywhere(run_script: RunScript) -> None:
    source = "class Loop:\n    def __repr__(self): return repr(self)\nrepr(Loop())"
    run = await run_script(source)
    assert (run.outcome.stop, run.outcome.exit_code, run.outcome.detail) == (Stop.EXITED, 134, "MEMORY_OUT_OF_BOUNDS")
    assert "too deep recursion" in run.stderr


async def test_plain_recursion_is_a_recursion_error(run_script: RunScript) -> None:
    run = await run_script("def f(): f()\nf()")
    assert run.outcome.exit_code == 1 and "RecursionError" in run.stderr


async def test_writing_too_many_bytes_stops_as_output(run_script: RunScript) -> None:
    source = "file = open('big', 'wb')\nwhile True: file.write(bytes(100_000))"
    run = await run_script(source, limits=Limits(fuel=FUEL, output_bytes=1_000_000))
    assert (run.outcome.stop, run.outcome.detail) == (Stop.OUTPUT, "bytes")
    assert list(run.out.iterdir()) == []


async def test_exactly_the_allowed_bytes_are_allowed(run_script: RunScript) -> None:
    run = await run_script(
        "open('big', 'wb').write(bytes(1_000_000))", limits=Limits(fuel=FUEL, output_bytes=1_000_000)
    )
    assert run.outcome.exit_code == 0 and (run.out / "big").stat().st_size == 1_000_000


async def test_seeking_far_ahead_counts_as_writing(run_script: RunScript) -> None:
    source = "file = open('sparse', 'wb')\nfile.seek(2**40)\nfile.write(b'x')\nfile.close()"
    run = await run_script(source, limits=Limits(fuel=FUEL, output_bytes=1_000_000))
    assert (run.outcome.stop, run.outcome.detail) == (Stop.OUTPUT, "bytes")


async def test_removing_files_gives_their_bytes_back(run_script: RunScript) -> None:
    source = "import os\nfor n in range(20):\n    open('part', 'wb').write(bytes(400_000))\n    os.remove('part')"
    run = await run_script(source, limits=Limits(fuel=FUEL, output_bytes=1_000_000, output_files=1))
    assert run.outcome.exit_code == 0


@pytest.mark.parametrize("make", ["open(str(n), 'w').close()", "os.mkdir(str(n))", "open(f'/tmp/{n}', 'w').close()"])
async def test_making_too_many_files_stops_as_output(run_script: RunScript, make: str) -> None:
    source = f"import os\nfor n in range(51): {make}"
    run = await run_script(source, limits=Limits(fuel=FUEL, output_files=50))
    assert (run.outcome.stop, run.outcome.detail) == (Stop.OUTPUT, "files")


async def test_printing_without_end_keeps_the_first_mebibyte(run_script: RunScript, sandbox: WasmSandbox) -> None:
    source = "line = 'x' * 999\nfor n in range(100_000): print(line)\nimport sys; sys.stderr.write('y' * 3_000_000)"
    run = await run_script(source)
    assert run.outcome.exit_code == 0
    assert run.outcome.stdout == (b"x" * 999 + b"\n") * 1048 + b"x" * 576 + cut_marker(1 << 20)
    assert run.outcome.stderr == b"y" * (1 << 20) + cut_marker(1 << 20)


async def test_temporary_files_are_not_output(run_script: RunScript) -> None:
    run = await run_script(
        """
        import tempfile
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(b"x")
            print(file.name[:5])
        """
    )
    assert run.stdout == "/tmp/\n" and list(run.out.iterdir()) == []


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        ("open('/etc/passwd')", "FileNotFoundError"),
        ("open('/iexec_in/../../etc/passwd')", "PermissionError"),
        ("open('/proc/self/environ')", "FileNotFoundError"),
        ("open('/iexec_in/given.txt', 'w')", "OSError"),
        ("open('/iexec_in/new.txt', 'w')", "OSError"),
        ("os.remove('/iexec_in/given.txt')", "OSError"),
        ("os.utime('/iexec_in/given.txt')", "OSError"),
        ("open('/iexec_app/script.py', 'a')", "OSError"),
        ("open('/.fairgrid/prelude.py', 'a')", "OSError"),
        ("os.symlink('/etc/passwd', 'link')", "OSError"),
        ("os.link('/iexec_in/given.txt', 'link')", "OSError"),
        ("__import__('prelude')", "ModuleNotFoundError"),
        ("__import__('socket').socket()", "OSError"),
        ("__import__('urllib.request').request.urlopen('http://127.0.0.1')", "AttributeError"),
        ("__import__('subprocess').run(['ls'])", "OSError"),
        ("__import__('threading').Thread(target=print).start()", "RuntimeError"),
        ("os.fork()", "AttributeError"),
        ("__import__('ctypes')", "ModuleNotFoundError"),
        ("open('x' * 256, 'w')", "OSError"),
        ("os.makedirs('/'.join(['d' * 200] * 6))", "OSError"),
        ("open('two\\nlines', 'w')", "OSError"),
    ],
)
async def test_what_a_job_may_not_do_fails_inside_it(run_script: RunScript, attempt: str, error: str) -> None:
    source = f"import os\ntry:\n    {attempt}\nexcept Exception as error:\n    print(type(error).__name__)"
    run = await run_script(source, inputs={"given.txt": b"given"})
    assert run.stdout == error + "\n", run.stderr


async def test_helper_modules_among_the_inputs_can_be_imported(run_script: RunScript) -> None:
    run = await run_script(
        "import helper\nprint(helper.VALUE)", inputs={"helper.py": b"VALUE = 5", "random.py": b"1/0"}
    )
    assert run.stdout == "5\n"


async def test_files_can_be_listed_renamed_truncated_and_removed(run_script: RunScript) -> None:
    run = await run_script(
        """
        import os, pathlib, shutil, sqlite3, zipfile
        os.makedirs("deep/er")
        pathlib.Path("deep/er/b").write_text("bb")
        pathlib.Path("deep/a").write_text("a")
        os.rename("deep/er", "moved")
        os.replace("deep/a", "moved/b")
        shutil.copytree("moved", "copied")
        with open("copied/b", "r+") as file:
            file.truncate(0); file.write("xyz"); file.seek(1); print(file.read())
        with open("copied/b", "a") as file: file.write("!")
        os.rmdir("deep")
        shutil.rmtree("moved")
        with sqlite3.connect("/tmp/base.db") as base:
            base.execute("create table t (n)"); base.executemany("insert into t values (?)", [(n,) for n in range(100)])
            print(base.execute("select sum(n) from t").fetchone())
        with zipfile.ZipFile("packed.zip", "w") as packed: packed.write("copied/b")
        for folder, folders, files in os.walk("."): print(folder, folders, files)
        for call in (lambda: os.rmdir("copied"), lambda: os.rename("copied", "copied/in"), lambda: os.mkdir("copied"),
                     lambda: open("copied", "w"), lambda: open("none/x", "w"), lambda: open("copied/b/x", "w")):
            try: call()
            except OSError as error: print(type(error).__name__, error.errno)
        """
    )
    assert run.stdout.splitlines() == [
        "yz",
        "(4950,)",
        ". ['copied'] ['packed.zip']",
        "./copied [] ['b']",
        "OSError 55",
        "OSError 28",
        "FileExistsError 20",
        "IsADirectoryError 31",
        "FileNotFoundError 44",
        "NotADirectoryError 54",
    ], run.stderr
    assert (run.out / "copied/b").read_text() == "xyz!"


async def test_running_beside_each_other_changes_nothing(run_script: RunScript) -> None:
    source = "import random\nopen('r', 'w').write(str([random.random() for _ in range(50_000)]))"
    runs = await asyncio.gather(*(run_script(source, folder=f"job{number}") for number in range(3)))
    assert len({(run.out / "r").read_bytes() for run in runs}) == 1
    assert len({run.outcome.fuel_used for run in runs}) == 1


async def test_wall_clock_stops_a_job_as_nobodys_result(run_script: RunScript) -> None:
    started = time.monotonic()
    run = await run_script(FOR_EVER, limits=Limits(fuel=10**15, wall_s=1.0))
    assert run.outcome.stop is Stop.WALL_CLOCK
    assert time.monotonic() - started < 8
    assert hosts() == []


async def test_host_process_that_hangs_is_killed(
    run_script: RunScript, monkeypatch: pytest.MonkeyPatch, no_leftovers: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(wasm, "_GRACE_S", 0.5)
    running = asyncio.ensure_future(run_script(FOR_EVER, limits=Limits(fuel=10**15, wall_s=2.0)))
    await until(lambda: len(hosts()) == 1)
    hosts()[0].send_signal(signal.SIGSTOP)
    run = await running
    assert run.outcome.stop is Stop.WALL_CLOCK
    assert hosts() == [] and no_leftovers() == []


async def test_cancelling_kills_the_process_and_cleans_up(
    run_script: RunScript, no_leftovers: Callable[[], list[str]]
) -> None:
    running = asyncio.ensure_future(run_script(FOR_EVER, limits=Limits(fuel=10**15)))
    await until(lambda: len(hosts()) == 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert hosts() == [] and no_leftovers() == []


async def test_host_process_that_dies_is_a_host_failure_and_not_a_result(run_script: RunScript) -> None:
    running = asyncio.ensure_future(run_script(FOR_EVER, limits=Limits(fuel=10**15)))
    await until(lambda: len(hosts()) == 1)
    hosts()[0].kill()
    run = await running
    assert run.outcome.stop is Stop.HOST and "ended with status" in run.outcome.detail


async def test_job_dies_with_the_process_that_started_it(installed_runtime: InstalledRuntime, tmp_path: Path) -> None:
    parent_source = f"""
import asyncio, sys
from pathlib import Path
from tests.runtime.conftest import job_in
from fairgrid.runtime.interface import Limits
from fairgrid.runtime.wasm.interpreters import find_runtime
sandbox = find_runtime({installed_runtime.runtime_id!r}).sandbox()
asyncio.run(sandbox.run(job_in(Path({str(tmp_path / "job")!r}), "while True: pass", limits=Limits(fuel=10**15))))
"""
    root = Path(__file__).parents[2]
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", parent_source, cwd=root)
    await until(lambda: len(hosts()) == 1)
    (host,) = hosts()
    parent.kill()
    await parent.wait()
    await until(lambda: not host.is_running() or host.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_host_process_knows_nothing_of_this_one(
    run_script: RunScript, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "tell nobody")
    running = asyncio.ensure_future(run_script(FOR_EVER, limits=Limits(fuel=10**15)))
    await until(lambda: len(hosts()) == 1)
    (host,) = hosts()
    await until(lambda: operating_system_limits(host)["Max file size"] == str((256 << 20) + (1 << 20)))
    assert set(host.environ()) <= {"PATH", "LANG", "LC_CTYPE"}
    assert os.getsid(host.pid) == host.pid == os.getpgid(host.pid)
    values = operating_system_limits(host)
    assert values["Max core file size"] == "0"
    assert int(values["Max open files"]) <= 512
    targets = []
    for name in os.listdir(f"/proc/{host.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it closed this one meanwhile
            targets.append(os.readlink(f"/proc/{host.pid}/fd/{name}"))
    assert targets
    assert not any(target.startswith("socket:") for target in targets)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_symbolic_link_among_the_inputs_is_refused(sandbox: WasmSandbox, tmp_path: Path) -> None:
    job = job_in(tmp_path / "job", "print(open('/iexec_in/link').read())")
    (job.input_folder / "link").symlink_to("/etc/passwd")
    outcome = await sandbox.run(job)
    assert outcome.stop is Stop.HOST and "neither a file nor a folder" in outcome.detail


async def test_compiled_interpreter_that_others_can_write_is_refused(
    installed_runtime: InstalledRuntime, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.cwasm"
    copy.write_bytes(installed_runtime.compiled.read_bytes())
    copy.chmod(0o666)
    job = job_in(tmp_path / "job", "print(1)")
    with pytest.raises(HostFailure, match="can be written by others"):
        await WasmSandbox(installed_runtime.wasm, python(copy), "id").run(job)


async def test_damaged_compiled_interpreter_is_a_host_failure(
    installed_runtime: InstalledRuntime, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.cwasm"
    copy.write_bytes(b"not a module" * 100)
    outcome = await WasmSandbox(installed_runtime.wasm, python(copy), "id").run(job_in(tmp_path / "job", "print(1)"))
    assert outcome.stop is Stop.HOST and "fairgrid runtime install" in outcome.detail


async def test_a_job_that_asks_for_the_network_is_not_run(sandbox: WasmSandbox, tmp_path: Path) -> None:
    job = replace(job_in(tmp_path / "job", "print(1)"), network=NetworkGrant(("*",)))
    with pytest.raises(HostFailure, match="WebAssembly has no network"):
        await sandbox.run(job)
