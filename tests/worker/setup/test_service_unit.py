"""The service file starts this very worker, is accepted by systemd where there is one, and is removed again."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from fairgrid.cli.main import main
from fairgrid.errors import HostFailure, UsageError
from fairgrid.worker.setup.service_unit import plan_service


def test_the_unit_starts_the_worker_of_the_folder_and_restarts_it_only_after_a_failure(tmp_path: Path) -> None:
    plan = plan_service(tmp_path / "worker", ("--slots", "2"), platform="linux", home=tmp_path)
    assert plan.path == tmp_path / ".config/systemd/user/fairgrid-worker.service"
    start = next(line for line in plan.text.splitlines() if line.startswith("ExecStart="))
    assert f'"--dir" "{tmp_path / "worker"}" "--slots" "2"' in start
    assert "Restart=on-failure" in plan.text and "enable-linger" in plan.hint


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    plan = plan_service(tmp_path / "my 100% $worker", ("--slots", "2"), platform="linux", home=tmp_path)
    unit = tmp_path / plan.path.name
    unit.write_text(plan.text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=50, check=False
    )
    about = [line for line in done.stderr.splitlines() if plan.path.name in line]
    assert about == [] or "Failed to" in done.stderr, done.stderr


def test_what_systemd_would_expand_is_escaped(tmp_path: Path) -> None:
    plan = plan_service(tmp_path / 'a %h $HOME "b"', (), platform="linux", home=tmp_path)
    assert r"a %%h $$HOME \"b\"" in plan.text
    with pytest.raises(UsageError, match="line break"):
        plan_service(tmp_path / "a\nExecStart=/bin/evil", (), platform="linux", home=tmp_path)


def test_two_workers_get_two_services(tmp_path: Path) -> None:
    names = {plan_service(tmp_path / name, (), platform="linux", home=tmp_path).path for name in ("worker", "second")}
    assert len(names) == 2


def test_launchd_gets_the_same_command(tmp_path: Path) -> None:
    plan = plan_service(tmp_path / "worker", ("--slots", "2"), platform="darwin", home=tmp_path)
    document = plistlib.loads(plan.text.encode())
    assert document["ProgramArguments"][-2:] == ["--slots", "2"] and document["RunAtLoad"] is True


def test_another_system_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="at login"):
        plan_service(tmp_path / "worker", (), platform="win32", home=tmp_path)


def test_the_command_writes_shows_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    folder = tmp_path / "worker"

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["worker", "install-service", "--dir", str(folder), *arguments])
        captured = capsys.readouterr()
        return int(str(ended.value.code)), captured.out, captured.err

    unit = tmp_path / ".config/systemd/user/fairgrid-worker.service"
    code, text, _ = run("--print")
    assert code == 0 and "[Service]" in text and not unit.exists()
    code, _, error = run()
    assert code == 2 and "Start the worker once" in error
    folder.mkdir()
    (folder / "network.json").write_text("{}")
    code, _, error = run()
    assert code == 0 and unit.read_text().startswith("[Unit]") and "systemctl --user enable" in error
    code, _, error = run("--remove")
    assert code == 0 and not unit.exists() and "disable --now" in error
    assert run("--remove")[0] == 2


def test_the_system_waits_as_long_as_the_owner_lets_the_worker_finish(tmp_path: Path) -> None:
    for platform, line in (("linux", "TimeoutStopSec=630\n"), ("darwin", "<integer>630</integer>")):
        plan = plan_service(tmp_path / "worker", (), platform=platform, home=tmp_path, stop_within_s=600)
        assert line in plan.text
    assert "TimeoutStopSec=30\n" in plan_service(tmp_path, (), platform="linux", home=tmp_path).text
