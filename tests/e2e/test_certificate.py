"""The certificate of a job: made by its requester, checked by anybody who has the network file."""

from __future__ import annotations

import pytest

from tests.e2e.network import Network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SCRIPT = """
import os
with open(os.path.join(os.environ["IEXEC_OUT"], "answer.txt"), "w") as file:
    file.write("42")
"""


def test_certificate_of_a_job_convinces_a_stranger_and_a_changed_file_does_not(network: Network) -> None:
    ran = network.fairgrid("run", network.script("job.py", SCRIPT), "--trust", "0.7", "--out", "out", "--json")
    assert ran.code == 0, ran.stderr
    made = network.fairgrid("task", "certificate", ran.document["dealId"], "--out", "c.json", "--json")
    assert made.code == 0, made.stderr
    assert made.document["files"] == ["answer.txt"] and made.document["bytes"] < 100_000

    folder = network.local.folder.network
    asked = network.fairgrid("verify", "c.json", "--network", folder, "--result", "out", "--json")
    assert asked.code == 0, asked.stderr
    proven = asked.document
    agreed = [line["worker"] for line in ran.document["contributions"] if line["agreed"]]
    assert (proven["digest"], sorted(proven["agreed"])) == (ran.document["resultDigest"], sorted(agreed))
    assert (proven["status"], proven["hubKnown"], proven["matched"]) == ("proven", True, ["answer.txt"])

    (network.scratch / "out" / "answer.txt").write_text("43")
    forged = network.fairgrid("verify", "c.json", "--network", folder, "--result", "out/answer.txt", "--json")
    assert forged.code == 5 and "is none of the certificate's files" in forged.document["message"]
