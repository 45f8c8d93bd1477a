"""`fairgrid app publish` and `fairgrid run --app`: what is refused before a network is asked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fairgrid.cli.app import app
from fairgrid.cli.money_desk import MoneyDesk
from fairgrid.cli.run import app as runs
from fairgrid.errors import UsageError
from tests.internet import PUBLIC_NAME, internet
from tests.needs import need


class Terminal:
    """Standard input on which somebody sits."""

    def __init__(self, answer: str, *, is_there: bool = True) -> None:
        self._answer = answer
        self._is_there = is_there

    def isatty(self) -> bool:
        return self._is_there

    def readline(self) -> str:
        return self._answer


@pytest.mark.parametrize("answer", ["y\n", "Yes\n"])
def test_who_agrees_signs(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    MoneyDesk().agree()


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "maybe\n"])
def test_who_does_not_agree_signs_nothing(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    with pytest.raises(UsageError, match="Nothing was signed"):
        MoneyDesk().agree()


def test_where_nobody_can_be_asked_nothing_is_signed_without_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n", is_there=False))
    with pytest.raises(UsageError, match="Add --yes"):
        MoneyDesk().agree()
    MoneyDesk(yes=True).agree()


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--price", "5"], "with its unit"), (["--price", "-1 RLC"], "is not an amount")],
)
def test_price_without_a_unit_is_refused(tmp_path: Path, options: list[str], said: str) -> None:
    (tmp_path / "app.toml").write_text('name = "tool"\nprogram = "tool.py"\n')
    (tmp_path / "tool.py").write_text("print(1)")
    result = CliRunner().invoke(app, ["publish", str(tmp_path), "--yes", *options])
    assert result.exit_code != 0 and said in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name a program, such as"),
        (["job.py", "--app", "0x" + "11" * 20], "Name a program, such as"),
        (["--app", "nonsense"], "is no address"),
        (["--app", "0x" + "11" * 20, "--runtime", "oci/linux-x86_64"], "leave --runtime out"),
    ],
)
def test_run_takes_a_program_or_a_published_app(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(runs, arguments)
    assert result.exit_code != 0 and said in str(result.exception)


FETCH = """\
#!/usr/bin/python3
import os, urllib.request
fetched = urllib.request.urlopen("http://public.example.org/table", timeout=30).read()
with open(os.path.join(os.environ["IEXEC_OUT"], "fetched.txt"), "wb") as out:
    out.write(fetched)
"""


@pytest.mark.timeout(120)
def test_a_project_reaches_in_its_own_test_the_host_that_it_names_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(sys.platform == "linux" and os.uname().machine == "x86_64", "native programs are for Linux on x86-64 here")
    need(Path("/usr/bin/python3").exists(), "/usr/bin/python3 is what the program runs in (apt install python3)")
    (tmp_path / "fetch.sh").write_text(FETCH)
    with internet(monkeypatch) as world:
        for host, code in ((PUBLIC_NAME, 0), ("other.example.org", 1)):
            (tmp_path / "app.toml").write_text(f'name = "tool"\nprogram = "fetch.sh"\nreach = ["{host}"]\n')
            result = CliRunner().invoke(app, ["test", str(tmp_path), "--json"])
            assert result.exit_code == code, result.output
    assert [path for path, _ in world.asked] == ["/table"]
