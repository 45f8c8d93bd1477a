"""What the machine says of itself: real sources here, and what each answer means."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from fairgrid.worker.owner import readings as module
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.owner.readings import MachineSensors, idle_time


def test_only_what_the_policy_asks_for_is_read(tmp_path: Path) -> None:
    read = MachineSensors(tmp_path).read(WorkerPolicy())
    assert (read.idle_s, read.other_load_percent, read.on_mains, read.temperature_c) == (None, None, None, None)
    assert read.used_disk_bytes is None
    assert read.free_disk_bytes is not None and read.free_disk_bytes > 0


def test_the_disk_that_cache_and_jobs_take_is_counted_and_a_file_with_two_names_once(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "tasks").mkdir()
    (tmp_path / "cache" / "a").write_bytes(b"x" * 1_000)
    os.link(tmp_path / "cache" / "a", tmp_path / "tasks" / "a")
    (tmp_path / "worker.sqlite").write_bytes(b"x" * 10_000)
    assert MachineSensors(tmp_path).read(WorkerPolicy(disk_bytes=1 << 20)).used_disk_bytes == 1_000


def test_a_busy_stranger_counts_as_load_and_own_work_does_not(tmp_path: Path) -> None:
    sensors, policy = MachineSensors(tmp_path), WorkerPolicy(max_other_load_percent=10)
    assert sensors.read(policy).other_load_percent is None, "one look says nothing"
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        pass
    mine = sensors.read(policy).other_load_percent
    code = "import time; b = time.monotonic()\nwhile time.monotonic() - b < 30: pass"
    stranger = subprocess.Popen(
        [sys.executable, "-c", f"import os\nif os.fork(): os._exit(0)\n{code}"], start_new_session=True
    )
    stranger.wait(20)
    orphans = [process for process in psutil.process_iter(["cmdline"]) if code in str(process.info["cmdline"])]
    try:
        time.sleep(1.5)
        others = sensors.read(policy).other_load_percent
    finally:
        for orphan in orphans:
            orphan.kill()
    assert mine is not None and others is not None
    cores = psutil.cpu_count() or 1
    assert others >= 0.3 * 100 / cores, "a whole processor was busy with something else"


def test_without_any_source_idleness_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise subprocess.TimeoutExpired("loginctl", 2)

    for name in ("_terminals", "_login_manager", "_x_server", "_mac_hid"):
        monkeypatch.setattr(module, name, fails)
    idle, source = idle_time()
    assert idle is None and "tell" in source


def test_terminals_do_not_speak_for_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_login_manager", lambda: None)
    monkeypatch.setattr(module, "_x_server", lambda: None)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert idle_time()[0] is not None
    monkeypatch.setenv("DISPLAY", ":0")
    assert idle_time()[0] is None


def test_the_newest_sign_of_life_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_terminals", lambda: (500.0, "terminals"))
    monkeypatch.setattr(module, "_login_manager", lambda: (20.0, "loginctl"))
    assert idle_time() == (20.0, "loginctl")


def test_a_session_without_a_seat_is_nobody_at_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"1": "Seat=seat0\nIdleHint=no\nIdleSinceHint=0\n", "2": "Seat=\nIdleHint=no\nIdleSinceHint=0\n"}
    monkeypatch.setattr("shutil.which", lambda name: name)

    def answer(sessions: str) -> float:
        monkeypatch.setattr(
            module, "_output", lambda *command: sessions if "list-sessions" in command else shown[command[2]]
        )
        found = module._login_manager()
        assert found is not None
        return found[0]

    assert answer("1 1000 me seat0\n") == 0.0
    assert answer("2 1000 me\n") == float("inf")


@pytest.mark.parametrize(
    ("battery", "mains"),
    [(None, True), (SimpleNamespace(power_plugged=False), False), (SimpleNamespace(power_plugged=None), None)],
)
def test_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, battery: object, mains: bool | None) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery)
    assert MachineSensors(tmp_path).read(WorkerPolicy(only_on_mains=True)).on_mains is mains


def test_the_hottest_sensor_counts_and_none_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sensors = {"cpu": [SimpleNamespace(current=61.0), SimpleNamespace(current=70.5)], "disk": []}
    policy = WorkerPolicy(max_temperature_c=80)
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors)
    assert MachineSensors(tmp_path).read(policy).temperature_c == 70.5
    monkeypatch.setattr(psutil, "sensors_temperatures", dict)
    assert MachineSensors(tmp_path).read(policy).temperature_c is None
