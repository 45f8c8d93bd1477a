"""A worker trusts its own file; a pool's description counts only when its owner saw and accepted it, once."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from fairgrid.chain.network import Network, document_of, load_network, save_network
from fairgrid.cli.main import main
from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.worker.setup.joining import described_by, fetch_description, find_network, pin

ADDRESS = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
OTHER = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
NETWORK = Network(
    name="somewhere",
    chain_id=7,
    rpc="http://127.0.0.1:9",
    hub=ADDRESS,
    hub_code_hash="0x" + "ab" * 32,
    rlc=ADDRESS,
    market="http://127.0.0.1:9",
    storage="http://127.0.0.1:9",
    pool="http://127.0.0.1:9",
    pool_address=OTHER,
)
POOL = "http://pool.example"


def written(folder: Path, network: Network, name: str) -> Path:
    path = folder / name
    save_network(network, path)
    return path


def answering(content: bytes, status: int = 200) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(status, content=content))


def test_the_given_file_counts_before_all_others(tmp_path: Path) -> None:
    given = written(tmp_path, replace(NETWORK, name="given"), "given.json")
    pinned = written(tmp_path, NETWORK, "pinned.json")
    found = find_network(given, pinned, tmp_path / "none", pool=None)
    assert found is not None and found.name == "given"


def test_the_pinned_file_counts_before_another_local_network(tmp_path: Path) -> None:
    pinned = written(tmp_path, replace(NETWORK, name="pinned"), "pinned.json")
    local = written(tmp_path, replace(NETWORK, hub=OTHER, name="local"), "local.json")
    found = find_network(None, pinned, local, pool=NETWORK.pool)
    assert found is not None and found.name == "pinned"


def test_a_local_network_that_came_back_on_other_ports_is_still_the_pinned_one(tmp_path: Path) -> None:
    pinned = written(tmp_path, NETWORK, "pinned.json")
    local = written(tmp_path, replace(NETWORK, rpc="http://127.0.0.1:10"), "local.json")
    found = find_network(None, pinned, local, pool=None)
    assert found is not None and found.rpc == "http://127.0.0.1:10"


@pytest.mark.parametrize(("pool", "known"), [(None, True), ("http://localhost:9/", True), (POOL, False)])
def test_the_local_network_is_taken_unless_another_pool_is_named(tmp_path: Path, pool: str | None, known: bool) -> None:
    local = written(tmp_path, NETWORK, "local.json")
    assert (find_network(None, tmp_path / "none", local, pool=pool) is not None) is known


async def test_a_description_is_read_shown_whole_and_pinned_with_the_pool_that_answered(tmp_path: Path) -> None:
    body = json.dumps(document_of(NETWORK)).encode()
    described = await fetch_description(POOL, transport=answering(body))
    assert described == NETWORK
    shown = dict(described_by(described, POOL))
    assert {shown["hub"], shown["chain id"], shown["hub code hash"]} == {ADDRESS, "7", "0x" + "ab" * 32}
    path = tmp_path / "new" / "network.json"
    pin(described, path, pool=POOL + "/")
    assert load_network(path) == replace(NETWORK, pool=POOL)


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"[]",
        b"{}",
        b"[" * 10_000,
        json.dumps({**document_of(NETWORK), "hub": "0x12"}).encode(),
        json.dumps({**document_of(NETWORK), "chainId": "7"}).encode(),
        json.dumps({**document_of(NETWORK), "chainId": 0}).encode(),
        json.dumps({**document_of(NETWORK), "hubCodeHash": "yes"}).encode(),
        json.dumps({**document_of(NETWORK), "rpc": "file:///etc/passwd"}).encode(),
        json.dumps({**document_of(NETWORK), "name": "a\x1b[2Jb"}).encode(),
        json.dumps({**document_of(NETWORK), "name": "n" * 501}).encode(),
        json.dumps({**document_of(NETWORK), "storageMirrors": "x"}).encode(),
        b" " * 70_000,
    ],
)
async def test_a_description_that_cannot_be_is_refused(body: bytes) -> None:
    with pytest.raises(UsageError):
        await fetch_description(POOL, transport=answering(body))


async def test_a_pool_that_describes_nothing_or_is_away_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="--network"):
        await fetch_description(POOL, transport=answering(b"", 404))
    with pytest.raises(UsageError, match="status 302"):
        await fetch_description(POOL, transport=answering(b"", 302))
    with pytest.raises(ServiceUnavailable):
        await fetch_description("http://127.0.0.1:9")


@pytest.fixture
def describing() -> Iterator[str]:
    """A server that answers everything with the description of `NETWORK`; its URL."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(document_of(NETWORK)).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(20)


def test_without_acceptance_hub_and_hash_are_shown_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, describing: str
) -> None:
    monkeypatch.setenv("FAIRGRID_DIR", str(tmp_path / "no-network"))
    folder = tmp_path / "worker"

    def start(*more: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["worker", "start", "--dir", str(folder), *more])
        return int(str(ended.value.code))

    assert start("--pool", describing) == 2
    shown = capsys.readouterr().err
    assert NETWORK.hub in shown and NETWORK.hub_code_hash in shown and "--accept-network" in shown
    assert not folder.exists()
    assert start() == 2
    assert "fairgrid up" in capsys.readouterr().err
    # Accepted, it is pinned; the lie that is asked for ends the start before the chain is needed.
    assert start("--pool", describing, "--accept-network", "--misbehave", "flip-byte") == 2
    assert load_network(folder / "network.json") == replace(NETWORK, pool=describing)
