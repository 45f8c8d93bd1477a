"""Only an operator's own signature for exactly this request, at this pool, once, within its time, lets a request in."""

from __future__ import annotations

import dataclasses

import pytest

from fairgrid.pool.administration.operator_access import AccessRefused, OperatorAccess, authorisation
from fairgrid.pool.core.identity import PoolIdentity
from tests.pool.grid import key

OWNER, HELPER, STRANGER = key("owner"), key("helper"), key("stranger")
IDENTITY = PoolIdentity(31337, key("hub").address, key("pool").address)
NOW = 1_000_000.0
REQUEST = {"method": "POST", "target": "/admin/drain?x=1", "body": b'{"reason": "disks"}'}


class Gate:
    """An access whose clock the test sets."""

    def __init__(self) -> None:
        self.now = NOW
        self.operators = {OWNER.address, HELPER.address}
        self.access = OperatorAccess(IDENTITY, lambda who: who in self.operators, lambda: self.now)

    def ask(self, header: str, **changes: object) -> str:
        request = {**REQUEST, **changes}
        return self.access.check(header=header, client="198.51.100.7", **request).who  # type: ignore[arg-type]

    def refusal(self, header: str, **changes: object) -> AccessRefused:
        with pytest.raises(AccessRefused) as caught:
            self.ask(header, **changes)
        return caught.value


def header(signer: object = OWNER, *, identity: PoolIdentity = IDENTITY, now: float = NOW) -> str:
    return authorisation(signer, identity, now=now, **REQUEST)  # type: ignore[arg-type]


@pytest.mark.parametrize("signer", [OWNER, HELPER])
def test_the_owner_and_a_named_operator_come_in_under_their_own_names(signer: object) -> None:
    assert Gate().ask(header(signer)) == signer.address  # type: ignore[attr-defined]


def test_a_stranger_and_a_former_operator_are_refused() -> None:
    gate = Gate()
    refused = gate.refusal(header(STRANGER))
    assert refused.status == 403 and "no operator of this pool" in str(refused)
    gate.operators.remove(HELPER.address)
    assert gate.refusal(header(HELPER)).status == 403


@pytest.mark.parametrize(
    "changed",
    [{"method": "PUT"}, {"target": "/admin/drain?x=2"}, {"target": "/admin/undrain"}, {"body": b'{"reason": "other"}'}],
)
def test_nothing_of_a_signed_request_can_be_changed(changed: dict[str, object]) -> None:
    refused = Gate().refusal(header(), **changed)
    assert refused.status == 403 and "for this request" in str(refused)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(IDENTITY, chain_id=1),
        dataclasses.replace(IDENTITY, hub=key("other hub").address),
        dataclasses.replace(IDENTITY, workerpool=key("other pool").address),
    ],
)
def test_a_request_for_another_pool_is_refused(other: PoolIdentity) -> None:
    refused = Gate().refusal(header(identity=other))
    assert refused.status == 403 and "another pool" in str(refused)


def test_a_request_counts_once() -> None:
    gate, sent = Gate(), header()
    gate.ask(sent)
    refused = gate.refusal(sent)
    assert refused.status == 401 and "came before" in str(refused)
    gate.ask(header())


@pytest.mark.parametrize(("made_at", "why"), [(NOW - 100, "ended"), (NOW + 1_000, "for more than 300 s")])
def test_an_old_request_and_one_from_the_future_are_refused_and_the_clock_is_told(made_at: float, why: str) -> None:
    refused = Gate().refusal(header(now=made_at))
    assert refused.status == 401 and why in str(refused) and str(int(NOW)) in str(refused)


@pytest.mark.parametrize("text", ["", "Bearer token", "Fairgrid operator=0x12", header() + "00000000", "x" * 100_000])
def test_what_is_no_signature_is_told_what_one_looks_like(text: str) -> None:
    refused = Gate().refusal(text)
    assert refused.status == 401 and "operator=0x" in str(refused)


def test_used_nonces_are_forgotten_when_their_signatures_have_ended() -> None:
    gate = Gate()
    for _ in range(10):
        gate.ask(header())
    gate.now += 100
    gate.ask(header(now=gate.now))
    assert len(gate.access._used) == 1


def test_an_operator_that_asks_too_often_waits_and_another_does_not() -> None:
    gate = Gate()
    for _ in range(60):
        gate.ask(header())
    refused = gate.refusal(header())
    assert refused.status == 429 and refused.retry_after_s > 0
    assert gate.ask(header(HELPER)) == HELPER.address
    gate.now += 1
    gate.ask(header(now=gate.now))


def test_a_client_without_a_signature_that_counts_is_held_off_and_an_operator_at_its_address_is_not() -> None:
    gate = Gate()
    for _ in range(10):
        assert gate.refusal("nonsense").status == 401
    assert gate.refusal("nonsense").status == 429
    assert gate.refusal(header(STRANGER)).status == 429
    gate.ask(header())
    gate.now += 10
    assert gate.refusal("nonsense").status == 401
