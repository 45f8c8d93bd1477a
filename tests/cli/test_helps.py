"""Every command's help has a line that can be typed."""

from __future__ import annotations

import re

import pytest

from tests.cli.tree import commands

COMMANDS = commands()
RUN_UNTIL_STOPPED = {"worker start", "pool start", "market start", "storage start", "worker install-service"}
"""They print a line when they are ready, or a file; there is no answer to give as JSON."""


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_an_example(name: str) -> None:
    text = re.sub(r"\s+", " ", COMMANDS[name].help or "")
    assert f"fairgrid {name}" in text, f"fairgrid {name} --help shows no example"


def test_every_command_that_answers_has_json() -> None:
    words = {name: {form for one in command.params for form in one.opts} for name, command in COMMANDS.items()}
    assert {name for name, forms in words.items() if "--json" not in forms} == RUN_UNTIL_STOPPED
