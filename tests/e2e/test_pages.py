"""What the pages show of a network is done on one, as it is written there."""

from __future__ import annotations

import re

import pytest

from tests.docs.blocks import block
from tests.e2e.network import Network
from tests.e2e.shell import run_line

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def shell(network: Network, commands: list[str]) -> str:
    """Run lines of a shell block, with the network where `fairgrid up` puts it; gives what they said on stdout."""
    place = network.scratch / "home" / ".fairgrid" / "local"
    if not place.is_symlink():
        place.parent.mkdir(parents=True)
        place.symlink_to(network.local.folder.path)
    return "".join(run_line(command, network.scratch, place.parents[1]) for command in commands)


def python(network: Network, text: str) -> str:
    """Run a block of Python; gives what it printed."""
    (network.scratch / "shown.py").write_text(text)
    return shell(network, ["python shown.py"])


def test_certificate_of_a_job_is_made_and_checked_as_the_page_says(network: Network) -> None:
    (network.scratch / "mean.py").write_text(block("tutorial.md", "# mean.py").text)
    (network.scratch / "numbers.csv").write_text("value\n1\n2\n4\n")
    commands = block("certificates.md", "fairgrid run mean.py").commands
    assert len(commands) == 3
    shell(network, commands)
    names: dict[str, object] = {}
    exec(compile(block("certificates.md", "from pathlib").text, "docs/certificates.md", "exec"), names)
    who_agreed = names["who_agreed"]
    assert callable(who_agreed)
    assert len(who_agreed(str(network.scratch / "mean.certificate.json"))) >= 1


def test_script_of_the_migration_page_runs_on_the_local_network_by_its_argument(network: Network) -> None:
    (network.scratch / "anywhere.py").write_text(block("migration.md", "# anywhere.py").text)
    (last,) = [line for line in block("migration.md", "python anywhere.py").commands if line.endswith("local")]
    assert shell(network, [last]) == "124 171\n"


def test_data_set_is_registered_and_offered_as_the_page_says(network: Network) -> None:
    said = python(network, block("data-owner.md", "from pathlib").text)
    assert re.fullmatch(r"0x[0-9a-fA-F]{40} 0x[0-9a-f]{64}\nrain 2025 \[1000\]\n", said)
    address, _ = said.splitlines()[0].split()
    register, sign = block("data-owner.md", "fairgrid dataset register").commands
    registered = re.search(r"0x[0-9a-fA-F]{40}", shell(network, [f"{register} --yes --json"]).split('"address"')[1])
    assert registered is not None and registered[0] != address
    offer = sign.replace("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf", registered[0])
    assert offer != sign and '"published": true' in shell(network, [f"{offer} --yes --json"])
    shown = shell(network, [f"fairgrid dataset show {address} --json"])
    assert '"name": "rain 2025"' in shown and "/ipfs/" in shown


def test_orders_of_the_page_are_signed_and_cancelled_in_python(network: Network) -> None:
    assert python(network, block("accounts.md", "from fairgrid.client.blocking").text) == "True 0 3\n"


def test_networks_of_the_page_compute(network: Network) -> None:
    """The blocks start a network each; `tests/e2e/test_local_network.py` does. Here they use one that runs."""
    pages = [block("testing.md", "import fairgrid"), block("testing.md", "import asyncio")]
    texts = [page.text.replace("LocalNetwork(workers=2)", "LocalNetwork.running()") for page in pages]
    assert all("LocalNetwork.running()" in text for text in texts)
    plain, asynchronous = (python(network, text) for text in texts)
    assert "5 calls in 5 tasks of 1 deals" in plain
    assert asynchronous.startswith("144\n")
