from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from fairgrid.chain.answers import _SHAPES
from fairgrid.chain.rpc import JsonRpc, RpcError
from fairgrid.errors import ServiceUnavailable


def node(answer: Callable[[httpx.Request], httpx.Response]) -> JsonRpc:
    return JsonRpc("http://node.example", transport=httpx.MockTransport(answer))


def result(request: httpx.Request, value: object) -> httpx.Response:
    return httpx.Response(200, json={"jsonrpc": "2.0", "id": json.loads(request.content)["id"], "result": value})


async def test_a_result_is_given() -> None:
    async with node(lambda request: result(request, "0x7a69")) as rpc:
        assert await rpc.request("eth_chainId") == "0x7a69"


async def test_a_result_of_null_is_none() -> None:
    async with node(lambda request: result(request, None)) as rpc:
        assert await rpc.request("eth_getTransactionReceipt", "0x") is None


async def test_an_error_carries_code_message_and_data() -> None:
    error = {"code": 3, "message": "execution reverted", "data": "0x"}
    async with node(lambda _: httpx.Response(200, json={"jsonrpc": "2.0", "id": 1, "error": error})) as rpc:
        with pytest.raises(RpcError, match=r"refuses eth_call: execution reverted \(code 3\)") as caught:
            await rpc.request("eth_call")
    assert (caught.value.code, caught.value.data) == (3, "0x")


async def test_a_batch_is_given_in_the_order_asked_whatever_the_order_answered() -> None:
    def reversed_answers(request: httpx.Request) -> httpx.Response:
        bodies = json.loads(request.content)
        return httpx.Response(200, json=[{"id": body["id"], "result": body["method"]} for body in reversed(bodies)])

    async with node(reversed_answers) as rpc:
        assert await rpc.batch([("a", []), ("b", []), ("c", [])]) == ["a", "b", "c"]
        assert await rpc.batch([]) == []


async def test_a_batch_that_lacks_an_answer_is_an_unavailable_node() -> None:
    async with node(lambda request: httpx.Response(200, json=[{"id": 1, "result": 1}])) as rpc:
        with pytest.raises(ServiceUnavailable, match="answer to b is not JSON-RPC"):
            await rpc.batch([("a", []), ("b", [])])


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.Response(200, json=["what"]),
        httpx.Response(200, json={"hello": 1}),
        httpx.Response(200, content=b"\xff\xfe"),
    ],
)
async def test_answers_that_are_not_json_rpc_are_an_unavailable_node(response: httpx.Response) -> None:
    async with node(lambda _: response) as rpc:
        with pytest.raises(ServiceUnavailable, match="The chain at http://node"):
            await rpc.request("eth_chainId")


async def test_a_kept_connection_that_was_closed_is_opened_again_once() -> None:
    calls = 0

    def closed_at_first(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise httpx.RemoteProtocolError("Server disconnected")
        return result(request, "0x1")

    async with node(closed_at_first) as rpc:
        assert await rpc.request("eth_chainId") == "0x1"
    assert calls == 2


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.ReadError("reset")])
async def test_a_node_that_is_down_is_an_unavailable_service(error: httpx.HTTPError) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    async with node(fail) as rpc:
        with pytest.raises(ServiceUnavailable) as caught:
            await rpc.request("eth_chainId")
    assert caught.value.service == "chain"
    assert caught.value.url == "http://node.example"


async def test_an_answer_without_end_and_one_that_drips_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairgrid.chain.rpc.MAX_ANSWER_BYTES", 1_000)

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b"[" * 100

    class Dripping(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0.01)
                yield b" "

    async with node(lambda _: httpx.Response(200, stream=Endless())) as rpc:
        with pytest.raises(ServiceUnavailable, match="its answer has more than"):
            await rpc.request("eth_chainId")
    dripping = httpx.MockTransport(lambda _: httpx.Response(200, stream=Dripping()))
    monkeypatch.setattr("fairgrid.chain.rpc.MAX_ANSWER_BYTES", 10**9)
    async with JsonRpc("http://node.example", timeout_s=0.05, transport=dripping) as rpc:
        with pytest.raises(ServiceUnavailable, match="no answer in time"):
            await rpc.request("eth_chainId")


GARBAGE: tuple[object, ...] = (
    True,
    7,
    1.5,
    "",
    "0x",
    "0xzz",
    "latest",
    [],
    {},
    [None],
    {"number": "0x1"},
    {"number": "0x1", "hash": "0x" + "2" * 64, "timestamp": "0x1"},
    "0x" + "1" * 65,
)
NULL_IS_AN_ANSWER = {"eth_getBlockByHash", "eth_getBlockByNumber", "eth_getTransactionReceipt"}
GOOD: dict[str, object] = {"eth_call": "0x", "eth_getCode": "0x", "eth_getLogs": []}


@pytest.mark.parametrize("method", sorted(_SHAPES))
async def test_an_answer_of_another_shape_is_a_node_that_does_not_work(method: str) -> None:
    for garbage in (*GARBAGE, *(() if method in NULL_IS_AN_ANSWER else (None,))):
        if garbage == GOOD.get(method, "no such answer") and type(garbage) is type(GOOD.get(method)):
            continue
        async with node(lambda request, answer=garbage: result(request, answer)) as rpc:  # type: ignore[misc]
            with pytest.raises(ServiceUnavailable, match=f"its answer to {method} is nonsense"):
                await rpc.request(method)


async def test_deep_nesting_and_a_senseless_error_are_a_node_that_does_not_work() -> None:
    async with node(lambda _: httpx.Response(200, text="[" * 100_000)) as rpc:
        with pytest.raises(ServiceUnavailable, match="no JSON"):
            await rpc.request("eth_chainId")
    error = {"code": "x", "message": ["\x1b[31m" + "a" * 9_000]}
    async with node(lambda _: httpx.Response(200, json={"error": error})) as rpc:
        with pytest.raises(RpcError) as caught:
            await rpc.request("eth_chainId")
    assert caught.value.code == 0 and len(str(caught.value)) < 1_000 and "\x1b" not in str(caught.value)
