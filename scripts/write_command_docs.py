"""Write docs/commands.md from the commands themselves: what `--help` says, as one page.

python scripts/write_command_docs.py            # writes the page
python scripts/write_command_docs.py --check    # exit 1 if the page is not what the commands say
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer.main

from fairgrid.cli.main import command_line

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
HEAD = """\
# Commands

Made by `scripts/write_command_docs.py` from the commands themselves; `fairgrid COMMAND --help` says the same.

Exit codes: 0 ok, 1 the job failed and the network agreed that it did, 2 usage or input, 3 funds or trust,
4 a service or the chain is down, 5 verification failed, 70 a failure that the program does not know, 130 Ctrl-C.
With `--json` there is one JSON object on stdout, and progress is on stderr.
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command below the root with its full name, groups before their members."""
    yield from _below(typer.main.get_command(command_line), "fairgrid")


def _below(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    for member in group.list_commands(None):
        command = group.get_command(None, member)
        yield f"{name} {member}", command
        if hasattr(command, "list_commands"):
            yield from _below(command, f"{name} {member}")


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, command in commands():
        heading = "##" if name.count(" ") == 1 else "###"
        parts.append(f"{heading} {name}\n\n{_help(command)}\n")
        if hasattr(command, "list_commands"):
            continue
        parts.append(f"```\n{_usage(name, command)}\n```\n")
        rows = [_row(parameter) for parameter in command.params]
        if rows:
            parts.append("\n".join(["| | default | what it is |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _help(command: Any) -> str:
    paragraphs = (command.help or "").strip().split("\n\n")
    return "\n\n".join(" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs)


def _usage(name: str, command: Any) -> str:
    words = [name]
    for parameter in command.params:
        if parameter.required:
            words.append(_form(parameter))
        elif parameter.param_type_name == "argument":
            words.append(f"[{_form(parameter)}]")
    optional = any(p.param_type_name == "option" and not p.required for p in command.params)
    return " ".join([*words, *(["[OPTIONS]"] if optional else [])])


def _form(parameter: Any) -> str:
    """``--dir PATH``, ``--json`` or ``SCRIPT``."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return str(parameter.opts[0]) if parameter.is_flag else f"{parameter.opts[0]} {_value(parameter)}"


def _forms(parameter: Any) -> str:
    """Every way to write it, as the table shows them."""
    others = [] if parameter.param_type_name == "argument" else [*parameter.opts[1:], *parameter.secondary_opts]
    return ", ".join(f"`{form}`" for form in (_form(parameter), *others))


def _value(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "{" + ",".join(str(choice.value) for choice in annotation) + "}"
    return str(parameter.opts[0]).lstrip("-").replace("-", "_").upper()


def _row(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        shown = "needed"
    elif default is None or default is False or default == "":
        shown = ""
    else:
        shown = f"`{default}`"
    text = (getattr(parameter, "help", None) or "").replace("|", "\\|")
    if getattr(parameter, "envvar", None):
        text += f" Environment: `{parameter.envvar}`."
    return f"| {_forms(parameter)} | {shown} | {text} |"


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page differs")
    options = parser.parse_args()
    fresh = page()
    if PAGE.exists() and PAGE.read_text() == fresh:
        return 0
    if options.check:
        sys.stderr.write("docs/commands.md is not what the commands say. Run python scripts/write_command_docs.py.\n")
        return 1
    PAGE.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
