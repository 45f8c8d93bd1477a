"""Which suite a case counts for."""

from __future__ import annotations

import pytest

from tests.suites import suite_of


@pytest.mark.parametrize(
    ("node_id", "suite"),
    [
        ("tests/runtime/test_wasm.py::test_a", "wasm"),
        ("tests/runtime/process/test_limits.py::test_a", "process"),
        ("tests/runtime/container/test_sandbox.py::test_a[podman]", "podman"),
        ("tests/runtime/container/test_sandbox.py::test_a[docker-x]", "docker"),
        ("tests/runtime/container/test_images.py::test_a", "container"),
        ("tests/sandbox/test_escapes.py::test_a[gvisor-fork bomb]", "gVisor"),
        ("tests/sandbox/test_escapes.py::test_a[process-fork bomb]", "process"),
        ("tests/runtime/vm/test_machine.py::test_a", "QEMU"),
        ("tests/runtime/engines/test_slurm.py::test_a", "Slurm"),
        ("tests/runtime/engines/test_clusters.py::test_a[ray]", "Ray"),
        ("tests/pool/core/test_rounds.py::test_a", None),
    ],
)
def test_a_case_counts_for_the_suite_of_its_folder_or_parameter(node_id: str, suite: str | None) -> None:
    assert suite_of(node_id) == suite
