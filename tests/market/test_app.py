"""The market over HTTP: envelopes and texts, log-in, hostile input."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from fairgrid.market.app import MAX_BODY_BYTES
from fairgrid.market.client import MarketClient
from fairgrid.protocol.typed_data import typed_data_hash
from fairgrid.wallet.keys import KeySigner
from tests.market.grid import Grid, HandClock

CHAIN = {"chainId": "31337"}
HASH = "0x" + "ab" * 32


async def challenge(http: httpx.AsyncClient, address: str) -> dict[str, Any]:
    answer = (await http.get("/challenge", params={**CHAIN, "address": address})).json()
    assert answer["ok"] is True
    return dict(answer["data"])


async def header(http: httpx.AsyncClient, signer: KeySigner) -> dict[str, str]:
    data = await challenge(http, signer.address)
    return {"authorization": f"{typed_data_hash(data)}_{signer.sign_typed_data(data)}_{signer.address}"}


async def post(http: httpx.AsyncClient, grid: Grid, body: Any, *, kind: str = "app") -> tuple[int, Any]:
    """Publish as the app's owner; a dict is sent as JSON, bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await http.post(
        f"/{kind}orders", params=CHAIN, content=content, headers=await header(http, grid.app_owner)
    )
    document = response.json()
    assert document["ok"] is (response.status_code == 200)
    return response.status_code, document.get("error", document.get("published"))


async def test_the_version_is_told(http: httpx.AsyncClient) -> None:
    answer = await http.get("/version")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["ok"] is True
    assert answer.json()["version"]
    assert (await http.get("/health")).json()["service"] == "market"


async def test_a_published_order_is_answered_and_shown_in_the_published_form(
    grid: Grid, http: httpx.AsyncClient
) -> None:
    order = grid.app_order()
    expected = {
        "orderHash": grid.hash(order),
        "order": order.to_wire(),
        "chainId": 31337,
        "remaining": 10,
        "status": "open",
        "publicationTimestamp": "2023-11-14T22:13:20.000Z",
        "signer": grid.app_owner.address,
    }
    assert await post(http, grid, {"order": order.to_wire()}) == (200, expected)
    listed = (await http.get("/apporders", params={**CHAIN, "app": grid.app.lower()})).json()
    assert listed == {"ok": True, "orders": [expected], "count": 1}
    one = (await http.get(f"/apporders/{grid.hash(order).upper().replace('0X', '0x')}", params=CHAIN)).json()
    assert one == {"ok": True, **expected, "chainId": "31337"}


async def test_numbers_as_decimal_text_are_taken_as_published_clients_send_them(
    grid: Grid, http: httpx.AsyncClient
) -> None:
    wire = {name: str(value) for name, value in grid.app_order().to_wire().items()}
    status, published = await post(http, grid, {"order": wire})
    assert (status, published["order"]["appprice"]) == (200, 5)


# --- log-in ------------------------------------------------------------------------------------------------------


async def test_a_challenge_is_the_documented_typed_data_and_the_same_until_it_is_used(
    grid: Grid, http: httpx.AsyncClient
) -> None:
    data = await challenge(http, grid.app_owner.address)
    assert data["primaryType"] == "Challenge"
    assert data["domain"] == {"name": "iExec Gateway", "version": "1", "chainId": "31337"}
    text = data["message"]["challenge"]
    assert text.startswith("Sign this message to log into iExec Gateway: ")
    assert len(text.rsplit(" ", 1)[1]) == 32
    assert await challenge(http, grid.app_owner.address) == data
    assert await challenge(http, grid.stranger.address) != data
    await post(http, grid, {"order": grid.app_order().to_wire()})
    assert await challenge(http, grid.app_owner.address) != data


async def test_a_used_challenge_cannot_be_replayed(grid: Grid, http: httpx.AsyncClient) -> None:
    proof = await header(http, grid.app_owner)
    for expected in (200, 403):
        response = await http.post(
            "/apporders", params=CHAIN, json={"order": grid.app_order().to_wire()}, headers=proof
        )
        assert response.status_code == expected
    assert response.json() == {"ok": False, "error": "invalid authorization"}


async def test_a_challenge_ends_after_five_minutes(grid: Grid, http: httpx.AsyncClient, clock: HandClock) -> None:
    proof = await header(http, grid.app_owner)
    clock.time_s += 301
    body = {"order": grid.app_order().to_wire()}
    assert (await http.post("/apporders", params=CHAIN, json=body, headers=proof)).status_code == 403
    assert (await post(http, grid, body))[0] == 200


async def test_a_proof_that_is_not_one_is_refused_with_one_and_the_same_text(
    grid: Grid, http: httpx.AsyncClient
) -> None:
    data = await challenge(http, grid.app_owner.address)
    digest, owner = typed_data_hash(data), grid.app_owner
    sound, forged = owner.sign_typed_data(data), grid.stranger.sign_typed_data(data)
    bad = [
        None,
        "",
        "a_b",
        "_".join([digest, sound, owner.address, "more"]),
        f"{digest}_{forged}_{owner.address}",
        f"{digest}_{sound}_{grid.stranger.address}",
        f"{HASH}_{sound}_{owner.address}",
        f"{digest}_0x_{owner.address}",
        f"{digest}_0x{'00' * 65}_{owner.address}",
        f"{digest}_{sound[:-4]}_{owner.address}",
        f"{digest}_{sound}_nobody",
    ]
    for value in bad:
        headers = {} if value is None else {"authorization": value}
        for method in ("POST", "PUT"):
            response = await http.request(method, "/apporders", params=CHAIN, json={}, headers=headers)
            assert (response.status_code, response.json()["error"]) == (403, "invalid authorization"), value
    response = await http.post(
        "/apporders",
        params=CHAIN,
        json={"order": grid.app_order().to_wire()},
        headers={"authorization": f"{digest}_{sound}_{owner.address}"},
    )
    assert response.status_code == 200  # none of the bad ones used the challenge up


# --- validation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "query", "text"),
    [
        ("/apporders", {}, "chainId is a required field"),
        ("/challenge", {}, "chainId is a required field"),
        ("/apporders", {"chainId": "1"}, "chainId 1 is not supported"),
        ("/apporders", {"chainId": "31337.0"}, "chainId 31337.0 is not supported"),
        ("/apporders", CHAIN, "app or appOwner is required"),
        ("/datasetorders", CHAIN, "dataset or datasetOwner is required"),
        ("/apporders", {**CHAIN, "app": "x"}, 'app is neither "any" nor a valid ethereum address'),
        ("/apporders", {**CHAIN, "appOwner": "any"}, "appOwner is not a valid ethereum address"),
        ("/apporders", {**CHAIN, "app": "any", "pageSize": "9"}, "pageSize must be greater than or equal to 10"),
        ("/apporders", {**CHAIN, "app": "any", "pageSize": "1001"}, "pageSize must be less than or equal to 1000"),
        ("/apporders", {**CHAIN, "app": "any", "pageIndex": "-1"}, "pageIndex must be greater than or equal to 0"),
        ("/apporders", {**CHAIN, "app": "any", "minVolume": "0"}, "minVolume must be greater than or equal to 1"),
        ("/apporders", {**CHAIN, "app": "any", "minTag": "0x1"}, "minTag must be a bytes32 hexstring"),
        (
            "/apporders",
            {**CHAIN, "app": "any", "minVolume": "many"},
            'minVolume must be a `number` type, but the final value was: `NaN` (cast from the value `"many"`).',
        ),
        (
            "/apporders",
            {**CHAIN, "app": "any", "isRequesterStrict": "maybe"},
            'isRequesterStrict must be a `boolean` type, but the final value was: `"maybe"`.',
        ),
        ("/workerpoolorders", {**CHAIN, "category": "-3"}, "category must be greater than or equal to 0"),
        ("/apporders/0x12", CHAIN, "orderHash must be a bytes32 hexstring"),
        ("/challenge", {**CHAIN, "address": "0x12"}, "address is not a valid ethereum address"),
        ("/challenge", CHAIN, "address is a required field"),
    ],
)
async def test_a_wrong_parameter_is_answered_400_with_its_text(
    http: httpx.AsyncClient, path: str, query: dict[str, str], text: str
) -> None:
    response = await http.get(path, params=query)
    assert (response.status_code, response.json()) == (400, {"ok": False, "error": text})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"app": None}, "order.app is a required field"),
        ({"app": 5}, "order.app is not a valid ethereum address"),
        ({"tag": "0x0"}, "order.tag must be a bytes32 hexstring"),
        ({"appprice": -1}, "order.appprice must be greater than or equal to 0"),
        ({"appprice": 1.5}, "order.appprice must be an integer"),
        ({"volume": 2**53}, f"order.volume must be less than or equal to {2**53 - 1}"),
        (
            {"volume": True},
            "order.volume must be a `number` type, but the final value was: `NaN` (cast from the value `true`).",
        ),
        ({"sign": None}, "order.sign is a required field"),
        ({"sign": "hello"}, "order.sign must be a hexstring"),
        ({"color": "red"}, "order has unknown keys: color"),
    ],
)
async def test_a_wrong_field_of_an_order_is_answered_400_with_its_text(
    grid: Grid, http: httpx.AsyncClient, change: dict[str, Any], text: str
) -> None:
    assert await post(http, grid, {"order": grid.app_order().to_wire() | change}) == (400, text)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "The body is not JSON"),
        (b"{", "The body is not JSON"),
        (b"\xff\xfe", "The body is not JSON"),
        (b"[" * 100_000, "The body is not JSON"),
        (b'{"order": NaN}', "The body is not JSON"),
        (b"[]", "The body is not a JSON object"),
        (b"null", "The body is not a JSON object"),
        (b"{}", "order is a required field"),
        (b'{"order": []}', "order must be a JSON object"),
        (b'{"order": {}}', "order.app is a required field"),
    ],
)
async def test_a_body_that_is_no_order_is_answered_400(
    grid: Grid, http: httpx.AsyncClient, body: bytes, text: str
) -> None:
    assert await post(http, grid, body) == (400, text)


async def test_text_that_is_no_unicode_is_answered_400(grid: Grid, http: httpx.AsyncClient) -> None:
    body = json.dumps({"order": grid.request_order().to_wire() | {"params": "\ud800"}}).encode()
    assert await post(http, grid, body, kind="request") == (400, "The body is not JSON")


async def test_an_order_of_another_kind_is_answered_400(grid: Grid, http: httpx.AsyncClient) -> None:
    status, text = await post(http, grid, {"order": grid.dataset_order().to_wire()})
    assert (status, text) == (400, "order.app is a required field")


async def test_a_huge_body_is_answered_413_and_costs_no_challenge(grid: Grid, http: httpx.AsyncClient) -> None:
    proof = await header(http, grid.app_owner)
    response = await http.post("/apporders", params=CHAIN, content=b" " * (MAX_BODY_BYTES + 1), headers=proof)
    assert (response.status_code, response.json()["ok"]) == (413, False)
    body = {"order": grid.app_order().to_wire()}
    assert (await http.post("/apporders", params=CHAIN, json=body, headers=proof)).status_code == 200


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "orderHash is a required field"),
        ({"orderHash": "0x1"}, "orderHash must be a bytes32 hexstring"),
        ({"target": "unpublish_all"}, "app is a required field"),
        (
            {"target": "everything"},
            "target must be one of the following values: unpublish_orderHash, unpublish_last, unpublish_all",
        ),
    ],
)
async def test_a_wrong_withdrawal_is_answered_400(
    grid: Grid, http: httpx.AsyncClient, body: dict[str, str], text: str
) -> None:
    response = await http.put("/apporders", params=CHAIN, json=body, headers=await header(http, grid.app_owner))
    assert (response.status_code, response.json()["error"]) == (400, text)


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool", "request"])
async def test_an_order_that_is_not_there_is_answered_404(http: httpx.AsyncClient, kind: str) -> None:
    response = await http.get(f"/{kind}orders/{HASH}", params=CHAIN)
    assert (response.status_code, response.json()["error"]) == (404, f"{kind}order not found")


async def test_an_order_is_not_found_among_another_kind(
    grid: Grid, http: httpx.AsyncClient, market: MarketClient
) -> None:
    order_hash = await market.publish(grid.app_order(), grid.app_owner)
    assert (await http.get(f"/datasetorders/{order_hash}", params=CHAIN)).status_code == 404


async def test_an_unknown_route_or_method_is_a_plain_not_found(http: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/nothing"), ("DELETE", "/apporders"), ("POST", "/version")):
        response = await http.request(method, path)
        assert (response.status_code, response.text) == (404, "Not Found")


async def test_any_web_page_may_call_the_market(http: httpx.AsyncClient) -> None:
    response = await http.get("/version", headers={"origin": "https://page.example"})
    assert response.headers["access-control-allow-origin"] == "*"
    preflight = await http.options(
        "/apporders",
        headers={
            "origin": "https://page.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )
    assert preflight.status_code == 200


async def test_trouble_with_the_chain_is_answered_500_try_later(grid: Grid, http: httpx.AsyncClient) -> None:
    body = {"order": grid.app_order().to_wire()}
    proof = await header(http, grid.app_owner)
    grid.chain.down = True
    response = await http.post("/apporders", params=CHAIN, json=body, headers=proof)
    assert (response.status_code, response.json()["error"]) == (500, "Something went wrong, you should retry later.")
    assert (await http.get("/apporders", params={**CHAIN, "app": "any"})).status_code == 200


# --- categories --------------------------------------------------------------------------------------------------


async def test_categories_are_listed_by_time_and_found_by_number(http: httpx.AsyncClient) -> None:
    answer = (await http.get("/categories", params=CHAIN)).json()
    assert [entry["name"] for entry in answer["categories"]] == ["XS", "S", "M", "L", "XL"]
    assert answer["count"] == 5
    middle = (
        await http.get("/categories", params={**CHAIN, "minWorkClockTimeRef": "1200", "maxWorkClockTimeRef": "3600"})
    ).json()
    assert [entry["name"] for entry in middle["categories"]] == ["S", "M"]
    one = (await http.get("/categories/1", params=CHAIN)).json()
    assert (one["ok"], one["catid"], one["workClockTimeRef"], one["chainId"]) == (True, 1, 1200, 31337)
    missing = await http.get("/categories/5", params=CHAIN)
    assert (missing.status_code, missing.json()["error"]) == (404, "category not found")
    assert (await http.get("/categories/x", params=CHAIN)).status_code == 400


async def test_a_changed_copy_of_a_published_order_is_another_order(
    grid: Grid, http: httpx.AsyncClient, market: MarketClient
) -> None:
    order = grid.app_order()
    await market.publish(order, grid.app_owner)
    status, text = await post(http, grid, {"order": replace(order, volume=11).to_wire()})
    assert (status, text) == (403, "invalid sign")
