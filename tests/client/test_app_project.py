"""Reading ``app.toml``, and making a program from its sources."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairgrid.client.apps.building import build_program, is_built
from fairgrid.client.apps.project import find_project, read_project
from fairgrid.client.apps.publishing import document_of
from fairgrid.client.apps.templates import APP_TEMPLATES, make_project
from fairgrid.client.apps.trial import differences, job_of_project
from fairgrid.errors import UsageError

MINIMAL = 'name = "tool"\nprogram = "tool.py"\n'
NATIVE = 'name = "tool"\nprogram = "tool.sh"\n'


def project_of(folder: Path, text: str = MINIMAL) -> Path:
    """A folder with a program and this ``app.toml``."""
    folder.mkdir(exist_ok=True)
    (folder / "tool.py").write_text("print(1)")
    (folder / "tool.sh").write_text("#!/bin/sh\n")
    (folder / "app.toml").write_text(text)
    return folder


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    project = read_project(project_of(tmp_path))
    assert (project.name, project.program) == ("tool", tmp_path / "tool.py")
    assert project.runtime.runtime_id == "wasmtime-49/py312/deterministic"
    assert (project.memory_bytes, project.sale.price, project.sale.volume) == (1 << 30, 0, 1000)
    assert is_built(project)


def test_everything_that_is_said_is_read(tmp_path: Path) -> None:
    text = MINIMAL + (
        'description = "d"\nfiles = ["data.csv"]\nmemory = "2G"\nruntime = "wasmtime-49/py312/fast"\n'
        '[test]\ninputs = ["data.csv"]\narguments = ["a b"]\nexpected = "want"\nseconds = 7\n'
        '[sale]\nprice = "0.5 RLC"\nvolume = 3\n'
    )
    (tmp_path / "data.csv").write_text("1")
    project = read_project(project_of(tmp_path, text))
    assert project.files == project.test.inputs == (tmp_path / "data.csv",)
    assert (project.test.arguments, project.test.expected, project.test.seconds) == (("a b",), tmp_path / "want", 7)
    assert (project.sale.price, project.sale.volume, project.memory_bytes) == (500_000_000, 3, 2 << 30)
    assert project.runtime.runtime_id == "wasmtime-49/py312/fast"


def test_hosts_that_an_app_reaches_are_in_its_document_and_in_the_job_of_its_test(tmp_path: Path) -> None:
    project = read_project(project_of(tmp_path, NATIVE + 'reach = ["b.org:22", "a.org", "a.org"]\n'))
    assert project.reach == job_of_project(project).network == ("a.org", "b.org:22")
    assert document_of(project)[0].reach == project.reach


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "cannot be read"),
        ('program = "tool.py"', "name must be there"),
        ('name = "Tool"\nprogram = "tool.py"', "use 1 to 64 lower-case letters"),
        ('name = "wasi/x"\nprogram = "tool.py"', "use 1 to 64 lower-case letters"),
        ('name = "tool"\nprogram = "none.py"', "names none.py, which is not there"),
        ('name = "tool"\nprogram = "../tool.py"', "outside of the project"),
        (MINIMAL + 'colour = "red"', "colour is no key"),
        (MINIMAL + "[sale]\nprise = 1", "sale.prise is no key"),
        (MINIMAL + '[sale]\nprice = "5"', "with its unit"),
        (MINIMAL + '[sale]\nprice = "0.0000000001 RLC"', "is not an amount"),
        (MINIMAL + "[sale]\nvolume = 0", "sale.volume must be a whole number from 1 on"),
        (MINIMAL + '[test]\ninputs = ["none.csv"]', "none.csv, which is not there"),
        (MINIMAL + "[test]\narguments = [1]", "must be a list of texts"),
        (MINIMAL + 'runtime = "none"', "There is no runtime 'none'"),
        (MINIMAL + "test = 1", "test must be a table"),
        (MINIMAL + 'reach = ["a.org"]', "reach cannot be had: .*has no network on any machine"),
        (NATIVE + 'reach = "a.org"', "reach must be a list of texts"),
        (NATIVE + 'reach = ["http://a.org"]', "reach is wrong: .*no place that a job could connect to"),
        (NATIVE + f"reach = {[f'h{n}.org' for n in range(17)]}", "reach names 17 hosts; at most 16"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_project(project_of(tmp_path, text))


def test_folder_without_a_project_says_how_to_make_one_and_a_program_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fairgrid app init NAME"):
        find_project(tmp_path)
    project_of(tmp_path)
    assert find_project(tmp_path) == find_project(tmp_path / "app.toml") == tmp_path
    assert find_project(tmp_path / "tool.py") is None


def built_by(folder: Path, *command: str) -> Path:
    words = ", ".join(f'"{word}"' for word in command)
    build = f'[build]\ncommands = [[{words}]]\nsources = ["tool.py"]\nhint = "Get it."\n'
    text = f'name = "tool"\nprogram = "made.py"\n{build}'
    return project_of(folder, text)


def test_program_is_made_by_the_projects_commands_and_again_when_a_source_is_younger(tmp_path: Path) -> None:
    project = read_project(built_by(tmp_path, "python", "-c", "open('made.py', 'w').write('print(2)')"))
    told: list[str] = []
    assert not is_built(project)
    build_program(project, told.append)
    assert is_built(project) and (tmp_path / "made.py").read_text() == "print(2)"
    assert told[0].startswith("$ python -c")
    younger = (tmp_path / "made.py").stat().st_mtime + 10
    os.utime(tmp_path / "tool.py", (younger, younger))
    assert not is_built(project)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("no-such-tool-here",), "no-such-tool-here is not installed here, so tool cannot be built. Get it."),
        (("python", "-c", "import sys; sys.exit('oh no')"), "(?s)ended with 1:\noh no\nGet it."),
        (("python", "-c", "pass"), "made.py is not there"),
    ],
    ids=["missing", "failed", "made nothing"],
)
def test_build_that_cannot_be_done_says_why_and_how_to_get_the_tool(
    tmp_path: Path, command: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        build_program(read_project(built_by(tmp_path, *command)), lambda text: None)
    assert not (tmp_path / "made.py").exists()


def test_results_are_compared_bit_by_bit(tmp_path: Path) -> None:
    found, expected = tmp_path / "found", tmp_path / "expected"
    for folder in (found, expected):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "same.txt").write_text("same")
    assert differences(found, expected) == []
    (found / "more.txt").write_text("x")
    (expected / "less.txt").write_text("x")
    (found / "a.csv").write_text("1\n2\n")
    (expected / "a.csv").write_text("1\n3\n")
    (found / "b.csv").write_bytes(b"1\n2")
    (expected / "b.csv").write_bytes(b"1\n2\n")
    assert differences(found, expected) == [
        "less.txt is missing in the result",
        "more.txt is not expected",
        "a.csv differs in line 2: '2' instead of '3'",
        "b.csv has 3 bytes instead of 4",
    ]


@pytest.mark.parametrize("template", APP_TEMPLATES)
def test_every_template_is_a_project_with_a_test_a_price_and_a_page(tmp_path: Path, template: str) -> None:
    files = make_project(APP_TEMPLATES[template], tmp_path / "my-tool", name="my-tool")
    project = read_project(tmp_path / "my-tool")
    assert project.name == "my-tool" and project.test.inputs and project.sale.price == 1_000_000
    assert project.test.expected is not None and any(project.test.expected.iterdir())
    names = {path.name for path in files}
    assert {"README.md", "app.toml", ".gitignore"} <= names and "gitignore" not in names
    assert all("{{" not in path.read_text() for path in files)
    assert all(path.exists() for path in project.build.sources)
    assert (project.build.hint != "") is bool(project.build.commands)


def test_project_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        make_project(APP_TEMPLATES["python"], tmp_path / "tool", name="tool")
    assert [path.name for path in (tmp_path / "tool").iterdir()] == ["mine.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["tool"]


def test_empty_folder_becomes_the_project(tmp_path: Path) -> None:
    (tmp_path / "tool").mkdir()
    assert make_project(APP_TEMPLATES["python"], tmp_path / "tool", name="tool")
