"""What a deal's tasks ask of a machine, read from the manifest; and what a worker is told of it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.core.matching import NO_REQUIREMENTS, Requirements
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.standing import Standing
from fairgrid.pool.core.why import why
from fairgrid.pool.jobs.manifests import ManifestReader
from fairgrid.pool.jobs.requirements import RequirementsReader, requirements_of_manifest
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.machine import Machine
from fairgrid.protocol.manifest import FileRef, Manifest, Resources, params_for
from fairgrid.protocol.needs import GpuNeed, Needs
from fairgrid.protocol.views import Resource
from tests.pool.fakes import Fake
from tests.pool.support import World

CID = cid_of(b"content")
MANIFEST = Manifest(
    script=FileRef("run.py", CID, 7),
    runtime="wasmtime-49/py312/deterministic",
    resources=Resources(fuel=10**9, memory_bytes=1 << 28),
    inputs=(FileRef("big", CID, 1 << 30),),
    needs=Needs(gpus=GpuNeed(1)),
)


class _Storage:
    """Gives one manifest, or fails, or never answers."""

    def __init__(self, data: bytes | None, *, hangs: bool = False) -> None:
        self.data, self.hangs, self.asked = data, hangs, 0

    async def fetch_bytes(self, cid: str, *, max_bytes: int) -> bytes:
        self.asked += 1
        if self.hangs:
            await asyncio.sleep(60)
        if self.data is None:
            raise ServiceUnavailable("storage", cid, "it is gone")
        return self.data


class _Deal:
    def __init__(self, params: str) -> None:
        self.params = params
        self.app = Resource("0x" + "aa" * 20, "0x" + "bb" * 20, 0)


async def read(storage: _Storage, params: str | None = None) -> Requirements:
    patience_s = 0.05 if storage.hangs else 30
    reader = RequirementsReader(ManifestReader(storage), patience_s=patience_s)  # type: ignore[arg-type]
    deal: Any = _Deal(params or params_for("http://gateway", MANIFEST.cid()))
    first = await reader.requirements_of(deal)
    assert await reader.requirements_of(deal) == first
    return first


@pytest.mark.parametrize("there", [True, False])
async def test_labels_that_the_operator_asks_for_an_app_count_also_without_its_manifest(there: bool) -> None:
    storage = _Storage(MANIFEST.to_bytes() if there else b"")
    deal: Any = _Deal(params_for("http://gateway", MANIFEST.cid()) if there else "{}")
    reader = RequirementsReader(
        ManifestReader(storage),  # type: ignore[arg-type]
        labels_of_app=lambda app: ("gold",) if app == deal.app.pointer else (),
    )
    wanted = await reader.requirements_of(deal)
    assert wanted.labels == ("gold",) and (wanted.runtime == MANIFEST.runtime) is there


async def test_needs_runtime_memory_and_inputs_come_from_the_manifest_and_are_read_once() -> None:
    storage = _Storage(MANIFEST.to_bytes())
    wanted = await read(storage)
    assert wanted == requirements_of_manifest(MANIFEST)
    assert (wanted.needs, wanted.memory_limit_bytes) == (MANIFEST.needs, 1 << 28)
    assert wanted.inputs[0] == (CID, 1 << 30)
    assert storage.asked == 1


async def test_a_manifest_that_cannot_be_had_in_time_asks_for_nothing_and_keeps_nothing_back() -> None:
    assert await read(_Storage(None)) == NO_REQUIREMENTS
    assert await read(_Storage(b"", hangs=True)) == NO_REQUIREMENTS
    assert await read(_Storage(b"not a manifest")) == NO_REQUIREMENTS
    assert await read(_Storage(b""), params='{"foreign":"params"}') == NO_REQUIREMENTS


def test_a_worker_is_told_which_need_its_machine_lacks_and_what_would_help() -> None:
    plain = Fake("plain", owner="plain", machine=Machine(cpus=2, labels=("eu",)))
    world = World([plain])
    wanted = requirements_of_manifest(dataclasses.replace(MANIFEST, needs=Needs(labels=("gold",))))
    world.deal(1, requirements=wanted)
    world.run()
    state = world.machine.workers[plain.address]
    answer = {reason.rule: reason for reason in why(state, world.machine.tasks.values()).reasons}
    assert not answer["machine"].allowed
    assert "suits 0 of 1" in answer["machine"].text and "add gold to labels" in answer["machine"].text


def test_a_worker_is_told_of_quarantine_and_quota() -> None:
    fake = Fake("w", owner="w")
    world = World([fake])
    state = world.machine.workers[fake.address]
    record = Standing(
        fake.address, state.owner, disproved=1, faults=2, quarantined_until=world.now + 60, quota=4, quota_used=4,
        quota_since=world.now,
    )  # fmt: skip
    told = why(state, (), standing=record, policy=Policy(), now=world.now).reasons
    answer = {reason.rule: (reason.allowed, reason.text) for reason in told}
    assert answer["quarantine"] == (False, "1 of its results were disproved; no work for another 60 s.")
    assert not answer["quota"][0] and "0 of 4 leases" in answer["quota"][1]
    clean = why(state, (), standing=Standing(fake.address, state.owner), policy=Policy(), now=world.now).reasons
    assert {reason.rule: reason.allowed for reason in clean}["quarantine"]
