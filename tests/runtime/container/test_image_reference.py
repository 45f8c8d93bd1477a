"""References of images: by digest, with a registry, and nothing else."""

from __future__ import annotations

import json

import pytest

from fairgrid.errors import ManifestError
from fairgrid.runtime.container.image_reference import MAX_REFERENCE_BYTES, parse_reference
from fairgrid.runtime.container.settings import fault_of_engine, fault_of_registry

DIGEST = "sha256:" + "0f" * 32


def reference(image: str, **more: object) -> bytes:
    return json.dumps({"image": image, **more}).encode()


def test_a_reference_with_registry_and_digest_is_taken() -> None:
    found = parse_reference(reference(f"127.0.0.1:5055/team/app@{DIGEST}", entrypoint=["/run", "-x"]))
    assert (found.registry, found.repository, found.digest) == ("127.0.0.1:5055", "team/app", DIGEST)
    assert found.entrypoint == ("/run", "-x") and found.name == f"127.0.0.1:5055/team/app@{DIGEST}"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (reference("docker.io/library/python:3.12"), "no digest"),
        (reference("docker.io/library/python"), "no digest"),
        (reference(f"docker.io/library/python:3.12@{DIGEST}"), "takes no tag"),
        (reference(f"python@{DIGEST}"), "names no registry"),
        (reference(f"library/python@{DIGEST}"), "no dot and no port"),
        (reference("docker.io/library/python@sha256:abc"), "64 hexadecimal"),
        (reference(f"docker.io/library/python@{DIGEST.upper()}"), "64 hexadecimal"),
        (reference(f"docker.io/../python@{DIGEST}"), "not a repository"),
        (reference(f"docker.io/a b@{DIGEST}"), "not a repository"),
        (reference(f"-v.x/a@{DIGEST}"), "not a registry"),
        (reference(f"docker.io/a@{DIGEST}", entrypoint="/run"), "list"),
        (reference(f"docker.io/a@{DIGEST}", entrypoint=[""]), "list"),
        (reference(f"docker.io/a@{DIGEST}", user="root"), "unknown keys: user"),
        (b"[]", "not an object"),
        (b"{", "not JSON"),
        (b'{"image": 1}', "not an object with"),
        (b" " * (MAX_REFERENCE_BYTES + 1), "larger than"),
    ],
)
def test_anything_else_is_refused_with_the_reason(data: bytes, says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        parse_reference(data)


def test_names_of_engines_and_registries_in_a_policy_are_checked() -> None:
    assert [fault_of_engine(name) for name in ("", "podman", "docker", "/opt/bin/podman-5")] == [None] * 4
    assert all(fault_of_engine(name) for name in ("nerdctl", "./podman", "/bin/sh"))
    assert [fault_of_registry(name) for name in ("docker.io", "localhost", "host:5000", "10.0.0.1:5000")] == [None] * 4
    assert all(fault_of_registry(name) for name in ("", "library", "https://x.org", "x.org/a", "X.org", "-x.org"))
