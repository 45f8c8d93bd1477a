"""One trace a deal, whoever tells of it; and nothing at all while nobody asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from fairgrid.errors import UsageError
from fairgrid.seams import tracing
from fairgrid.seams.http import open_http
from fairgrid.seams.metrics import Metered

DEAL, OTHER = "0x" + "ab" * 32, "0x" + "cd" * 32
TX = "0x" + "ee" * 32


@pytest.fixture
def told() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    assert tracing.start_tracing("test", exporter=exporter)
    try:
        yield exporter
    finally:
        tracing.stop_tracing()


def context(span: ReadableSpan) -> SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found


def spans(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_parts_that_never_spoke_to_each_other_tell_one_trace(told: InMemorySpanExporter) -> None:
    task, lease = tracing.task_place("0x01"), tracing.lease_place("lease")
    with tracing.span("run", DEAL, lease, task="0x01"):
        pass
    tracing.record("lease", DEAL, 1.0, 2.0, under=task, place=lease)
    tracing.record("task", DEAL, 0.5, 3.0, place=task)
    tracing.record("deal", DEAL, 0.0, 4.0, under=None, place=tracing.DEAL)
    tracing.record("deal of another", OTHER, 0.0, 4.0, under=None, place=tracing.DEAL)
    found = spans(told)
    ids = {name: context(span).trace_id for name, span in found.items()}
    assert {ids[name] for name in ("run", "lease", "task", "deal")} == {tracing.trace_id_of(DEAL)}
    assert ids["deal of another"] != ids["deal"]
    parents = {name: span.parent.span_id if span.parent else None for name, span in found.items()}
    assert parents["deal"] is None
    assert parents["task"] == context(found["deal"]).span_id
    assert parents["lease"] == context(found["task"]).span_id
    assert parents["run"] == context(found["lease"]).span_id
    assert found["lease"].start_time == 1_000_000_000 and found["lease"].end_time == 2_000_000_000


def test_a_transaction_is_named_and_linked_and_the_same_for_all_that_it_carries(told: InMemorySpanExporter) -> None:
    tracing.record("initialize", DEAL, 1.0, 2.0, tx_hash=TX)
    with tracing.span("match", OTHER) as span:
        span.transaction(TX)
    one, other = spans(told)["initialize"], spans(told)["match"]
    assert one.attributes is not None and one.attributes["fairgrid.tx"] == TX
    assert other.attributes is not None and other.attributes["fairgrid.tx"] == TX
    assert one.links[0].context.trace_id == other.links[0].context.trace_id


def test_an_exception_is_told_and_goes_on(told: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="broken"), tracing.span("run", DEAL):
        raise ValueError("broken")
    (event,) = spans(told)["run"].events
    assert event.name == "exception"


async def test_a_request_carries_its_trace_to_the_service(told: InMemorySpanExporter) -> None:
    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.headers.get("traceparent", ""))

    service = Metered(Starlette(routes=[Route("/", hello)]), CollectorRegistry())
    async with open_http(transport=httpx.ASGITransport(service)) as http:
        with tracing.span("download", DEAL):
            answer = await http.get("http://service/")
        assert (await http.get("http://service/")).text == "", "no trace, no header"
    found = spans(told)
    assert f"{tracing.trace_id_of(DEAL):032x}" in answer.text
    assert context(found["GET"]).trace_id == tracing.trace_id_of(DEAL)
    assert found["GET"].parent is not None
    assert found["GET"].parent.span_id == context(found["download"]).span_id
    assert found["GET"].attributes is not None and found["GET"].attributes["fairgrid.status"] == "200"


def test_without_being_asked_nothing_is_loaded_and_nothing_costs_time() -> None:
    program = f"""
import sys, time
from fairgrid.seams import tracing
import fairgrid.client.client, fairgrid.pool.service, fairgrid.worker.agent
assert not tracing.start_tracing("test")
assert not [name for name in sys.modules if name.startswith("opentelemetry")], "loaded for nothing"
began = time.perf_counter()
for _ in range(10_000):
    with tracing.span("run", {DEAL!r}, task="0x01"):
        pass
    tracing.record("lease", {DEAL!r}, 0.0, 1.0)
print((time.perf_counter() - began) / 10_000)
"""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL", "FAIRGRID_OTLP"))}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=55, check=False, env=clean
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 100e-6, "a span and a record that nobody wants"


@pytest.mark.parametrize(
    ("name", "value", "on"),
    [
        ("FAIRGRID_OTLP", "http://127.0.0.1:9", True),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9", True),
        ("OTEL_SERVICE_NAME", "x", False),
    ],
)
def test_the_environment_turns_it_on(name: str, value: str, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    try:
        assert tracing.start_tracing("test") is on
        assert tracing.active() is on
    finally:
        tracing.stop_tracing()


def test_the_standard_switch_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRGRID_OTLP", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not tracing.start_tracing("test")


def test_an_address_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRGRID_OTLP", "collector:4318")
    with pytest.raises(UsageError, match="address of a collector"):
        tracing.start_tracing("test")


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRGRID_OTLP", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(UsageError, match=r"pip install 'fairgrid\[telemetry\]'"):
        tracing.start_tracing("test")


def test_a_collector_that_is_away_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRGRID_OTLP", "http://127.0.0.1:9")
    assert tracing.start_tracing("test")
    with tracing.span("run", DEAL):
        pass
    began = time.monotonic()
    tracing.stop_tracing()
    assert time.monotonic() - began < 20
