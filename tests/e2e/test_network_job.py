"""A job with network through a whole local network: only when the deal asks and an owner allows, and no further."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fairgrid.errors import FairgridError
from fairgrid.localnet.accounts import APP_OWNER
from fairgrid.localnet.options import LocalNetworkOptions, honest_workers
from fairgrid.localnet.paths import key_folder
from fairgrid.runtime.process.bubblewrap import find_bubblewrap
from tests.e2e.network import Network, running_network
from tests.needs import need

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

FETCH = """\
#!/usr/bin/python3
import os, sys, urllib.error, urllib.request

url, chain = sys.argv[1:]
fetched = urllib.request.urlopen(url, timeout=60).read()
with open(os.path.join(os.environ["IEXEC_OUT"], "fetched.txt"), "wb") as out:
    out.write(fetched)
for place in (chain, "http://169.254.169.254/"):
    try:
        urllib.request.urlopen(place, timeout=60)
        print("REACHED")
    except urllib.error.HTTPError as error:
        print("refused", error.code)
"""


class _Data(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"rows of a public table\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def data_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Data)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def published_fetcher(network: Network, folder: Path, place: str) -> str:
    """The address of an app with the program of this test, which names ``place`` as what it connects to."""
    folder.mkdir()
    (folder / "fetch.sh").write_text(FETCH)
    (folder / "app.toml").write_text(f'name = "fetcher"\nprogram = "fetch.sh"\nreach = ["{place}"]\n')
    owner = key_folder(network.local.folder.path, APP_OWNER)
    answer = network.fairgrid("app", "publish", folder, "--key-folder", owner, "--yes", "--json")
    assert answer.code == 0, answer.stderr
    assert answer.document["reach"] == [place] and f"connects to {place}, and nowhere else" in " ".join(
        answer.stderr.split()
    )
    return str(answer.document["app"])


def test_a_job_reaches_what_its_deal_names_once_an_owner_allows_it_without_a_restart(tmp_path: Path) -> None:
    try:
        find_bubblewrap()
    except FairgridError as error:
        need(False, str(error))
    workers = honest_workers(1)
    options = LocalNetworkOptions(levels=("wasm", "process"))
    with (
        data_server() as place,
        running_network(tmp_path / "net", tmp_path, workers=workers, options=options) as network,
    ):
        network.script("fetch.sh", FETCH)
        refused = network.fairgrid("run", network.script("fetch.py", FETCH), "--reach", place, "--trust", "0")
        assert refused.code == 2 and "has no network on any machine" in refused.stderr, refused.stderr
        command = network.command(
            *("run", tmp_path / "fetch.sh", "--reach", place, "--trust", "0", "--out", "out", "--json"),
            *("--arg", f"http://{place}/table", "--arg", network.local.network.rpc),
        )
        job = subprocess.Popen(command, env=network.environment, cwd=tmp_path, stdout=-1, stderr=-1, text=True)
        try:
            worker = network.local.folder.worker(workers[0].name)
            reasons = ""
            while place not in reasons:
                assert job.poll() is None, job.communicate()
                asked = network.fairgrid("worker", "why", "--dir", worker, "--json")
                reasons = json.dumps(asked.document["poolRules"]) if asked.code == 0 else ""
                time.sleep(0.2)
            assert "network" in reasons and "allow_network = true" in reasons, reasons
            policy = worker / "policy.toml"
            policy.write_text(policy.read_text() + f'allow_network = true\nnetwork_hosts = ["{place}"]\n')
            stdout, stderr = job.communicate(timeout=200)
        finally:
            job.kill()
            job.wait()
        app = published_fetcher(network, tmp_path / "fetcher", place)
        buying = ("run", "--app", app, "--trust", "0", "--json")
        arguments = ("--arg", f"http://{place}/table", "--arg", network.local.network.rpc)
        more = network.fairgrid(*buying, *arguments, "--internet")
        assert more.code == 2 and "says itself what it connects to" in more.stderr + str(more.document)
        run = network.fairgrid(*buying, *arguments, "--out", "of-app", timeout_s=200)
        assert run.code == 0, run.stderr
        told = f"The app 'fetcher' connects to {place}: only workers whose owners allow that take it."
        assert told in " ".join(run.stderr.split())
        assert (tmp_path / "of-app" / "fetched.txt").read_text() == "rows of a public table\n"
    assert job.returncode == 0, stderr
    assert json.loads(stdout)["status"]
    assert (tmp_path / "out" / "fetched.txt").read_text() == "rows of a public table\n"
    assert (tmp_path / "out" / "stdout.txt").read_text() == "refused 403\nrefused 403\n"
