"""The first words of a job to its proxy: two forms are understood, everything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.runtime.network.requests import BadRequest, ProxyRequest, parse_request, refusal


def test_a_tunnel_names_host_and_port() -> None:
    request = parse_request(b"CONNECT Example.ORG.:8443 HTTP/1.1\r\nHost: other\r\nProxy-Authorization: x\r\n\r\n")
    assert request == ProxyRequest("example.org", 8443)
    assert request.is_tunnel
    assert parse_request(b"CONNECT [2606:2800::1]:443 HTTP/1.0\r\n\r\n") == ProxyRequest("2606:2800::1", 443)


def test_a_request_is_sent_on_as_to_its_server_once_and_without_what_was_for_the_proxy() -> None:
    head = (
        b"GET http://Example.org/a/b?c=d#e HTTP/1.1\r\nHost: inner.example\r\nAccept: */*\r\nConnection: keep-alive\r\n"
        b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic abc\r\nUpgrade: websocket\r\n\r\n"
    )
    assert parse_request(head) == ProxyRequest(
        "example.org",
        80,
        b"GET /a/b?c=d HTTP/1.1\r\nHost: Example.org\r\nConnection: close\r\nAccept: */*\r\n\r\n",
    )
    assert parse_request(b"POST http://example.org:81 HTTP/1.1\r\n\r\n").head.startswith(b"POST / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "head",
    [
        *(b"", b"\r\n\r\n", b"hello\r\n\r\n", b"GET /path HTTP/1.1\r\n\r\n", b"GET http:///x HTTP/1.1\r\n\r\n"),
        *(b"GET https://example.org/ HTTP/1.1\r\n\r\n", b"GET ftp://example.org/ HTTP/1.1\r\n\r\n"),
        *(b"GET http://user@example.org/ HTTP/1.1\r\n\r\n", b"GET http://example.org:99999/ HTTP/1.1\r\n\r\n"),
        *(b"CONNECT example.org HTTP/1.1\r\n\r\n", b"CONNECT example.org:0 HTTP/1.1\r\n\r\n"),
        *(b"CONNECT [::1%lo]:80 HTTP/1.1\r\n\r\n", b"CONNECT http://example.org:80 HTTP/1.1\r\n\r\n"),
        *(b"CONNECT ex\xc3\xa4mple.org:80 HTTP/1.1\r\n\r\n", b"CONNECT a:80 HTTP/2\r\n\r\n"),
        *(b"CONNECT a:80 HTTP/1.1\r\nbad header\r\n\r\n", b"CONNECT a:80 HTTP/1.1\r\n folded: x\r\n\r\n"),
        *(b"GET http://a.org/ HTTP/1.1\r\nX: a\nY: b\r\n\r\n", b"GET http://a.org/ HTTP/1.1\r\nX: \0\r\n\r\n"),
        *(b"CONNECT -a.org:80 HTTP/1.1\r\n\r\n", b"GET http://[/ HTTP/1.1\r\n\r\n"),
    ],
)
def test_other_words_are_refused(head: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_request(head)


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_request_or_refused(noise: bytes) -> None:
    for head in (noise, b"CONNECT " + noise + b" HTTP/1.1\r\n\r\n", b"GET http://" + noise + b" HTTP/1.1\r\n\r\n"):
        try:
            request = parse_request(head)
        except BadRequest:
            continue
        assert 1 <= request.port <= 65_535 and request.host == request.host.lower()


def test_a_refusal_is_an_answer_with_its_reason() -> None:
    assert refusal(403, "no.").startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert refusal(403, "no.").endswith(b"\r\n\r\nfairgrid: no.\n")
