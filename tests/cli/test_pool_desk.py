"""Options that all of an operator's commands have are declared once, and reach each command as one desk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from fairgrid.cli.main import command_line
from fairgrid.cli.pool_desk import PoolDesk, operator_command
from fairgrid.errors import UsageError


class Answer(BaseModel):
    count: int


def asking(seen: list[PoolDesk]) -> typer.Typer:
    """A group with one command, which keeps the desks that it gets."""
    group = typer.Typer()

    @group.callback()
    def _group() -> None:
        """Look, or act."""

    @operator_command(group, "look")
    def look(
        desk: PoolDesk,
        worker: Annotated[str, typer.Argument()],
        limit: Annotated[int, typer.Option()] = 3,
    ) -> None:
        """Look at a worker."""
        seen.append(desk)
        desk.say(Answer(count=limit), f"{worker}: {limit}")

    return group


def test_a_command_has_its_own_options_and_those_of_the_desk(tmp_path: Path) -> None:
    seen: list[PoolDesk] = []
    arguments = ["look", "0x12", "--dir", str(tmp_path), "--url", "http://a", "--url", "http://b", "--limit", "7"]
    done = CliRunner().invoke(asking(seen), arguments)
    assert done.exit_code == 0, done.output
    assert seen == [PoolDesk(directory=tmp_path, url=["http://a", "http://b"], key=None, network=None, as_json=False)]
    assert done.stderr == "0x12: 7\n" and done.stdout == ""


def test_json_goes_to_stdout_and_the_environment_names_the_folder(tmp_path: Path) -> None:
    seen: list[PoolDesk] = []
    environment = {"FAIRGRID_POOL_DIR": str(tmp_path)}
    done = CliRunner().invoke(asking(seen), ["look", "0x12", "--json"], env=environment)
    assert seen[0].directory == tmp_path
    assert json.loads(done.stdout) == {"status": "ok", "answer": {"count": 3}} and done.stderr == ""


def test_an_unknown_option_and_a_missing_argument_are_refused() -> None:
    assert CliRunner().invoke(asking([]), ["look", "0x12", "--nonsense"]).exit_code == 2
    assert CliRunner().invoke(asking([]), ["look"]).exit_code == 2


def test_a_folder_without_a_key_is_named_with_the_remedy(tmp_path: Path) -> None:
    desk = PoolDesk(directory=tmp_path, url=None, key=None, network=None, as_json=False)
    with pytest.raises(UsageError, match=f"no key at {tmp_path}.*--dir.*--as"):
        desk.ask(lambda client: client.status())


@pytest.mark.parametrize("command", ["status", "tasks", "drain", "ban", "handover"])
def test_every_command_of_an_operator_takes_the_same_options(command: str) -> None:
    help_ = CliRunner().invoke(command_line, ["pool", command, "--help"], env={"COLUMNS": "200"}).output
    assert all(option in help_ for option in ("--dir", "--url", "--as", "--network", "--json"))
