"""What `fairgrid worker doctor` says of the network: which runtimes could, and what the owner lets them."""

from __future__ import annotations

import pytest

from fairgrid.cli.worker_doctor import _network_words
from fairgrid.worker.owner.policy import WorkerPolicy

ROWS = [{"runtime": "wasmtime-49/py312/deterministic", "network": False}, {"runtime": "process/x", "network": True}]


@pytest.mark.parametrize(
    ("rows", "policy", "words"),
    [
        (ROWS[:1], WorkerPolicy(allow_network=True), "no runtime here can give it"),
        (ROWS, WorkerPolicy(), "process/x could give it to jobs that ask for it; `allow_network = true`"),
        (ROWS, WorkerPolicy(allow_network=True), "process/x give it to jobs that ask for it, to *."),
        (ROWS, WorkerPolicy(allow_network=True, network_hosts=()), "to no host."),
    ],
)
def test_the_doctor_says_who_could_give_the_network_and_what_the_policy_does_with_it(
    rows: list[dict[str, object]], policy: WorkerPolicy, words: str
) -> None:
    assert words in _network_words(rows, policy)
