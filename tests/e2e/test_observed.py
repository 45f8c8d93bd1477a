"""What an operator sees of a real network: metrics of every process, one trace from call to receipt, logs, usage."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from fairgrid.localnet.options import WorkerSpec
from fairgrid.seams.tracing import trace_id_of
from tests.e2e.acts import on_chain, until
from tests.e2e.network import Network, running_network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@dataclass
class Told:
    """One span as the collector got it."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    began: int
    ended: int
    attributes: dict[str, Any]
    links: int


@dataclass
class Collector:
    """A tiny OTLP receiver."""

    url: str = ""
    spans: list[Told] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {item.key: item.value.string_value for item in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    attributes = {
                        item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes
                    }
                    self.spans.append(
                        Told(
                            service,
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.start_time_unix_nano,
                            span.end_time_unix_nano,
                            attributes,
                            len(span.links),
                        )
                    )

    def of(self, deal: str) -> list[Told]:
        trace = f"{trace_id_of(deal):032x}"
        return [span for span in self.spans if span.trace == trace]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    kept = Collector()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def worker_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def observed(collector: Collector, worker_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Three workers, everybody traced, logs in JSON with every detail, one task done."""
    workers = [
        WorkerSpec("one", arguments=("--metrics", f"127.0.0.1:{worker_port}")),
        WorkerSpec("two"),
        WorkerSpec("three"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRGRID_OTLP", collector.url)
        patch.setenv("FAIRGRID_LOG_FORMAT", "json")
        patch.setenv("FAIRGRID_LOG_LEVEL", "debug")
        folder, scratch = tmp_path_factory.mktemp("observed"), tmp_path_factory.mktemp("scratch")
        with running_network(folder, scratch, workers=workers) as network:
            yield network


@pytest.fixture(scope="module")
def deal(observed: Network) -> str:
    """A deal that three workers agreed on."""
    script = observed.script("job.py", "print(sum(range(1000)))")
    answer = observed.fairgrid("run", script, "--trust", "0.85", "--out", "out", "--json")
    assert answer.code == 0, answer.stderr
    return str(answer.document["dealId"])


def test_all_spans_of_a_task_are_one_trace_in_order_and_name_its_transactions(
    observed: Network, deal: str, collector: Collector
) -> None:
    wanted = {"deal", "match", "task", "initialize", "lease", "fetch", "run", "seal", "contribute", "reveal", "upload"}
    wanted |= {"check", "finalize", "download"}
    until(lambda: wanted <= {span.name for span in collector.of(deal)}, f"the spans {sorted(wanted)}")
    told = collector.of(deal)
    by_name: dict[str, list[Told]] = {}
    for span in told:
        by_name.setdefault(span.name, []).append(span)
    services = {span.service for span in told}
    assert services >= {"fairgrid-client", "fairgrid-pool", "fairgrid-worker", "fairgrid-storage"}
    (root,) = by_name["deal"]
    known = {span.span: span for span in told}
    assert root.parent == ""
    for span in told:
        assert span is root or span.parent in known, f"{span.name} of {span.service} hangs in the air"
    (task,) = by_name["task"]
    assert known[task.parent] is root
    of_worker = [span for name in ("fetch", "run", "seal", "contribute", "upload") for span in by_name[name]]
    assert {known[span.parent].name for span in of_worker} == {"lease"}
    assert len(by_name["lease"]) == len(by_name["run"]) == 3
    for worker in {span.attributes["fairgrid.worker"] for span in by_name["run"]}:
        own = {
            name: next(span for span in by_name[name] if span.attributes.get("fairgrid.worker") == worker)
            for name in ("fetch", "run", "seal", "contribute")
        }
        times = [own[name].began for name in ("fetch", "run", "seal", "contribute")]
        assert times == sorted(times)
    first = {name: min(span.began for span in spans) for name, spans in by_name.items()}
    order = ["deal", "match", "initialize", "lease", "run", "contribute", "finalize", "download"]
    assert [first[name] for name in order] == sorted(first[name] for name in order), first
    assert all(span.ended >= span.began for span in told)
    for name in ("match", "initialize", "contribute", "reveal", "finalize"):
        sent = [span for span in by_name[name] if "fairgrid.tx" in span.attributes]
        assert sent and all(span.links for span in sent), name
    receipts = {name: {span.attributes["fairgrid.tx"] for span in by_name[name]} for name in ("match", "contribute")}
    assert (len(receipts["match"]), len(receipts["contribute"])) == (1, 3)
    hashes = sorted(receipts["match"] | receipts["contribute"])
    mined = on_chain(observed, lambda chain: chain.mined(hashes))
    assert all(receipt is not None and receipt.succeeded for receipt in mined)


def test_every_process_tells_prometheus_what_it_did(observed: Network, deal: str, worker_port: int) -> None:
    network = observed.local.network
    names = {}
    for service in ("pool", "market", "storage"):
        names[service] = scrape(getattr(network, service))
    names["worker"] = scrape(f"http://127.0.0.1:{worker_port}")
    pool = names["pool"]
    assert pool["fairgrid_pool_tasks_finished_total", "completed"] >= 1
    assert pool["fairgrid_pool_workers", "idle"] == 3
    assert pool["fairgrid_pool_gas_total",] > 0
    assert names["storage"]["fairgrid_http_received_bytes_total",] > 0
    assert names["storage"]["fairgrid_http_requests_total", "add", "POST", "200"] >= 1
    assert sum(value for key, value in names["market"].items() if key[0] == "fairgrid_http_requests_total") > 0
    assert names["worker"]["fairgrid_worker_jobs_total",] >= 1
    assert all(("fairgrid_build_info", service, "0.1.0") in figures for service, figures in names.items())


def scrape(url: str) -> dict[tuple[str, ...], float]:
    answer = httpx.get(f"{url}/metrics", trust_env=False)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_logs_are_json_lines_with_task_deal_and_worker_and_without_keys(observed: Network, deal: str) -> None:
    folder = observed.local.folder.path
    keys = [signer.private_key.hex().removeprefix("0x") for signer in _signers(observed)]
    assert len(keys) >= 5
    logs = {path.name: path.read_text() for path in folder.rglob("*.log")}
    events = []
    for name, text in logs.items():
        for key in keys:
            assert key not in text, f"{name} holds a private key"
        if name.startswith(("pool", "market", "storage")):
            events += [json.loads(line) for line in text.splitlines() if not line.startswith("ready ")]
    of_task = [event for event in events if event.get("deal") == deal]
    assert {"task", "deal", "worker", "event", "level", "timestamp", "service"} <= set(of_task[0])
    assert any(event["event"].startswith("completed") for event in of_task)


def _signers(observed: Network) -> list[Any]:
    return list(observed.local.accounts.values())


def test_usage_is_what_the_sandboxes_measured_and_the_chain_paid(observed: Network, deal: str) -> None:
    answer = observed.fairgrid("pool", "usage", "--dir", observed.local.folder.service("pool"), "--json")
    (requester,) = answer.document["accounts"]
    assert requester["completed"] >= 1 and requester["metered"] >= 3
    assert requester["cpu_ms"] > 0 and requester["wall_ms"] > 0 and requester["peak_memory_bytes"] > 1 << 20
    assert requester["bytes_in"] > 0 and requester["bytes_out"] > 0
    sums = {}
    for kind in ("worker", "pool"):
        folder = observed.local.folder.service("pool")
        answer = observed.fairgrid("pool", "usage", "--dir", folder, "--by", kind, "--json")
        sums[kind] = sum(account["nrlc"] for account in answer.document["accounts"])
    assert sums["worker"] + sums["pool"] == requester["nrlc"] > 0
