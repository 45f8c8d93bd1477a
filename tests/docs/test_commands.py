"""What the documentation says of commands, options, exit codes and errors is what the program has."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import fairgrid.errors
from fairgrid.cli.main import command_line
from fairgrid.cli.output import INTERRUPTED, UNEXPECTED
from fairgrid.errors import FairgridError

REPOSITORY = Path(__file__).parents[2]
COMMANDS_PAGE = REPOSITORY / "docs" / "commands.md"
README = REPOSITORY / "README.md"
PAGES = [README, REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
ERRORS: list[type[FairgridError]] = [getattr(fairgrid.errors, name) for name in fairgrid.errors.__all__]


def root() -> Any:
    """The command line, as the program builds it."""
    return typer.main.get_command(command_line)


def leaves() -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    for name in root().list_commands(None):
        command = root().get_command(None, name)
        if hasattr(command, "list_commands"):
            for member in command.list_commands(None):
                yield f"fairgrid {name} {member}", command.get_command(None, member)
        else:
            yield f"fairgrid {name}", command


LEAVES = list(leaves())


def find(words: list[str]) -> tuple[Any, list[str]]:
    """The command that ``words`` (without `fairgrid`) name, and what is left of them."""
    command, rest = root(), list(words)
    while rest and hasattr(command, "list_commands"):
        found = command.get_command(None, rest[0])
        assert found is not None, f"there is no command {rest[0]!r} in `fairgrid {' '.join(words)}`"
        command, rest = found, rest[1:]
    return command, rest


def fenced_lines(text: str) -> Iterator[str]:
    """Lines inside of fenced blocks, without comments."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield from (line.split("  #")[0].strip() for line in block.splitlines())


def fairgrid_words(line: str) -> list[str] | None:
    """The words after `fairgrid` if the line calls it."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return None
    if not words or words[0].removeprefix(".venv/bin/") != "fairgrid":
        return None
    return words[1:]


def check_call(words: list[str]) -> None:
    """Let the program's own parser read a command line."""
    if len(words) == 1 and words[0] in {"--help", "--version", "--install-completion", "--show-completion"}:
        return
    command, rest = find(words)
    assert not hasattr(command, "list_commands"), f"`fairgrid {' '.join(words)}` is not a whole command"
    command.make_context("fairgrid", rest)


def test_page_of_commands_is_what_the_commands_say() -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "write_command_docs.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "command"), LEAVES, ids=[name for name, _ in LEAVES])
def test_every_option_is_documented_under_its_command(name: str, command: Any) -> None:
    section = re.search(rf"^#+ {re.escape(name)}\n(.*?)(?=^#|\Z)", COMMANDS_PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert section is not None, f"docs/commands.md has no section {name}"
    options = [word for parameter in command.params if parameter.param_type_name == "option" for word in parameter.opts]
    assert [option for option in options if f"`{option}" not in section[1]] == []
    assert command.help, f"{name} does not say what it does"


def test_every_option_has_a_help_text() -> None:
    silent = [f"{name} {p.name}" for name, command in LEAVES for p in command.params if not getattr(p, "help", None)]
    assert silent == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != COMMANDS_PAGE], ids=lambda page: page.name)
def test_commands_in_fenced_blocks_are_accepted_by_the_program(page: Path) -> None:
    for line in fenced_lines(page.read_text()):
        words = fairgrid_words(line)
        if words is not None:
            check_call(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist_with_their_options(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for span in re.findall(r"`(?:\.venv/bin/)?fairgrid ([a-z][^`]*)`", text):
        words = [word for word in span.split() if word not in {"…", "COMMAND"}]
        command, rest = find(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert [word for word in rest if word.startswith("--") and word != "--help" and word not in known] == [], span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    named = set(re.findall(r"`make ([a-z-]+)`", text)) | {
        found[1] for line in fenced_lines(text) if (found := re.match(r"make ([a-z-]+)", line))
    }
    assert named <= targets


@pytest.mark.parametrize(
    "line",
    [
        "fairgrid nothing",
        "fairgrid claim",
        "fairgrid run a.py --no-such-option",
        "fairgrid worker",
        "fairgrid worker drain now",
        "fairgrid down extra",
    ],
)
def test_wrong_command_line_would_be_noticed(line: str) -> None:
    words = fairgrid_words(line)
    assert words is not None
    with pytest.raises((AssertionError, Exception)) as caught:
        check_call(words)
    assert isinstance(caught.value, AssertionError) or hasattr(caught.value, "exit_code")


def test_every_error_stands_in_the_drawn_tree_below_its_parent() -> None:
    tree = (fairgrid.errors.__doc__ or "").split("::", 1)[1]
    drawn: list[tuple[int, str]] = [
        (found.start(1), found[1]) for line in tree.splitlines() if (found := re.match(r"^[\s│├└─]*([A-Z]\w+)", line))
    ]
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for depth, name in drawn:
        while path and path[-1][0] >= depth:
            path.pop()
        if path:
            parents[name] = path[-1][1]
        path.append((depth, name))
    assert parents == {error.__name__: error.__bases__[0].__name__ for error in ERRORS if error is not FairgridError}


def test_drawn_tree_has_the_exit_codes_of_the_classes() -> None:
    tree = (fairgrid.errors.__doc__ or "").split("::", 1)[1]
    drawn = {name: int(code) for name, code in re.findall(r"── ([A-Z]\w+) +(\d) ", tree)}
    assert drawn == {name: getattr(fairgrid.errors, name).exit_code for name in drawn}
    direct = {error.__name__ for error in ERRORS if error.__bases__[0] is FairgridError}
    assert set(drawn) == direct


@pytest.mark.parametrize("page", [README, COMMANDS_PAGE], ids=lambda page: page.name)
def test_exit_codes_are_documented(page: Path) -> None:
    said = re.search(r"Exit codes: (.*?130 Ctrl-C)", page.read_text(), re.DOTALL)
    assert said is not None
    documented = {int(code): words for code, words in re.findall(r"(?:^|,\s+)(\d+) ([^,]+)", said[1])}
    assert set(documented) == {0, UNEXPECTED, INTERRUPTED} | {error.exit_code for error in ERRORS}
    meanings = {
        0: "ok",
        1: "job failed",
        2: "usage",
        3: "funds or trust",
        4: "service",
        5: "verification",
        UNEXPECTED: "does not know",
        INTERRUPTED: "Ctrl-C",
    }
    assert {code: word for code, word in meanings.items() if word not in documented[code]} == {}
