"""Cells as Jobs of Kubernetes: the real client against a fake API server that runs their commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes
import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.interface import Cell
from fairgrid.runtime.engines.kubernetes_manifest import job_manifest
from fairgrid.runtime.engines.kubernetes_queue import KubernetesQueue
from fairgrid.runtime.engines.options import EngineKind, EngineOptions
from fairgrid.runtime.engines.queue_engine import QueueEngine
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.wasm.interpreters import InstalledRuntime
from tests.runtime.engines.fake_kubernetes import SCHEMA, FakeKubernetes, running_kubernetes
from tests.runtime.engines.jobs import Uses, job_in, until

PREFIX = "fairgrid-test"
IMAGE = "registry.example/fairgrid@sha256:" + "ab" * 32
pytestmark = pytest.mark.timeout(120)


def options_of(folder: Path) -> EngineOptions:
    return EngineOptions(
        kind=EngineKind.KUBERNETES,
        namespace="lab",
        image=IMAGE,
        volume_claim="shared",
        volume_path=str(folder.resolve()),
        python="/usr/bin/python3",
        poll_s=0.2,
    )


def engine_on(fake: FakeKubernetes, options: EngineOptions, max_queue_s: float | None = None) -> QueueEngine:
    configuration = kubernetes.client.Configuration(host=fake.url)
    configuration.retries = False
    client = kubernetes.client.ApiClient(configuration)
    queue = KubernetesQueue(options, prefix=PREFIX, python=options.python, client=client)
    return QueueEngine(queue, poll_s=options.poll_s, max_queue_s=max_queue_s)


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    with running_kubernetes() as fake:
        yield fake


@pytest.fixture
async def engine(fake: FakeKubernetes, tmp_path: Path) -> AsyncIterator[QueueEngine]:
    engine = engine_on(fake, options_of(tmp_path))
    yield engine
    await engine.close()


async def test_jobs_give_what_they_give_here_and_the_node_is_told(
    engine: QueueEngine, fake: FakeKubernetes, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    uses = Uses()
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, used=uses.take, prefix=PREFIX)
    jobs = [job_in(tmp_path / f"there-{place}") for place in range(2)]
    there = await asyncio.gather(*(sandbox.run(job) for job in jobs))
    here = await installed_runtime.sandbox().run(job_in(tmp_path / "here"))
    assert {(one.stop, one.stdout, one.fuel_used) for one in there} == {(here.stop, here.stdout, here.fuel_used)}
    assert {(job.output_folder / "r").read_text() for job in jobs} == {(tmp_path / "here/out/r").read_text()}
    assert all(use.engine_id in fake.jobs and use.ran_s > 0 for use in uses)
    await engine.close()
    assert not fake.jobs


async def test_a_cell_that_is_cancelled_is_deleted_with_its_pod(
    engine: QueueEngine, fake: FakeKubernetes, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX)
    running = asyncio.ensure_future(sandbox.run(job_in(tmp_path / "job", "while True: pass")))
    await until(lambda: list(tmp_path.glob("job/cell-*/place.json")))
    (job,) = fake.jobs.values()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: job.process is not None and job.process.poll() is not None)
    assert not fake.jobs


async def test_a_lost_node_is_a_failure_that_says_so(
    engine: QueueEngine, fake: FakeKubernetes, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX)
    running = asyncio.ensure_future(sandbox.run(job_in(tmp_path / "job", "while True: pass")))
    await until(lambda: list(tmp_path.glob("job/cell-*/place.json")))
    fake.lose_node_of(next(iter(fake.jobs)))
    with pytest.raises(HostFailure, match=r"on node-1 .*node lost.*can be run again"):
        await running


async def test_a_job_at_its_deadline_is_a_failure_that_says_so(
    engine: QueueEngine, fake: FakeKubernetes, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    sandbox = EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX)
    running = asyncio.ensure_future(sandbox.run(job_in(tmp_path / "job", "while True: pass")))
    await until(lambda: list(tmp_path.glob("job/cell-*/place.json")))
    fake.lose_node_of(next(iter(fake.jobs)), "DeadlineExceeded", "Job was active longer than specified deadline")
    with pytest.raises(HostFailure, match=r"DeadlineExceeded; Job was active longer.*can be run again"):
        await running


async def test_a_job_that_the_cluster_does_not_admit_is_told_in_its_words_and_leaves_nothing(
    engine: QueueEngine, fake: FakeKubernetes, tmp_path: Path
) -> None:
    fake.quota = 0
    with pytest.raises(HostFailure, match=r"did not take the cell.*403.*exceeded quota"):
        await engine.run(Cell("fairgrid-test-x", tmp_path, 10.0, 1 << 20))
    assert not fake.jobs


def test_every_word_of_a_manifest_is_one_of_the_official_job_v1(tmp_path: Path) -> None:
    words = ("priorityClassName=low", "runtimeClassName=kata", "schedulerName=other", "imagePullSecret=p")
    submit = ("nodeSelector.disk=ssd", "toleration.dedicated=grid:NoSchedule", *words)
    options = replace(options_of(tmp_path), submit=submit)
    cell = Cell("fairgrid-test-x", tmp_path, 10.0, 1 << 30, cpus=2, gpus=1)
    manifest = job_manifest(cell, options, prefix=PREFIX, python=options.python)
    assert known_to_the_client(manifest) == manifest
    pod = manifest["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False and "serviceAccountName" not in pod
    assert not any("serviceAccountToken" in str(volume) for volume in pod["volumes"])
    # The client's own model drops what it does not know, so a word that is mistyped shows.
    pod["automountServiceAccountTokens"] = False
    assert known_to_the_client(manifest) != manifest


def known_to_the_client(manifest: dict[str, Any]) -> Any:
    client = kubernetes.client.ApiClient(kubernetes.client.Configuration())
    try:
        job = client.deserialize(json.dumps(manifest), "V1Job", "application/json")
        return client.sanitize_for_serialization(job)
    finally:
        client.close()


async def test_an_api_server_that_is_away_for_a_moment_loses_nothing(
    engine: QueueEngine, fake: FakeKubernetes, tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    fake.refuses = 2
    outcome = await EngineSandbox(engine, installed_runtime.runtime_id, prefix=PREFIX).run(job_in(tmp_path / "job"))
    assert outcome.exit_code == 0 and len(fake.manifests) == 1


async def test_what_a_killed_worker_left_is_deleted_and_nobody_elses(fake: FakeKubernetes, tmp_path: Path) -> None:
    fake.starts = False
    options = options_of(tmp_path)
    for prefix in (PREFIX, "fairgrid-other"):
        cell = Cell(f"{prefix}-1", tmp_path, 10.0, 1 << 20)
        assert fake.create(job_manifest(cell, options, prefix=prefix, python=options.python))[0] == 201
    engine = engine_on(fake, options)
    assert await engine.sweep() == 1
    assert list(fake.jobs) == ["fairgrid-other-1"]
    await engine.close()


async def test_a_pod_that_finds_no_node_is_given_up_with_the_schedulers_reason(
    fake: FakeKubernetes, tmp_path: Path
) -> None:
    fake.starts = False
    engine = engine_on(fake, options_of(tmp_path), max_queue_s=0.5)
    with pytest.raises(HostFailure, match=r"waited longer than.*Insufficient cpu"):
        await engine.run(Cell("fairgrid-test-x", tmp_path, 10.0, 1 << 20))
    await engine.close()


async def test_a_folder_that_is_not_on_the_volume_is_refused(engine: QueueEngine) -> None:
    with pytest.raises(HostFailure, match="is not below volume_path"):
        await engine.run(Cell("fairgrid-test-x", Path("/elsewhere"), 10.0, 1 << 20))


def test_what_the_owner_adds_is_in_a_manifest_that_the_schema_takes(tmp_path: Path) -> None:
    options = replace(
        options_of(tmp_path),
        submit=(
            "nodeSelector.disk=ssd",
            "toleration.dedicated=grid:NoSchedule",
            "imagePullSecret=pull",
            "priorityClassName=low",
        ),
    )
    cell = Cell("fairgrid-test-x", tmp_path, 10.0, 1 << 30, cpus=2, gpus=1)
    manifest = job_manifest(cell, options, prefix=PREFIX, python=options.python)
    jsonschema.validate(manifest, SCHEMA)
    pod = manifest["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"disk": "ssd"} and pod["priorityClassName"] == "low"
    assert pod["tolerations"] == [{"key": "dedicated", "operator": "Equal", "value": "grid", "effect": "NoSchedule"}]
    limits = pod["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "2", "memory": "1536Mi", "ephemeral-storage": "1Gi", "nvidia.com/gpu": "1"}
    manifest["spec"]["template"]["spec"]["hostNetwork"] = True
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, SCHEMA)
