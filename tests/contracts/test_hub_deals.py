"""Deals and results as records (`lib/deals.vy`, `lib/blob.vy`): all they hold comes back; each is written once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import boa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgrid.protocol.hexes import checksum, from_hex, keccak, to_hex
from tests.contracts.test_hub_packing import numbers
from tests.contracts.world import bytes32, mock

CREATION_CODE = bytes.fromhex("631f2f216260e01b5f525f5f60045f335afa505f5f533d5f60013e3d6001015ff3")
ZERO = "0x" + "00" * 20

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: checksum(to_hex(raw)))
optional = st.one_of(st.just(ZERO), addresses)
resources = st.tuples(addresses, addresses, numbers(96))


@dataclass(frozen=True)
class Terms:
    """`deals.Terms`, in its order."""

    app: tuple[str, str, int]
    dataset: tuple[str, str, int]
    workerpool: tuple[str, str, int]
    trust: int
    category: int
    tag: int
    requester: str
    beneficiary: str
    callback: str
    sponsor: str
    start_time: int
    bot_first: int
    bot_size: int
    worker_stake_ratio: int
    scheduler_reward_ratio: int
    time_reference: int
    in_batch_lane: bool
    in_boost: bool

    def values(self) -> tuple[Any, ...]:
        return tuple(vars(self).values())


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    requester = draw(addresses)
    return Terms(
        app=draw(resources),
        dataset=draw(st.one_of(st.just((ZERO, ZERO, 0)), resources)),
        workerpool=draw(resources),
        trust=draw(numbers(32)),
        category=draw(numbers(24)),
        tag=draw(st.one_of(numbers(32), numbers(256))),
        requester=requester,
        beneficiary=draw(st.one_of(optional, st.just(requester))),
        callback=draw(optional),
        sponsor=draw(st.one_of(addresses, st.just(requester))),
        start_time=draw(numbers(40)),
        bot_first=draw(numbers(64)),
        bot_size=draw(numbers(32)),
        worker_stake_ratio=draw(numbers(32)),
        scheduler_reward_ratio=draw(st.integers(0, 100)),
        time_reference=draw(numbers(32)),
        in_batch_lane=draw(st.booleans()),
        in_boost=draw(st.booleans()),
    )


EXAMPLE = Terms(
    app=("0x" + "0a" * 20, "0x" + "0b" * 20, 1),
    dataset=(ZERO, ZERO, 0),
    workerpool=("0x" + "0c" * 20, "0x" + "0d" * 20, 2),
    trust=1,
    category=0,
    tag=0,
    requester="0x" + "0e" * 20,
    beneficiary=ZERO,
    callback=ZERO,
    sponsor="0x" + "0e" * 20,
    start_time=1,
    bot_first=0,
    bot_size=1,
    worker_stake_ratio=30,
    scheduler_reward_ratio=1,
    time_reference=300,
    in_batch_lane=False,
    in_boost=False,
)


@pytest.fixture(scope="module")
def harness() -> Any:
    return mock("deals_harness")


def _pair(party: str, number: int) -> int:
    return int(party, 16) << 96 | number


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    deal=terms(),
    params=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300),
    number=numbers(256),
)
def test_every_term_comes_back(harness: Any, deal: Terms, params: str, number: int) -> None:
    deal_id = number.to_bytes(32, "big")
    with boa.env.anchor():
        harness.write(deal_id, deal.values(), params)
        head, found = harness.find(deal_id)
        assert head.app_pay == _pair(*deal.app[1:])
        assert head.pool_pay == _pair(*deal.workerpool[1:])
        assert head.pool_terms >> 96 == int(deal.workerpool[0], 16)
        assert head.app_terms >> 96 == int(deal.app[0], 16)
        assert head.requester_id >> 96 == int(deal.requester, 16)
        has_dataset = deal.dataset[0] != ZERO
        assert (found.dataset, found.dataset_owner, found.dataset_price) == (
            deal.dataset if has_dataset else (ZERO, ZERO, 0)
        )
        assert (found.sponsor, found.callback, found.beneficiary) == (deal.sponsor, deal.callback, deal.beneficiary)
        assert int.from_bytes(found.tag, "big") == deal.tag
        terms_word, app_word = head.pool_terms & (2**96 - 1), head.app_terms & (2**96 - 1)
        assert (terms_word >> 56, terms_word >> 24 & (2**32 - 1)) == (deal.start_time, deal.bot_size)
        assert terms_word >> 16 & 255 == deal.scheduler_reward_ratio
        assert bool(terms_word & 64) == deal.in_batch_lane
        assert bool(terms_word & 128) == deal.in_boost
        assert (app_word >> 64, app_word >> 40 & (2**24 - 1)) == (deal.trust, deal.category)
        assert head.tail >> 64 & (2**64 - 1) == deal.bot_first
        assert head.tail >> 32 & (2**32 - 1) == deal.time_reference
        assert head.tail & (2**32 - 1) == deal.worker_stake_ratio
        size = len(boa.env.get_code(head.location)) - 1
        assert harness.read(head.location, found.params_start, size - found.params_start) == params.encode()
        assert harness.id_of(deal_id) == deal_id
        price = deal.workerpool[2]
        assert tuple(harness.stakes(deal_id)) == (price * deal.worker_stake_ratio // 100, price * 30 // 100)


@pytest.mark.parametrize(
    "change",
    [
        {"trust": 2**32},
        {"category": 2**24},
        {"worker_stake_ratio": 2**32},
        {"time_reference": 2**32},
        {"scheduler_reward_ratio": 101},
        {"bot_size": 2**32},
        {"bot_first": 2**64},
        {"start_time": 2**40},
        {"app": ("0x" + "0a" * 20, "0x" + "0b" * 20, 2**96)},
        {"workerpool": ("0x" + "0a" * 20, "0x" + "0b" * 20, 2**96)},
        {"dataset": ("0x" + "0a" * 20, "0x" + "0b" * 20, 2**96)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_term_that_does_not_fit_is_refused(harness: Any, change: dict[str, Any]) -> None:
    with pytest.raises(boa.BoaError):
        harness.write(from_hex(bytes32(5)), replace(EXAMPLE, **change).values(), "")


def test_a_deal_is_written_once(harness: Any) -> None:
    deal_id = from_hex(bytes32(2**200))
    harness.write(deal_id, EXAMPLE.values(), "first")
    for other in (deal_id, from_hex(bytes32(2**200 + 1))):
        with pytest.raises(boa.BoaError):
            harness.write(other, replace(EXAMPLE, trust=7).values(), "second")
    head, _ = harness.find(deal_id)
    assert head.app_terms & (2**96 - 1) == 1 << 64
    assert harness.find(from_hex(bytes32(2**200 + 1)))[0].location == ZERO


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 255, 256, 257, 4_607, 4_608])
def test_a_record_keeps_its_bytes_at_a_predictable_address(harness: Any, size: int) -> None:
    data = bytes((number * 7 + size) % 256 for number in range(size))
    salt = keccak(size.to_bytes(4, "big"))
    location = harness.store(salt, data)
    expected = keccak(b"\xff" + from_hex(str(harness.address).lower()) + salt + keccak(CREATION_CODE))[12:]
    assert location == checksum(to_hex(expected))
    assert boa.env.get_code(location) == b"\x00" + data
    assert harness.read(location, 0, size) == data
    for start, length in ((0, size // 2), (size // 3, size - size // 3), (size, 0)):
        assert harness.read(location, start, length) == data[start : start + length]
    with pytest.raises(boa.BoaError):
        harness.read(location, 0, size + 1)
    with pytest.raises(boa.BoaError):
        harness.store(salt, b"again")


def test_nobody_can_run_a_record(harness: Any) -> None:
    """Its first byte stops every call, whatever the data are (here: code that destroys or returns)."""
    location = harness.store(b"\x01" * 32, bytes.fromhex("33ff") + bytes.fromhex("60016000f3"))
    before = boa.env.get_code(location)
    computation = boa.env.execute_code(to_address=location, data=b"\x01\x02\x03\x04")
    assert not computation.is_error
    assert computation.output == b""
    assert boa.env.get_code(location) == before


def test_a_record_is_never_written_with_too_little_gas(harness: Any) -> None:
    """The call-back may run out of gas while its caller goes on; then nothing must be left behind."""
    salt, data = b"\x02" * 32, b"\xee" * 1_000
    abi = keccak(b"store(bytes32,bytes)")[:4]
    call = abi + salt + (64).to_bytes(32, "big") + len(data).to_bytes(32, "big") + data + bytes(24)
    seen = set()
    for gas in range(30_000, 330_000, 5_000):
        with boa.env.anchor():
            computation = boa.env.execute_code(to_address=str(harness.address), data=call, gas=gas)
            seen.add(computation.is_error)
            if not computation.is_error:
                assert boa.env.get_code(checksum(to_hex(computation.output[-20:]))) == b"\x00" + data
    assert seen == {True, False}


def test_outside_of_a_transaction_there_is_no_record_in_the_making(harness: Any) -> None:
    computation = boa.env.execute_code(to_address=str(harness.address), data=bytes.fromhex("1f2f2162"))
    assert not computation.is_error
