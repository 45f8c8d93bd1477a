"""Images of a registry: a real one on loopback, by digest or not at all."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Stop
from tests.containers import new_provider
from tests.needs import need
from tests.runtime.container.conftest import Jobs

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def registry(tmp_path: Path, busybox_image: Path) -> Iterator[tuple[str, str]]:
    """A registry with the image of busybox: its host and port, and the image's digest."""
    need(shutil.which("docker-registry") and shutil.which("skopeo"), "docker-registry or skopeo is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "r")}}
    configuration = {"version": 0.1, "storage": storage, "http": {"addr": host}}
    (tmp_path / "registry.json").write_text(json.dumps(configuration))
    with subprocess.Popen(
        ["docker-registry", "serve", str(tmp_path / "registry.json")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        copy = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--digestfile", str(tmp_path / "digest")]
        copy += [f"oci-archive:{busybox_image}", f"docker://{host}/team/busybox:1"]
        until = time.monotonic() + 60
        while subprocess.run(copy, capture_output=True, check=False).returncode:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.2)
        yield host, (tmp_path / "digest").read_text().strip()
        process.terminate()


def reference(folder: Path, image: str) -> Path:
    path = folder / "program.image.json"
    path.write_text(json.dumps({"image": image, "entrypoint": ["/bin/sh"]}))
    return path


@pytest.mark.parametrize("flavour", ["podman", "docker"])
async def test_an_image_is_fetched_by_digest_from_a_registry_that_is_allowed(
    flavour: str, registry: tuple[str, str], jobs: Jobs, tmp_path: Path
) -> None:
    host, digest = registry
    program = reference(tmp_path, f"{host}/team/busybox@{digest}")
    sandbox = new_provider(flavour, registries=(host,)).sandbox()
    for word in ("one", "two"):
        outcome = await sandbox.run(jobs.job(f"echo {word}", program=program))
        assert (outcome.stop, outcome.stdout.decode()) == (Stop.EXITED, f"{word}\n"), outcome.stderr


async def test_a_wrong_digest_and_a_registry_that_is_not_allowed_are_refused(
    registry: tuple[str, str], jobs: Jobs, tmp_path: Path
) -> None:
    host, digest = registry
    wrong = reference(tmp_path, f"{host}/team/busybox@sha256:{'0' * 64}")
    with pytest.raises(HostFailure, match="did not give the image"):
        await new_provider("podman", registries=(host,)).sandbox().run(jobs.job("true", program=wrong))
    right = reference(tmp_path, f"{host}/team/busybox@{digest}")
    with pytest.raises(HostFailure, match="does not allow"):
        await new_provider("podman").sandbox().run(jobs.job("true", program=right))
    tagged = reference(tmp_path, f"{host}/team/busybox:1")
    outcome = await new_provider("podman", registries=(host,)).sandbox().run(jobs.job("true", program=tagged))
    assert outcome.exit_code == 125 and b"no digest" in outcome.stderr
