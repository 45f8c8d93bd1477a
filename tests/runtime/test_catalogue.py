"""The catalogue of runtimes, and the trial of each on this machine."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure, UsageError
from fairgrid.protocol.app_types import APP_TYPES, LEVEL_OF_TYPE, Level, is_manifest_type
from fairgrid.protocol.cid import cid_of
from fairgrid.runtime.catalogue import CATALOGUE, runtime_for_program, runtime_info
from fairgrid.runtime.interface import Sandbox
from fairgrid.runtime.levels import Probe, RuntimeInfo, described
from fairgrid.runtime.providers import probe_all, provider_of
from fairgrid.runtime.wasm.interpreters import InstalledRuntime, default_runtime_id


def test_every_level_has_a_type_of_its_own_and_docker_is_none_of_them() -> None:
    assert set(APP_TYPES) == set(Level) and len(LEVEL_OF_TYPE) == len(Level)
    assert is_manifest_type("WASM") and not is_manifest_type("DOCKER")


def test_every_runtime_names_its_content_exactly() -> None:
    contents = [info.content.sha256 for info in CATALOGUE.values()]
    assert len(set(contents)) == len(contents)
    for info in CATALOGUE.values():
        if info.description:
            assert info.content.cid == cid_of(info.description)
            assert info.content.sha256 == "0x" + hashlib.sha256(info.description).hexdigest()


def test_a_description_is_the_same_bytes_everywhere() -> None:
    info = described("oci/none", Level.CONTAINER, summary="s", program="p")
    assert info.description == b'{"fairgrid":"runtime/1","level":"container","runtime":"oci/none"}'
    assert (info.app_type, info.deterministic) == ("OCI", False)


def test_a_program_finds_its_runtime_by_its_ending_and_an_unknown_ending_is_told_the_known_ones() -> None:
    assert runtime_for_program(Path("a/My.PY")).runtime_id == default_runtime_id()
    with pytest.raises(UsageError, match=r"\.py \(a Python script\)"):
        runtime_for_program(Path("data.csv"))


def test_an_unknown_runtime_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=default_runtime_id()):
        runtime_info("wasmtime-1/py2/none")


async def test_the_default_runtime_works_here_and_says_how_fast_it_starts(installed_runtime: InstalledRuntime) -> None:
    tried = await probe_all([runtime_info(installed_runtime.runtime_id)])
    provider, probe = tried[installed_runtime.runtime_id]
    assert probe.works and probe.start_ms > 1
    assert provider.sandbox().runtime_id == installed_runtime.runtime_id


async def test_a_runtime_that_is_not_installed_does_not_work_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRGRID_CACHE", str(tmp_path))
    info = runtime_info(default_runtime_id())
    probe = (await probe_all([info]))[info.runtime_id][1]
    assert not probe.works and "fairgrid runtime install" in probe.remedy
    with pytest.raises(HostFailure):
        provider_of(info).sandbox()


@dataclass(frozen=True)
class _Silent:
    info: RuntimeInfo

    async def probe(self) -> Probe:
        await asyncio.sleep(3600)
        raise AssertionError

    def sandbox(self) -> Sandbox:
        raise AssertionError


async def test_a_runtime_that_does_not_answer_counts_as_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairgrid.runtime.providers.provider_of", lambda info, containers: _Silent(info))
    info = runtime_info(default_runtime_id())
    probe = (await probe_all([info], within_s=0.05))[info.runtime_id][1]
    assert not probe.works and "did not answer" in probe.detail
