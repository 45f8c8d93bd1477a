"""Declared packages travel as pure Python wheels, by hash; nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairgrid.client.prepared_job import manifest_of
from fairgrid.errors import CannotTravel, UsageError
from fairgrid.executors.environment import resolve_environment
from fairgrid.executors.here import job_of
from fairgrid.executors.kept_environments import lock_hash_of
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.manifest import FileRef, Manifest, Resources, parse_manifest
from fairgrid.runtime.wasm.interpreters import default_runtime_id
from tests.executors.stage import Stage

INIT = "from ._deep import answer\nclass Odd(Exception):\n    pass\n"
DEEP = "def answer(n):\n    return n + 42\n"


def wheel(
    folder: Path, name: str = "greetings", *, tags: str = "py3-none-any", metadata: str = "", **more: str
) -> Path:
    """A wheel of one package."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.2-{tags}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/__init__.py", INIT)
        archive.writestr(f"{name}/_deep.py", DEEP)
        archive.writestr(
            f"{name}-1.2.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n{metadata}"
        )
        for file, text in more.items():
            archive.writestr(file.replace("__dot__", "."), text)
    return path


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Installs a package as an installer does, with a RECORD."""
    site = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(str(site))

    def install(name: str = "greetings", **more: str) -> Path:
        with zipfile.ZipFile(wheel(tmp_path / "made", name, **more)) as archive:
            archive.extractall(site)
            lines = []
            for entry in archive.namelist():
                digest = base64.urlsafe_b64encode(hashlib.sha256(archive.read(entry)).digest()).rstrip(b"=").decode()
                lines.append(f"{entry},sha256={digest},{len(archive.read(entry))}")
        lines += [f"{name}-1.2.dist-info/RECORD,,", f"../../bin/{name},,", f"{name}/__pycache__/x.pyc,,"]
        (site / f"{name}-1.2.dist-info" / "RECORD").write_text("\n".join(lines))
        return site

    yield install
    for module in [module for module in sys.modules if module.startswith("greetings")]:
        del sys.modules[module]


def greet(n: int) -> Any:
    import greetings  # type: ignore[import-not-found]

    return greetings.answer(n), greetings.__file__


def test_a_wheel_of_a_folder_travels_with_the_calls_and_stays_for_a_resumed_run(stage: Stage, tmp_path: Path) -> None:
    folder = wheel(tmp_path / "wheels").parent
    with stage.executor(environment=["greetings==1.2"], wheelhouse=folder) as ex:
        run_id = ex.run_id
        value, file = ex.submit(greet, 1).result()
        assert value == 43 and ".whl" in file
    with stage.resume(run_id) as again:
        assert again.submit(greet, 2).result()[0] == 44
    with stage.executor() as ex, pytest.raises(CannotTravel, match="greetings, which is not found here"):
        ex.submit(greet, 1)


def test_an_installed_package_travels_and_its_functions_by_name(stage: Stage, installed: Callable[..., Path]) -> None:
    installed()
    from greetings import answer

    with stage.executor() as ex, pytest.raises(CannotTravel, match=r"environment=\['greetings'\]"):
        ex.submit(answer, 1)
    with stage.executor(environment=["greetings"]) as ex:
        assert ex.submit(answer, 1).result() == 43
        assert ex.submit(greet, 1).result()[0] == 43


def test_a_package_gives_the_same_bytes_each_time_without_what_is_of_this_machine(
    installed: Callable[..., Path],
) -> None:
    installed()
    (one,), (two,) = (resolve_environment(["greetings"]).wheels for _ in range(2))
    assert one.name == two.name and one.packages == {"greetings"}
    assert b"RECORD" not in one.content and b"__pycache__" not in one.content


def test_a_changed_file_of_an_installed_package_is_refused(installed: Callable[..., Path]) -> None:
    (installed() / "greetings" / "_deep.py").write_text("def answer(n):\n    return 0\n")
    with pytest.raises(CannotTravel, match=r"_deep.py was changed after it was installed.*Install it anew"):
        resolve_environment(["greetings"])


def test_a_lock_file_with_hashes_takes_exactly_that_wheel(tmp_path: Path) -> None:
    path = wheel(tmp_path / "wheels")
    lock = tmp_path / "requirements.txt"
    lock.write_text(
        f"# locked\ngreetings==1.2 \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{digest_of(path)}\n"
    )
    (found,) = resolve_environment(lock, wheelhouse=path.parent).wheels
    assert found.name == f"wheel-{digest_of(path)}.whl"
    lock.write_text(f"greetings==1.2 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(CannotTravel, match="its SHA-256 is"):
        resolve_environment(lock, wheelhouse=path.parent)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("absent_package_of_nobody", r"not installed here.*pip install"),
        ("greetings==2", "1.2 is installed here"),
        ("greetings==1.2 --hash=sha256:" + "a" * 64, r"nothing is left to compare.*pip download"),
        ("coincurve", r"compiled code.*Only pure Python"),
    ],
)
def test_what_is_not_there_as_declared_is_told_with_the_command(
    installed: Callable[..., Path], line: str, message: str
) -> None:
    installed()
    with pytest.raises(CannotTravel, match=message):
        resolve_environment([line])


def test_the_lock_is_the_same_for_the_same_wheels_in_any_order_and_another_for_another_wheel(tmp_path: Path) -> None:
    folder = wheel(tmp_path / "wheels").parent
    other = wheel(folder, "also_this")
    both = resolve_environment(["greetings", "also_this"], wheelhouse=folder)
    assert both.lock == (
        f"also-this==1.2 --hash=sha256:{digest_of(other)}\n"
        f"greetings==1.2 --hash=sha256:{digest_of(folder / 'greetings-1.2-py3-none-any.whl')}\n"
    )
    assert both.lock_hash == "sha256:" + hashlib.sha256(both.lock.encode()).hexdigest()
    assert resolve_environment(["also_this", "greetings"], wheelhouse=folder).lock_hash == both.lock_hash
    wheel(folder, "also_this", metadata="Summary: another\n")
    assert resolve_environment(["also_this", "greetings"], wheelhouse=folder).lock_hash != both.lock_hash
    assert (resolve_environment(()).lock, resolve_environment(()).lock_hash) == ("", "")


def test_a_saved_environment_is_the_same_elsewhere_and_so_is_the_lock_of_an_installed_one(
    installed: Callable[..., Path], tmp_path: Path
) -> None:
    installed()
    mine = resolve_environment(["greetings"])
    lock = mine.save(tmp_path / "kept")
    assert resolve_environment(lock, wheelhouse=tmp_path / "kept") == mine
    assert resolve_environment(lock) == mine
    (tmp_path / "kept" / "greetings-1.2-py3-none-any.whl").write_bytes(wheel(tmp_path / "x").read_bytes())
    with pytest.raises(CannotTravel, match="its SHA-256 is"):
        resolve_environment(lock, wheelhouse=tmp_path / "kept")


def test_the_lock_is_in_manifest_record_and_receipt_and_its_hash_brings_the_same_environment_back(
    stage: Stage, tmp_path: Path
) -> None:
    folder = wheel(tmp_path / "wheels").parent
    with stage.executor(environment=["greetings==1.2"], wheelhouse=folder) as ex:
        assert ex.submit(greet, 1).result()[0] == 43
        name = ex.environment.lock_hash
    manifest = manifest_of(job_of(stage.backend._jobs[stage.backend.signed[0]], default_runtime_id()), timeref=300)
    assert lock_hash_of(parse_manifest(manifest.to_bytes())) == name
    assert json.loads((stage.folder / "runs" / ex.run_id / "run.json").read_text())["environment"]["hash"] == name
    assert ex.receipt().environment == name and name in str(ex.receipt())
    assert all(row.endswith(f",{name}") for row in ex.receipt().to_csv().splitlines()[1:])
    shutil.rmtree(folder)
    with stage.resume(ex.run_id) as again:
        assert again.environment == ex.environment and again.receipt().environment == name
    with stage.executor(environment=name) as again:
        assert again.environment == ex.environment
        assert again.submit(greet, 2).result()[0] == 44


def test_an_environment_that_nobody_had_or_whose_wheels_were_changed_is_told(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No run .* had the environment.*environment\.save"):
        stage.executor(environment="sha256:" + "0" * 64)
    folder = wheel(tmp_path / "wheels").parent
    with stage.executor(environment=["greetings"], wheelhouse=folder) as ex:
        name, kept = ex.environment.lock_hash, ex.environment.wheels[0].name
    place = stage.folder / "runs" / ex.run_id / "inputs" / kept
    place.write_bytes(wheel(tmp_path / "other", metadata="Summary: another\n").read_bytes())
    with pytest.raises(UsageError, match="are not those of"):
        stage.executor(environment=name)
    place.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        stage.executor(environment=name)


def test_a_lock_that_another_file_pretends_to_be_is_none() -> None:
    lied = FileRef("environment-" + "a" * 64 + ".lock", cid_of(b"something else"), 14)
    manifest = Manifest(FileRef("a.py", cid_of(b"a"), 1), default_runtime_id(), Resources(1), inputs=(lied,))
    assert lock_hash_of(manifest) == ""


@pytest.mark.parametrize("line", ["-r more.txt", "-i x", "greetings @ file:///x.whl", "==1", "git+x"])
def test_lines_that_would_fetch_something_are_refused(line: str) -> None:
    with pytest.raises(UsageError, match="nothing is fetched"):
        resolve_environment([line])


def test_wheels_that_cannot_run_there_are_refused(tmp_path: Path) -> None:
    for number, (options, message) in enumerate(
        (
            ({"tags": "cp312-cp312-manylinux_2_17_x86_64"}, "compiled code"),
            ({"greetings/fast__dot__so": ""}, "compiled code"),
            ({"metadata": "Requires-Python: >=3.13\n"}, "is for Python >=3.13"),
            ({"metadata": "Requires-Dist: missing-one>=2\n"}, r"needs missing-one>=2.*Declare missing-one"),
        )
    ):
        folder = wheel(tmp_path / str(number), **options).parent
        with pytest.raises(CannotTravel, match=message):
            resolve_environment(["greetings"], wheelhouse=folder)
    with pytest.raises(CannotTravel, match=r"has no wheel of it.*pip download"):
        resolve_environment(["other"], wheelhouse=tmp_path)


def test_what_a_package_needs_elsewhere_or_what_is_there_already_need_not_be_declared(tmp_path: Path) -> None:
    needs = "Requires-Dist: colorama; sys_platform == 'win32'\nRequires-Dist: numpy\nRequires-Dist: x; extra == 'y'\n"
    folder = wheel(tmp_path / "wheels", metadata=needs).parent
    found = resolve_environment(["greetings", "numpy"], wheelhouse=folder, provided={"numpy", "sklearn"})
    assert [one.distribution for one in found.wheels] == ["greetings"]
    with pytest.raises(CannotTravel, match="Declare x, too"):
        resolve_environment(["greetings[y]"], wheelhouse=folder, provided={"numpy"})
