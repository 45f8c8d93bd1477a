"""Who may read metrics, and that strangers cannot make them grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from fairgrid.errors import UsageError
from fairgrid.seams.metrics import Metered, metrics_token, new_registry

TOKEN = "a-token-that-is-long-enough"


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"hello {len(await request.body())}")


def client(
    token: str = "", peer: str = "127.0.0.1", headers: Mapping[str, str] | None = None
) -> tuple[Any, httpx.AsyncClient]:
    application = Starlette(routes=[Route("/hello/{name}", hello, methods=["GET", "POST"])])
    metered = Metered(application, new_registry("test"), token=token)
    transport = httpx.ASGITransport(metered, client=(peer, 5))
    return metered, httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=dict(headers or {}))


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Value by name and label values."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.8.8.8"])
async def test_programs_on_this_machine_may_read(peer: str) -> None:
    _, http = client(peer=peer)
    async with http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert samples(answer.text)["fairgrid_build_info", ("test", "0.1.0")] == 1


@pytest.mark.parametrize("peer", ["10.0.0.7", "8.8.8.8", "2001:db8::1", "unknown"])
async def test_other_machines_are_refused_and_told_how(peer: str) -> None:
    _, http = client(peer=peer)
    async with http:
        answer = await http.get("/metrics")
    assert answer.status_code == 403
    assert "FAIRGRID_METRICS_TOKEN" in answer.text
    assert "fairgrid_" not in answer.text.replace("FAIRGRID_METRICS_TOKEN", "")


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "via", "x-real-ip"])
async def test_what_a_proxy_passes_on_does_not_count_as_this_machine(header: str) -> None:
    _, http = client(headers={header: "127.0.0.1"})
    async with http:
        assert (await http.get("/metrics")).status_code == 403


async def test_a_web_page_that_gave_this_machine_a_name_is_refused() -> None:
    _, http = client(headers={"host": "evil.example:9000"})
    async with http:
        assert (await http.get("/metrics")).status_code == 403
    for good in ("localhost:9000", "[::1]:9000", "127.0.0.1:9000"):
        _, http = client(headers={"host": good})
        async with http:
            assert (await http.get("/metrics")).status_code == 200, good


async def test_with_a_token_everybody_must_send_it_from_wherever() -> None:
    for peer in ("127.0.0.1", "8.8.8.8"):
        _, http = client(token=TOKEN, peer=peer)
        async with http:
            assert (await http.get("/metrics")).status_code == 401
            wrong = await http.get("/metrics", headers={"authorization": f"Bearer {TOKEN}x"})
            assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, "Bearer")
            assert (await http.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})).status_code == 200


@pytest.mark.parametrize("token", ["short", "sixteen blanks !", "ünicode-ünicode-ünicode"])
def test_a_token_that_is_none_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRGRID_METRICS_TOKEN", token)
    with pytest.raises(UsageError, match="at least 16"):
        metrics_token()
    monkeypatch.setenv("FAIRGRID_METRICS_TOKEN", TOKEN)
    assert metrics_token() == TOKEN


async def test_requests_count_with_their_bytes_under_the_handlers_name() -> None:
    _, http = client()
    async with http:
        await http.post("/hello/world", content=b"12345")
        await http.get("/nothing")
        seen = samples((await http.get("/metrics")).text)
    assert seen["fairgrid_http_requests_total", ("hello", "POST", "200")] == 1
    assert seen["fairgrid_http_requests_total", ("none", "GET", "404")] == 1
    assert seen["fairgrid_http_received_bytes_total", ()] == 5
    assert seen["fairgrid_http_sent_bytes_total", ()] == len("hello 5") + len("Not Found")
    assert seen["fairgrid_http_request_seconds_count", ("hello",)] == 1
    assert seen["fairgrid_http_requests_in_progress", ()] == 0


async def test_strangers_cannot_make_the_figures_grow() -> None:
    _, http = client()
    async with http:
        before = len(samples((await http.get("/metrics")).text))
        for number in range(50):
            await http.request(f"VERB{number}", f"/nothing/{number}?{number}")
        await http.get("/hello/one")
        await http.get("/hello/two")
        after = samples((await http.get("/metrics")).text)
    assert after["fairgrid_http_requests_total", ("none", "other", "404")] == 50
    assert len(after) - before < 50, "one line a handler and bucket, none a path or verb"


async def test_openmetrics_is_given_to_who_asks_for_it() -> None:
    _, http = client()
    async with http:
        answer = await http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.rstrip().endswith("# EOF")
