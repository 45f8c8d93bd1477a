"""The same job gives the same bits, fuel included, whatever the machine around it looks like."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from fairgrid.runtime.interface import Limits, Outcome, SandboxJob
from fairgrid.runtime.wasm.sandbox import WasmSandbox
from tests.runtime.conftest import SEED, RunScript

CURIOUS = textwrap.dedent(
    '''
    """Writes down everything that could tell one machine from another."""
    import datetime, gc, glob, hashlib, io, locale, os, pathlib, platform, random, secrets, sys, sysconfig
    import tempfile, time, uuid, warnings

    seen = {}
    def note(name, function):
        try:
            seen[name] = repr(function())
        except BaseException as error:
            seen[name] = f"{type(error).__name__}: {error}"

    note("random", lambda: [random.random(), random.getrandbits(200), random.sample(range(1000), 20)])
    note("urandom", lambda: [os.urandom(40), secrets.token_hex(), random.SystemRandom().random()])
    note("uuid", lambda: [uuid.uuid1(), uuid.uuid4(), uuid.getnode()])
    note("hash", lambda: [hash("text"), hash(b"bytes"), hash((1, "x")), hash(object()), id(object())])
    note("sets", lambda: [{str(n) for n in range(50)}, frozenset("determinism")])
    note("time", lambda: [time.time(), time.time_ns(), time.monotonic(), time.perf_counter(), time.process_time()])
    note("dates", lambda: [datetime.datetime.now(), datetime.date.today(), time.localtime(), time.tzname])
    note("sleep", lambda: [time.sleep(1000), time.time()])
    note("walk", lambda: list(os.walk("/iexec_in")))
    note("listdir", lambda: [os.listdir("/iexec_in"), os.listdir("/iexec_app"), os.listdir(".")])
    note("scandir", lambda: [(e.name, e.inode(), e.is_file(), tuple(e.stat())) for e in os.scandir("/iexec_in")])
    note("glob", lambda: glob.glob("/iexec_in/**", recursive=True))
    note("pathlib", lambda: [(p, tuple(p.stat()), p.lstat().st_mtime_ns) for p in pathlib.Path("/iexec_in").rglob("*")])
    note("fstat", lambda: [tuple(os.fstat(n)) for n in range(3)] + [tuple(os.fstat(open("/iexec_in/b").fileno()))])
    note("mounts", lambda: [tuple(os.stat(p)) for p in ("/iexec_in", "/iexec_out", "/iexec_app", "/tmp", "/.fairgrid")])
    note("own", lambda: (pathlib.Path("own").write_text("x"), tuple(os.stat("own"))))
    note("temporary", lambda: tempfile.mkdtemp())
    note("environment", lambda: sorted(os.environ.items()))
    note("process", lambda: [os.getpid(), os.getcwd(), sys.argv, sys.orig_argv, sys.path, sys.executable, sys.flags])
    note("platform", lambda: [platform.uname(), platform.platform(), sys.version, os.cpu_count(), platform.node()])
    note("locale", lambda: [locale.getlocale(), sys.getfilesystemencoding(), io.text_encoding(None)])
    note("configuration", lambda: sorted(sysconfig.get_config_vars().items(), key=str))
    note("modules", lambda: sorted(sys.modules))
    note("collector", lambda: [gc.get_stats(), gc.get_count(), len(gc.get_objects())])
    note("floats", lambda: [__import__("math").sin(n * 0.1) for n in range(100)] + [float("nan") * -1, 0.1 + 0.2])
    note("bits", lambda: __import__("struct").pack("<d", float("inf") - float("inf")).hex())
    note("source", lambda: hashlib.sha256(open(__file__, "rb").read()).hexdigest())
    with open("seen.txt", "w", encoding="utf-8") as file:
        for name, value in seen.items():
            print(name, value, file=file)
    '''
)
KNOWN_FUEL = 356_956_720
FILES = {"b": b"two", "a": b"one", "ü/ä.txt": b"three", "ü/z": b"", "0x" + "ab" * 32: b"four"}


def lay_out(base: Path, *, names: list[str], times: float) -> SandboxJob:
    """A job whose inputs are written in the given order and carry the given times."""
    for part in ("app", "in", "out"):
        (base / part).mkdir(parents=True)
    script = base / "app" / "curious.py"
    script.write_text(CURIOUS, encoding="utf-8")
    for name in names:
        target = base / "in" / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(FILES[name])
        target.chmod(0o600 if times > 1e9 else 0o666)
        os.utime(target, (times, times))
    return SandboxJob(
        script=script,
        arguments=("x",),
        input_folder=base / "in",
        output_folder=base / "out",
        environment={"IEXEC_IN": "/iexec_in", "IEXEC_OUT": "/iexec_out", "IEXEC_TASK_INDEX": "0"},
        seed=SEED,
        limits=Limits(fuel=30_000_000_000, wall_s=50.0),
    )


async def run(sandbox: WasmSandbox, job: SandboxJob) -> tuple[Outcome, str]:
    outcome = await sandbox.run(job)
    assert outcome.exit_code == 0, outcome
    return outcome, (job.output_folder / "seen.txt").read_text("utf-8")


async def test_two_machines_see_the_same_world(
    sandbox: WasmSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = lay_out(tmp_path / "m", names=list(FILES), times=1_000.0)
    first, seen_first = await run(sandbox, here)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("PYTHONHASHSEED", "5")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HOSTNAME", "elsewhere")
    monkeypatch.chdir(tmp_path)
    there = lay_out(tmp_path / "another machine" / ("long" * 30), names=list(FILES)[::-1], times=2_000_000_000.5)
    second, seen_second = await run(sandbox, there)
    assert seen_first == seen_second
    assert (first.stdout, first.stderr) == (second.stdout, second.stderr)
    assert first.fuel_used == second.fuel_used
    assert first.peak_memory_bytes == second.peak_memory_bytes
    for leak in (str(tmp_path), "Auckland", "elsewhere"):
        assert leak not in seen_first


async def test_another_seed_changes_what_is_random_and_nothing_else(sandbox: WasmSandbox, tmp_path: Path) -> None:
    first_job = lay_out(tmp_path / "a", names=list(FILES), times=0.0)
    base = lay_out(tmp_path / "b", names=list(FILES), times=0.0)
    second_job = SandboxJob(
        script=base.script,
        arguments=base.arguments,
        input_folder=base.input_folder,
        output_folder=base.output_folder,
        environment=base.environment,
        seed=bytes(32),
        limits=base.limits,
    )
    _, first = await run(sandbox, first_job)
    _, second = await run(sandbox, second_job)
    different = {
        one.split(" ", 1)[0] for one, two in zip(first.splitlines(), second.splitlines(), strict=True) if one != two
    }
    assert {"random", "urandom", "uuid", "hash"} <= different
    assert different.isdisjoint({"walk", "listdir", "scandir", "glob", "fstat", "environment", "floats", "source"})


async def test_files_list_in_byte_order_with_numbers_of_our_own(run_script: RunScript) -> None:
    source = "import os\nprint([(e.name, e.inode()) for e in os.scandir('/iexec_in')])\nprint(os.stat('/iexec_in/a'))"
    done = await run_script(source, inputs={"é": b"", "b": b"", "a": b"xy", "Z": b""})
    assert done.stdout == (
        "[('Z', 3), ('a', 4), ('b', 5), ('é', 6)]\n"
        "os.stat_result(st_mode=32768, st_ino=4, st_dev=1, st_nlink=1, st_uid=0, st_gid=0, st_size=2, "
        "st_atime=1700000000, st_mtime=1700000000, st_ctime=1700000000)\n"
    )


async def test_clock_starts_at_its_epoch_and_passes_by_reads_and_sleeps_only(run_script: RunScript) -> None:
    done = await run_script(
        """
        import time
        first, second = time.time_ns(), time.time_ns()
        print(first // 10**9, second - first)
        time.sleep(86_400)
        print((time.time_ns() - second) // 10**9, time.monotonic_ns() > 1_700_086_400 * 10**9)
        """
    )
    assert done.stdout.splitlines() == ["1700000000 1000", "86400 True"]
    assert done.outcome.wall_s < 20


async def test_random_bytes_are_the_documented_stream(run_script: RunScript) -> None:
    """CPython takes 24 bytes for its hash secret before the script runs; the stream goes on from wherever it is."""
    import hashlib

    done = await run_script("import os\nprint(os.urandom(64).hex())")
    stream = b"".join(hashlib.sha256(SEED + number.to_bytes(8, "big")).digest() for number in range(400))
    assert bytes.fromhex(done.stdout) in stream


async def test_fuel_of_a_known_job_is_the_one_of_every_machine(run_script: RunScript) -> None:
    """Engine, interpreter, prelude and system calls make the runtime id: if this number must change, the id must.

    It was measured on one machine and holds on any other with the same runtime id.
    """
    done = await run_script("print(sum(n * n for n in range(1000)))")
    assert done.stdout == "332833500\n"
    assert done.outcome.fuel_used == KNOWN_FUEL
