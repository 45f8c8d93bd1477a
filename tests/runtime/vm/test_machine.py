"""Jobs in real machines under QEMU."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Limits, SandboxJob, Stop
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.vm import self_test
from fairgrid.runtime.vm.provider import provider
from fairgrid.runtime.vm.runtimes import VM_RUNTIMES
from fairgrid.runtime.vm.sandbox import NO_RESULT_EXIT, UNUSABLE_EXIT, VmSandbox
from fairgrid.runtime.watch import JobWatch
from tests.needs import need
from tests.runtime.vm.conftest import RunMachine


def machines() -> list[psutil.Process]:
    """QEMUs that this process started."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.name().startswith("qemu-system") and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 - nobody could tell
            await asyncio.sleep(0.05)


async def test_a_job_reads_its_inputs_and_writes_its_outputs(run_machine: RunMachine, tmp_path: Path) -> None:
    script = """
    echo "$1|$2|$QUOTED"
    echo oops >&2
    mkdir sub; cat $IEXEC_IN/main.sh | wc -l > sub/lines
    ls $IEXEC_IN; ls /sys/class/net; date +%s | cut -c1-7; id -u
    exit 7
    """
    outcome = await run_machine(script)
    assert (outcome.stop, outcome.exit_code, outcome.stderr) == (Stop.EXITED, 7, b"oops\n")
    lines = outcome.stdout.decode().splitlines()
    # No part of the image among the inputs; no network but the loopback; the clock of every job.
    assert lines == ["a b|ü|it's $HOME", "main.sh", "lo", "1700000", "0"]
    assert (tmp_path / "out/sub/lines").read_text().strip() == "6"
    assert outcome.written_bytes == 2 and outcome.cpu_s > 0.5 and outcome.peak_memory_bytes > 32 << 20
    assert {path.name for path in tmp_path.iterdir()} == {"app", "in", "out"}


async def test_a_machine_that_never_ends_is_ended_at_the_wall_clock_limit(run_machine: RunMachine) -> None:
    outcome = await run_machine("while :; do :; done", limits={"wall_s": 15.0})
    assert outcome.stop is Stop.WALL_CLOCK
    assert not machines()
    # What it took until then is told, too.
    assert outcome.cpu_s > 0.5 and outcome.peak_memory_bytes > 32 << 20


async def test_a_machine_that_computes_too_long_is_ended_at_the_limit_of_processor_time(
    run_machine: RunMachine,
) -> None:
    outcome = await run_machine("while :; do :; done", limits={"cpu_s": 12.0})
    assert (outcome.stop, outcome.detail) == (Stop.CPU, "processor time") and not machines()
    # The kernel ends it at a whole second; looking is up to it.
    assert 12 <= outcome.cpu_s < 16 and outcome.wall_s < 190 and outcome.peak_memory_bytes > 32 << 20


async def test_a_jobs_processes_are_its_own_kernels_and_not_this_machines(
    sandbox: VmSandbox, job_for: Callable[..., SandboxJob]
) -> None:
    script = """
    n=0; while [ $n -lt 400 ]; do sleep 600 & n=$((n + 1)); done
    ls -d /proc/[0-9]*/exe | wc -l >/dev/ttyS1; echo begun >/dev/ttyS0
    sleep 5; kill $(jobs -p); echo ended
    """
    running = asyncio.ensure_future(sandbox.run(job_for(script, limits={"processes": 64})))
    await until(machines)
    most = [0, 0]
    while not running.done():
        for machine in machines():
            with contextlib.suppress(psutil.NoSuchProcess):
                most = [max(most[0], machine.num_threads()), max(most[1], len(machine.children()))]
        await asyncio.sleep(0.05)
    outcome = running.result()
    assert outcome.stop is Stop.EXITED and int(outcome.stdout.split()[0]) >= 400, outcome
    # One thread for each processor, and a few for the devices.
    assert 0 < most[0] < 80 and most[1] == 0


async def test_a_machine_that_ends_without_a_result_says_what_its_console_said(run_machine: RunMachine) -> None:
    outcome = await run_machine("echo dying >/dev/ttyS0; reboot -f")
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, NO_RESULT_EXIT)
    assert b"dying" in outcome.stderr and b"fairgrid-out" in outcome.stderr


async def test_a_kernel_that_panics_before_the_image_runs_is_the_machines_failure_and_no_result(
    sandbox: VmSandbox, job_for: Callable[..., SandboxJob]
) -> None:
    job = job_for("")
    # Leaving out a part of the kernel's own start makes it fail as broken hardware would.
    words = {"kernel": "vmlinuz", "initrd": "initrd.img", "append": "initcall_blacklist=init_bio"}
    job.script.write_text(json.dumps({"fairgrid": "vm/1", **words}))
    outcome = await sandbox.run(job)
    assert outcome.stop is Stop.HOST and "panicked before it started the image" in outcome.detail


async def test_a_job_that_crashes_its_own_kernel_has_that_as_its_result(run_machine: RunMachine) -> None:
    crashed = await run_machine("echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger")
    assert (crashed.stop, crashed.exit_code) == (Stop.EXITED, NO_RESULT_EXIT) and b"Kernel panic" in crashed.stderr


async def test_more_output_than_allowed_is_the_limit_of_output(run_machine: RunMachine) -> None:
    outcome = await run_machine("dd if=/dev/zero of=big bs=1M count=5 2>/dev/null", limits={"output_bytes": 4 << 20})
    assert outcome.stop is Stop.OUTPUT


async def test_more_log_than_allowed_is_cut(run_machine: RunMachine) -> None:
    outcome = await run_machine("yes | head -c 5000; echo end >&2", limits={"log_bytes": 1000})
    assert outcome.exit_code == 0 and outcome.stdout.startswith(b"y\n" * 500 + b"\n[fairgrid: cut here")


async def test_an_image_that_cannot_be_booted_is_told_as_the_jobs_error(
    sandbox: VmSandbox, job_for: Callable[..., SandboxJob]
) -> None:
    job = job_for("")
    (job.input_folder / "vmlinuz").write_bytes(b"not a kernel")
    outcome = await sandbox.run(job)
    assert (outcome.exit_code, outcome.stop) == (UNUSABLE_EXIT, Stop.EXITED) and b"bzImage" in outcome.stderr
    (job.input_folder / "vmlinuz").unlink()
    outcome = await sandbox.run(job)
    assert outcome.exit_code == UNUSABLE_EXIT and b"no input of the job has that name" in outcome.stderr


async def test_a_job_that_asks_for_the_network_is_not_run(
    sandbox: VmSandbox, job_for: Callable[..., SandboxJob]
) -> None:
    with pytest.raises(HostFailure, match="no network card"):
        await sandbox.run(replace(job_for(""), network=NetworkGrant(("*",))))


async def test_who_looks_on_sees_the_jobs_output_grow(
    sandbox: VmSandbox, job_for: Callable[..., SandboxJob], tmp_path: Path
) -> None:
    live = tmp_path / "live"
    live.mkdir()
    running = asyncio.ensure_future(sandbox.run(job_for("echo begun; sleep 600", watch=JobWatch(live))))
    await until(lambda: (live / "stdout").exists() and b"begun" in (live / "stdout").read_bytes())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not machines()


async def test_a_suspended_machine_stands_still_and_goes_on(
    sandbox: VmSandbox, job_for: Callable[..., SandboxJob]
) -> None:
    running = asyncio.ensure_future(sandbox.run(job_for("echo ok")))
    await until(machines)
    assert sandbox.suspend()
    (machine,) = machines()
    await until(lambda: machine.status() == psutil.STATUS_STOPPED)
    before = machine.cpu_times().user
    await asyncio.sleep(1.0)
    assert machine.cpu_times().user - before < 0.1
    sandbox.resume()
    assert (await running).stdout == b"ok\n"


async def test_machines_killed_at_random_moments_leave_nothing(
    sandbox: VmSandbox, job_for: Callable[..., SandboxJob], tmp_path: Path
) -> None:
    job = job_for("sleep 600")
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(12):
        running = asyncio.ensure_future(sandbox.run(job))
        await asyncio.sleep(0.02 + number * 0.07)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert not machines()
    assert {path.name for path in tmp_path.iterdir()} == {"app", "in", "out"}
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1


async def test_two_runs_of_one_job_agree(run_machine: RunMachine, sandbox: VmSandbox, tmp_path: Path) -> None:
    script = "cat /job/seed; awk 'BEGIN { srand(1); for (i = 0; i < 5; i++) print rand() }' > numbers"
    first = await run_machine(script)
    numbers = (tmp_path / "out/numbers").read_bytes()
    for name in ("app", "in", "out"):
        shutil.move(tmp_path / name, tmp_path / f"old-{name}")
    (tmp_path / "out").mkdir()
    shutil.move(tmp_path / "old-app", tmp_path / "app")
    shutil.move(tmp_path / "old-in", tmp_path / "in")
    again = await sandbox.run(
        SandboxJob(
            script=tmp_path / "app" / "image.vm.json",
            arguments=(),
            input_folder=tmp_path / "in",
            output_folder=tmp_path / "out",
            environment={"IEXEC_IN": "/iexec_in", "IEXEC_OUT": "/iexec_out"},
            seed=bytes(range(32)),
            limits=Limits(fuel=1, memory_bytes=128 << 20, wall_s=200.0),
        )
    )
    assert again.stdout == first.stdout == (bytes(range(32)).hex() + "\n").encode()
    assert (tmp_path / "out/numbers").read_bytes() == numbers and numbers


async def test_the_self_test_boots_a_guest_and_says_with_what() -> None:
    need(shutil.which("qemu-system-x86_64"), "no qemu-system-x86_64 (make system-deps)")
    probe = await provider(VM_RUNTIMES[0]).probe()
    assert probe.works and probe.start_ms > 10
    assert "KVM" in probe.detail or "emulation" in probe.detail


async def test_an_accelerator_that_hangs_or_is_missing_is_not_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "qemu-system-x86_64"
    fake.write_text('#!/bin/sh\ncase "$*" in *kvm*) exec sleep 600;; *) exit 33;; esac\n')
    fake.chmod(0o755)
    monkeypatch.setattr(self_test, "_KVM_S", 0.3)
    monkeypatch.setattr(os, "access", lambda *_: True)
    found = await self_test.find_accelerator(str(fake))
    assert found.accelerator == "tcg" and "did not run within" in found.detail
    broken = tmp_path / "other"
    broken.write_text("#!/bin/sh\necho no guest >&2; exit 1\n")
    broken.chmod(0o755)
    found = await self_test.find_accelerator(str(broken))
    assert found.accelerator == "" and "no guest" in found.detail


async def test_a_machine_without_qemu_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    probe = await provider(VM_RUNTIMES[0]).probe()
    assert not probe.works and "qemu-system-x86" in probe.remedy
    with pytest.raises(HostFailure, match="apt install"):
        provider(VM_RUNTIMES[0]).sandbox()


async def test_a_machine_takes_no_more_memory_than_it_was_given(run_machine: RunMachine) -> None:
    script = "awk 'BEGIN { for (i = 0; ; i++) a[i] = sprintf(\"%1000s\", i) }'; echo after"
    outcome = await run_machine(script, limits={"memory_bytes": 96 << 20})
    # Its kernel ends the program; QEMU itself takes some more.
    assert outcome.stop is Stop.EXITED and outcome.peak_memory_bytes < (96 + 200) << 20


async def test_many_files_are_the_limit_of_files(run_machine: RunMachine) -> None:
    outcome = await run_machine("for n in 1 2 3 4 5 6; do : > f$n; done", limits={"output_files": 5})
    assert (outcome.stop, outcome.detail) == (Stop.OUTPUT, "files")
