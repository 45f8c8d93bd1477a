"""No connection leads into this machine or its owner's network, whatever a name, a number or a redirect says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from fairgrid.errors import UsageError
from fairgrid.seams.addresses import AddressRefused, AddressRule, GuardedTransport, look_up
from fairgrid.seams.service import serving

PUBLIC = AddressRule()
LOCAL = AddressRule(allow_loopback=True)

REFUSED = [
    "127.0.0.1",
    "127.8.9.1",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "0.0.0.0",
    "::",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fc00::1",
    "224.0.0.251",
    "ff02::fb",
    "255.255.255.255",
    "240.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::a9fe:a9fe",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    "nonsense",
]


@pytest.mark.parametrize("address", REFUSED)
def test_address_that_is_not_public_is_refused(address: str) -> None:
    assert PUBLIC.fault(address) is not None


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_address_is_allowed(address: str) -> None:
    assert PUBLIC.fault(address) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_local_network_allows_this_machine_and_nothing_else(address: str) -> None:
    assert LOCAL.fault(address) is None
    assert all(LOCAL.fault(other) for other in ("10.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0"))


def test_named_network_is_allowed_but_never_a_metadata_service() -> None:
    rule = AddressRule.of(("10.1.0.0/16", "169.254.0.0/16"))
    assert rule.fault("10.1.2.3") is None
    assert rule.fault("10.2.0.1") is not None
    assert rule.fault("127.0.0.1") is not None
    assert rule.fault("169.254.169.254") is not None
    with pytest.raises(UsageError, match=r"like 10\.1\.0\.0/16"):
        AddressRule.of(("10.1.0.1/16",))


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1"])
async def test_number_that_means_this_machine_is_seen_through(host: str) -> None:
    assert set(await look_up(host, 80)) == {"127.0.0.1"}
    async with httpx.AsyncClient(transport=GuardedTransport(PUBLIC)) as http:
        with pytest.raises(AddressRefused, match="this machine itself"):
            await http.get(f"http://{host}/")


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """A server that greets whoever asks it by any name, and redirects wherever ``to`` says."""

    async def answer(request: Request) -> Response:
        if "to" in request.query_params:
            return RedirectResponse(request.query_params["to"])
        return PlainTextResponse(f"hello {request.headers['host']}")

    async with serving(Starlette(routes=[Route("/", answer)])) as base:
        yield base


def port_of(site: str) -> int:
    return int(site.rsplit(":", 1)[1])


async def test_connection_goes_to_the_address_that_was_judged_and_asks_by_name(site: str) -> None:
    asked: list[str] = []

    async def names(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async with httpx.AsyncClient(transport=GuardedTransport(LOCAL, look_up=names)) as http:
        answer = await http.get(f"http://storage.example:{port_of(site)}/")
    assert answer.text == f"hello storage.example:{port_of(site)}"
    assert asked == ["storage.example"]


async def test_name_that_changes_its_address_between_two_looks_gains_nothing(site: str) -> None:
    answers = [["93.184.216.34"], ["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> list[str]:
        return answers.pop(0)

    transport = GuardedTransport(PUBLIC, look_up=rebinding)
    async with httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(5, connect=0.2)) as http:
        # The first look is judged and is where it connects: nobody is there in this test's world.
        with pytest.raises(httpx.TransportError):
            await http.get(f"http://rebind.example:{port_of(site)}/")
        with pytest.raises(AddressRefused):
            await http.get(f"http://rebind.example:{port_of(site)}/")


async def test_name_with_a_public_and_a_private_address_is_only_asked_at_the_public_one(site: str) -> None:
    async def both(host: str, port: int) -> list[str]:
        return ["10.0.0.1", "127.0.0.1"]

    async with httpx.AsyncClient(transport=GuardedTransport(LOCAL, look_up=both)) as http:
        assert (await http.get(f"http://both.example:{port_of(site)}/")).status_code == 200


async def test_address_that_does_not_answer_is_followed_by_the_next(site: str) -> None:
    async def several(host: str, port: int) -> list[str]:
        return ["127.0.0.9", "127.0.0.1"]

    async with httpx.AsyncClient(transport=GuardedTransport(LOCAL, look_up=several)) as http:
        assert (await http.get(f"http://several.example:{port_of(site)}/")).status_code == 200


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://10.0.0.1/",
        "http://2852039166/",
    ],
)
async def test_redirect_into_a_private_network_is_refused(site: str, target: str) -> None:
    async with httpx.AsyncClient(transport=GuardedTransport(LOCAL), follow_redirects=True) as http:
        with pytest.raises(AddressRefused):
            await http.get(f"{site}/", params={"to": target})
        assert (await http.get(f"{site}/", params={"to": f"{site}/"})).text.startswith("hello")


async def test_host_whose_name_has_no_address_cannot_be_reached() -> None:
    async def nothing(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    async with httpx.AsyncClient(transport=GuardedTransport(PUBLIC, look_up=nothing)) as http:
        with pytest.raises(httpx.ConnectError, match="has no address"):
            await http.get("http://nowhere.example/")


async def test_number_of_hosts_that_are_talked_to_is_limited(site: str) -> None:
    async def local(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with httpx.AsyncClient(transport=GuardedTransport(LOCAL, look_up=local)) as http:
        for number in range(16):
            await http.get(f"http://host{number}.example:{port_of(site)}/")
        with pytest.raises(AddressRefused, match="more than 16"):
            await http.get(f"http://one-too-many.example:{port_of(site)}/")
