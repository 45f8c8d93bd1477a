"""`fairgrid app init`, and what one does next: every template builds, and gives the result that it promises."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from fairgrid.cli.app import app
from fairgrid.client.apps.templates import APP_TEMPLATES, CONSUMER_TEMPLATES, shipped
from fairgrid.runtime.wasm.interpreters import InstalledRuntime, default_runtime_id, install_interpreter
from tests.needs import hope, need

pytestmark = pytest.mark.timeout(240)
DIGEST = "0xb60849cb21c0845c89e1d83ea8eb82be0af912697e86e538d9f02ad4903224ab"
"""Of the result that all templates promise: the same program in each of them."""


@pytest.fixture(scope="module")
def interpreter() -> InstalledRuntime:
    return install_interpreter(default_runtime_id())


def ran(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """The one JSON object of `fairgrid app …`."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == code, (result.output, result.exception)
    document = json.loads(result.stdout)
    assert isinstance(document, dict)
    return document


def passes_its_test(folder: Path) -> None:
    """Build what must be built and run the project's test."""
    document = ran("test", folder)
    assert (document["status"], document["expected"], document["digest"]) == ("ok", True, DIGEST)
    assert document["files"] == ["files.csv", "stdout.txt", "words.csv"]


def made(folder: Path, template: str) -> Path:
    document = ran("init", folder / "my-tool", "--template", template)
    assert document["name"] == "my-tool" and "app.toml" in document["files"]
    return folder / "my-tool"


def test_python_template_passes_its_test_and_a_changed_program_does_not_until_it_is_accepted(
    tmp_path: Path, interpreter: InstalledRuntime
) -> None:
    folder = made(tmp_path, "python")
    passes_its_test(folder)
    program = folder / "word_count.py"
    program.write_text(program.read_text().replace("-entry[1], entry[0]", "entry[1], entry[0]"))
    document = ran("test", folder, code=5)
    assert document["status"] == "unexpected"
    assert document["differences"] == ["words.csv differs in line 2: 'a,1' instead of 'is,2'"]
    assert ran("test", folder, "--accept")["expected"] is True
    assert ran("test", folder)["expected"] is True
    # Other arguments than those of the project's test: nothing is expected.
    assert ran("test", folder, "--arg", "1", "--input", folder / "tests" / "text.txt")["expected"] is None


def test_c_template_builds_and_passes_its_test(tmp_path: Path) -> None:
    need(shutil.which("clang") and Path("/usr/lib/wasm32-wasi").exists(), "clang with wasi-libc: make system-deps")
    passes_its_test(made(tmp_path, "c-wasm"))


def test_image_template_builds_and_its_program_gives_the_promised_result(tmp_path: Path) -> None:
    need(shutil.which("cc") and sys.platform == "linux", "a C compiler: make system-deps")
    folder = made(tmp_path, "oci")
    document = ran("build", folder)
    assert document["program"] == str(folder / "word_count.oci.tar") and document["bytes"] > 100_000
    (tmp_path / "out").mkdir()
    subprocess.run(
        [folder / "image" / "word_count", "5"],
        env={"IEXEC_IN": str(input_folder(folder, tmp_path)), "IEXEC_OUT": str(tmp_path / "out")},
        check=True,
        timeout=100,
    )
    assert_promised(folder, tmp_path / "out")


@pytest.mark.parametrize("template", ["python-component", "oci"])
def test_template_that_takes_long_to_start_passes_its_test_as_a_worker_would_run_it(
    tmp_path: Path, template: str
) -> None:
    hope("FAIRGRID_TEST_TEMPLATES" in os.environ, "a minute to compile, or a container engine: FAIRGRID_TEST_TEMPLATES")
    passes_its_test(made(tmp_path, template))


def input_folder(project: Path, folder: Path) -> Path:
    """A folder with the input of the project's test."""
    shutil.copytree(project / "tests", folder / "in", ignore=shutil.ignore_patterns("expected"))
    return folder / "in"


def assert_promised(project: Path, out: Path) -> None:
    for name in ("files.csv", "words.csv"):
        assert (out / name).read_bytes() == (project / "tests" / "expected" / name).read_bytes()


def test_program_of_the_component_template_gives_the_promised_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path, "python-component")
    bindings = ModuleType("wit_world")
    bindings.exports = ModuleType("exports")  # type: ignore[attr-defined]
    bindings.exports.Run = object
    monkeypatch.setitem(sys.modules, "wit_world", bindings)
    monkeypatch.setattr(sys, "argv", ["word_count", "5"])
    program = runpy.run_path(str(folder / "word_count.py"))
    run = program["Run"].run
    run.__globals__.update(INPUTS=str(input_folder(folder, tmp_path)), OUTPUT=str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    run(None)
    assert_promised(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["word-count", "--template", "cobol"], "There is no template 'cobol'. There are python: a Python script"),
        (["Word Count"], "'Word Count' cannot be an app's name: use 1 to 64 lower-case letters"),
        (["taken"], "is there already. Nothing was written"),
    ],
)
def test_project_that_cannot_be_made_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("mine")
    result = CliRunner().invoke(app, ["init", *arguments])
    assert result.exit_code != 0 and said in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_test_without_a_project_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("test", "check", "build"):
        result = CliRunner().invoke(app, [command])
        assert result.exit_code != 0 and "fairgrid app init NAME" in str(result.exception)


def test_only_a_projects_own_result_can_be_accepted(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("print(1)")
    result = CliRunner().invoke(app, ["test", str(tmp_path / "job.py"), "--accept"])
    assert result.exit_code != 0 and "--accept is for a project's own test" in str(result.exception)


def test_wheel_holds_every_template_and_the_examples_that_they_copy(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    root = Path(__file__).parents[2]
    subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=120)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    templates = (*APP_TEMPLATES.values(), *CONSUMER_TEMPLATES.values())
    folders = {folder for template in templates for folder in template.folders}
    wanted = {
        f"fairgrid/templates/{path.relative_to(shipped('templates')).as_posix()}"
        for folder in folders
        for path in (shipped("templates") / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    wanted |= {f"fairgrid/examples/{source}" for entry in APP_TEMPLATES.values() for source, _ in entry.examples}
    assert wanted and wanted <= names
