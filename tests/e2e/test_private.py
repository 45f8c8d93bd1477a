"""Private runs on a real network: results come back and are verified, and nobody on the way has seen any of it."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import fairgrid
from fairgrid.chain.network import load_network
from fairgrid.client.client import Client
from fairgrid.errors import UsageError
from fairgrid.localnet.options import honest_workers
from fairgrid.protocol.results import BLIND_FILE
from fairgrid.wallet.keys import dev_signer
from tests.e2e.network import Network, running_network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MARKER = "xyzzy-marker-0451"

SCRIPT = f"""
import os, pathlib, sys
inputs = pathlib.Path(os.environ["IEXEC_IN"])
text = (inputs / "{MARKER}.txt").read_text()
print("{MARKER}", text, sys.argv[1])
pathlib.Path(os.environ["IEXEC_OUT"], "{MARKER}.out").write_text(text + sys.argv[1])
if sys.argv[1].endswith("fails"):
    raise SystemExit(3)
"""


@pytest.fixture(scope="module")
def private_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Three honest workers of three owners."""
    folder, scratch = tmp_path_factory.mktemp("private"), tmp_path_factory.mktemp("scratch")
    with running_network(folder, scratch, workers=honest_workers(3), policy={"batch_run_s": 200.0}) as network:
        yield network


def seen_by_others(network: Network) -> Iterator[Path]:
    """Every file of the network but the requester's own, and the folders of tasks on the machines that ran them."""
    root = network.local.folder.path
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if path.is_file() and not {"deals", "runs", "tasks"} & set(parts):
            yield path


def leaks(network: Network) -> list[str]:
    """Files in which the marker is, in plain bytes or in hex."""
    needles = (MARKER.encode(), MARKER.encode().hex().encode())
    found = []
    for path in seen_by_others(network):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if any(needle in content for needle in needles) or MARKER in path.name:
            found.append(str(path))
    return found


def job(network: Network, tmp_path: Path) -> list[str | Path]:
    network.scratch = tmp_path
    (tmp_path / f"{MARKER}.txt").write_text(f"{MARKER} of the input ")
    return ["run", network.script(f"{MARKER}.py", SCRIPT), "--input", tmp_path / f"{MARKER}.txt", "--private"]


@pytest.mark.parametrize("trust", ["0", "0.7"])
def test_a_private_run_is_verified_and_nothing_of_it_is_seen_on_the_way(
    private_network: Network, tmp_path: Path, trust: str
) -> None:
    network = private_network
    run = job(network, tmp_path)
    answer = network.fairgrid(*run, "--arg", f"{MARKER}-arg", "--trust", trust, "--out", "out", "--json")
    assert answer.code == 0, answer.stderr
    assert "the pool's scheduler and the owners of the machines that run it can read all of it" in answer.stderr
    out = tmp_path / "out"
    assert (out / f"{MARKER}.out").read_text() == f"{MARKER} of the input {MARKER}-arg"
    assert MARKER in (out / "stdout.txt").read_text()
    assert len((out / BLIND_FILE).read_text()) == 65
    document = answer.document
    made = network.fairgrid("task", "certificate", document["taskIds"][0], "--out", "certificate.json")
    assert made.code == 0, made.stderr
    verified = network.fairgrid(
        "verify",
        "certificate.json",
        "--network",
        network.local.folder.path,
        "--result",
        out / f"{MARKER}.out",
        "--json",
    )
    assert verified.code == 0, verified.stdout + verified.stderr
    again = network.fairgrid("result", document["dealId"][:12], "--out", "again", "--json")
    assert again.code == 0, again.stderr
    assert (tmp_path / "again" / f"{MARKER}.out").read_bytes() == (out / f"{MARKER}.out").read_bytes()
    assert leaks(network) == []


def test_an_error_of_a_private_job_is_agreed_and_shown_to_its_requester_alone(
    private_network: Network, tmp_path: Path
) -> None:
    network = private_network
    run = job(network, tmp_path)
    answer = network.fairgrid(*run, "--arg", "fails", "--trust", "0.7", "--out", "out", "--json")
    assert answer.code == 1, answer.stderr
    assert answer.document["status"] == "failed" or answer.document["exitCode"] == 1
    assert MARKER in (tmp_path / "out" / "error.json").read_text()
    assert leaks(network) == []


def test_a_private_bag_in_the_batch_lane_is_settled_as_one(private_network: Network, tmp_path: Path) -> None:
    network = private_network
    run = job(network, tmp_path)
    (tmp_path / "each.txt").write_text("".join(f"{MARKER}-{number}\n" for number in range(12)))
    answer = network.fairgrid(*run, "--each", "each.txt", "--trust", "0.7", "--out", "out", "--json", timeout_s=300)
    assert answer.code == 0, answer.stderr
    document = answer.document
    assert (document["lane"], document["completed"]) == ("batch", 12)
    for number in range(12):
        text = (tmp_path / "out" / str(number) / f"{MARKER}.out").read_text()
        assert text == f"{MARKER} of the input {MARKER}-{number}"
    assert leaks(network) == []


def test_a_private_executor_gives_its_values_and_can_be_resumed(private_network: Network, tmp_path: Path) -> None:
    network = private_network
    with fairgrid.Executor(network.local.folder.path, budget="1 RLC", trust="0.7", private=True, progress=False) as ex:
        values = list(ex.map(_told, range(10)))
    assert values == [_told(number) for number in range(10)]
    with fairgrid.Executor.resume(ex.run_id, network.local.folder.path, progress=False) as again:
        assert [future.result() for future in again.recovered] == values
    assert leaks(network) == []


def test_another_account_cannot_open_a_private_result(private_network: Network, tmp_path: Path) -> None:
    network = private_network
    run = job(network, tmp_path)
    answer = network.fairgrid(*run, "--arg", "x", "--trust", "0", "--out", "out", "--json")
    assert answer.code == 0, answer.stderr

    async def certify() -> None:
        place = load_network(network.local.folder.path)
        async with Client.connect(place, dev_signer(7), journal_folder=tmp_path / "other") as client:
            bare = await client.certificate(answer.document["dealId"], 0, files=())
            assert bare.digest == answer.document["resultDigest"]
            with pytest.raises(UsageError, match="encrypted for its requester"):
                await client.certificate(answer.document["dealId"], 0)

    network.wait(certify())


@pytest.mark.parametrize("private", [True, False])
def test_secrets_reach_the_job_and_nobody_else(
    private_network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    network = private_network
    network.scratch = tmp_path
    monkeypatch.setenv("FAIRGRID_HOME", str(tmp_path / "home"))
    for name in ("first", "second"):
        (tmp_path / name).write_text(f"{MARKER}-{name}\n")
        kept = network.fairgrid("secret", "set", name, "--file", tmp_path / name, "--json")
        assert kept.code == 0, kept.stderr
    script = network.script(
        "job.py",
        "import hashlib, os\n"
        "text = os.environ['IEXEC_REQUESTER_SECRET_1'] + os.environ['IEXEC_REQUESTER_SECRET_2']\n"
        "print(hashlib.sha256(text.encode()).hexdigest())\n",
    )
    options = ["--private"] if private else []
    run: list[str | Path] = ["run", script, "--secret", "second", "--secret", "first", "--trust", "0.7", *options]
    answer = network.fairgrid(*run, "--out", "out", "--json")
    assert answer.code == 0, answer.stderr
    assert "the pool's scheduler" in answer.stderr
    wanted = hashlib.sha256(f"{MARKER}-second{MARKER}-first".encode()).hexdigest()
    assert (tmp_path / "out" / "stdout.txt").read_text() == wanted + "\n"
    assert leaks(network) == []
    unknown = network.fairgrid("run", script, "--secret", "third", "--out", "out")
    assert unknown.code == 2 and "has no secret 'third' (it has: first, second)" in unknown.stderr


def test_what_a_private_run_cannot_have_is_refused_before_anything_is_signed(
    private_network: Network, tmp_path: Path
) -> None:
    network = private_network
    run = job(network, tmp_path)
    for option, told in (
        (("--follow",), "nothing of it is shown"),
        (("--burst",), "one pool alone"),
        (("--checkpoint",), "no checkpoints"),
    ):
        answer = network.fairgrid(*run, *option, "--out", "out")
        assert (answer.code, told in answer.stderr) == (2, True), answer.stderr


def _told(number: int) -> str:
    return f"{MARKER[:5]}-marker-0451-{number * number}"


def test_no_key_is_in_the_pools_database(private_network: Network) -> None:
    database = next(path for path in private_network.local.folder.path.rglob("*.db") if "pool" in str(path))
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        text = "\n".join(connection.iterdump())
    assert MARKER not in text
    assert "task-keys/1" not in text
