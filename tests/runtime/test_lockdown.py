"""What a process has given up after it locked itself down: tried in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fairgrid.runtime.interface import Limits
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.lockdown import locks_here
from tests.needs import need
from tests.runtime.modules import command, module_job, module_sandbox

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="Landlock and seccomp are Linux's"
)

ATTEMPTS = """
import ctypes, json, os, signal, socket, sys, threading
from pathlib import Path
from fairgrid.runtime.wasm.lockdown import lock_calls, lock_files

inside, outside, parent = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
locks = [lock_files(read=[inside / "given"], write=[inside / "work"]), lock_calls()]
found = {}

def tried(name, call):
    try:
        call()
        found[name] = "done"
    except OSError as error:
        found[name] = type(error).__name__
    except RuntimeError as error:
        found[name] = "RuntimeError"

def system_call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")

tried("read given", lambda: (inside / "given").read_bytes())
tried("write given", lambda: (inside / "given").write_bytes(b""))
tried("write work", lambda: (inside / "work" / "new").write_bytes(b"x"))
tried("move", lambda: (inside / "work" / "new").rename(inside / "work" / "moved"))
tried("thread", lambda: threading.Thread(target=print, args=("",)).start())
tried("read secret", lambda: (outside / "secret").read_bytes())
tried("read passwd", lambda: Path("/etc/passwd").read_bytes())
tried("read environ", lambda: Path(f"/proc/{parent}/environ").read_bytes())
tried("list", lambda: os.listdir(outside))
tried("write outside", lambda: (outside / "new").write_bytes(b""))
tried("tcp", lambda: socket.socket())
tried("udp", lambda: socket.socket(type=socket.SOCK_DGRAM))
tried("unix", lambda: socket.socket(socket.AF_UNIX))
tried("pair", lambda: socket.socketpair())
tried("fork", os.fork)
tried("exec", lambda: os.execv("/bin/true", ["true"]))
tried("kill", lambda: os.kill(parent, 0))
tried("ptrace", lambda: system_call(101, 16, parent, 0, 0))
tried("mount", lambda: system_call(165, b"none", b"/mnt", b"tmpfs", 0, 0))
tried("unshare", lambda: system_call(272, 0x10000000))
tried("bpf", lambda: system_call(321, 0, 0, 0))
tried("io_uring", lambda: system_call(425, 1, 0))
tried("setuid", lambda: os.setuid(0))
tried("chroot", lambda: os.chroot("/"))
tried("memory of another", lambda: system_call(310, parent, 0, 0, 0, 0, 0))
sys.stdout.write(json.dumps([locks, found]))
sys.stdout.flush()
os._exit(0)
"""


def test_a_locked_process_keeps_its_own_files_and_threads_and_loses_everything_else(tmp_path: Path) -> None:
    need(len(locks_here()) == 3, f"this kernel has only: {', '.join(locks_here())}")
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    (inside / "work").mkdir(parents=True)
    outside.mkdir()
    (inside / "given").write_text("given")
    (outside / "secret").write_text("secret")
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        attempt = [sys.executable, "-c", ATTEMPTS, str(inside), str(outside), str(sleeper.pid)]
        done = subprocess.run(attempt, capture_output=True, timeout=50, check=False)
    finally:
        sleeper.kill()
        sleeper.wait()
    assert done.returncode == 0, done.stderr.decode()
    locks, found = json.loads(done.stdout.splitlines()[-1])
    assert locks == [True, True]
    allowed = {name for name, what in found.items() if what == "done"}
    assert allowed == {"read given", "write work", "move", "thread"}, found
    assert len(found) == 25


def status_of(process: int) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def test_every_thread_of_a_jobs_process_is_behind_the_locks(tmp_path: Path) -> None:
    need(len(locks_here()) == 3, f"this kernel has only: {', '.join(locks_here())}")
    for_ever = command("(loop $again (br $again))")
    job = module_job(tmp_path / "job", for_ever, limits=Limits(fuel=1, wall_s=40.0))
    running = asyncio.ensure_future(module_sandbox(tmp_path / "cache", EngineClass.FAST).run(job))
    try:
        async with asyncio.timeout(40):
            while True:
                hosts = []
                for child in psutil.Process().children():
                    with contextlib.suppress(psutil.Error):  # compilers come and go
                        if "fairgrid.runtime.wasm.host" in child.cmdline() and len(child.threads()) >= 3:
                            hosts.append(child)
                if hosts:
                    break
                await asyncio.sleep(0.05)
        statuses = [status_of(thread.id) for thread in hosts[0].threads()]
        assert {(status["Seccomp"], status["NoNewPrivs"]) for status in statuses} == {("2", "1")}
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
