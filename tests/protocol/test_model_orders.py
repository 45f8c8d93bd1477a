from __future__ import annotations

from collections.abc import Callable

import pytest

from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, from_hex
from fairgrid.protocol.model import DEFAULT_CATEGORIES
from fairgrid.protocol.orders import Order
from fairgrid.protocol.typed_data import CLOSE, SIGN, domain_separator, order_hash
from tests.protocol.actors import Actor, compact, malleable
from tests.protocol.scenario import Scenario, refusal

KINDS = ("app", "dataset", "workerpool", "request")


def order_and_owner(scenario: Scenario, kind: str) -> tuple[Order, Actor]:
    people = scenario.people
    owners = (people.app_owner, people.dataset_owner, people.scheduler, people.requester)
    index = KINDS.index(kind)
    return scenario.unsigned(with_dataset=True)[index], owners[index]


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_presigns_and_closes_its_order(scenario: Scenario, kind: str) -> None:
    hub = scenario.hub
    order, owner = order_and_owner(scenario, kind)
    hash_ = order_hash(order, hub.domain)
    hub.manage_order(owner.address, order, SIGN)
    assert hub.view_presigned(hash_) == owner.address
    assert hub.verify_presignature(owner.address, hash_)
    assert not hub.verify_presignature(scenario.people.stranger.address, hash_)
    assert hub.events[-1].name == f"Signed{kind.capitalize()}Order"
    assert hub.events[-1].arguments == {f"{kind}Hash": hash_}
    hub.manage_order(owner.address, order, CLOSE)
    assert hub.view_consumed(hash_) == order.volume
    assert hub.events[-1].name == f"Closed{kind.capitalize()}Order"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", [SIGN, CLOSE])
def test_a_stranger_needs_the_owners_signature_of_that_very_operation(
    scenario: Scenario, kind: str, operation: int
) -> None:
    hub, stranger = scenario.hub, scenario.people.stranger
    order, owner = order_and_owner(scenario, kind)
    good = owner.sign_operation(order, operation, hub.domain)
    for bad in (
        stranger.sign_operation(order, operation, hub.domain),
        owner.sign_operation(order, 1 - operation, hub.domain),
        owner.sign_order(order, hub.domain).sign,
        malleable(good),
    ):
        assert refusal(hub.manage_order, stranger.address, order, operation, bad) == ("invalid-sender-or-signature")
    assert refusal(hub.manage_order, stranger.address, order, operation) == "invalid-signature-format"
    hub.manage_order(stranger.address, order, operation, good)
    assert hub.view_presigned(order_hash(order, hub.domain)) == (owner.address if operation == SIGN else ZERO_ADDRESS)


def test_an_operation_that_does_not_exist_is_refused(scenario: Scenario) -> None:
    order, owner = order_and_owner(scenario, "app")
    assert refusal(scenario.hub.manage_order, owner.address, order, 2) is None


def test_an_order_of_an_asset_that_does_not_exist_cannot_be_managed(scenario: Scenario) -> None:
    order = scenario.unsigned(app={"app": scenario.people.stranger.address})[0]
    assert refusal(scenario.hub.manage_order, scenario.people.stranger.address, order, SIGN) is None


def test_signatures_of_both_lengths_hold_and_others_do_not(scenario: Scenario) -> None:
    hub, alice = scenario.hub, Actor("alice")
    hash_ = "0x" + "5a" * 32
    signature = alice.sign_hash(from_hex(hash_))
    assert hub.verify_signature(alice.address, hash_, signature)
    assert hub.verify_signature(alice.address, hash_, compact(signature))
    assert not hub.verify_signature(alice.address, hash_, malleable(signature))
    assert not hub.verify_signature(alice.address, ZERO32, signature)
    assert refusal(hub.verify_signature, alice.address, hash_, "0x") == "invalid-signature-format"
    assert not hub.verify_signature(scenario.app, hash_, "0x")


def test_the_zero_address_signed_nothing(scenario: Scenario) -> None:
    assert not scenario.hub.verify_signature(ZERO_ADDRESS, ZERO32, "0x" + "00" * 65)
    assert not scenario.hub.verify_presignature(ZERO_ADDRESS, ZERO32)


def test_a_presignature_excuses_any_signature_bytes(scenario: Scenario) -> None:
    order, owner = order_and_owner(scenario, "app")
    hash_ = order_hash(order, scenario.hub.domain)
    scenario.hub.manage_order(owner.address, order, SIGN)
    assert scenario.hub.verify_presignature_or_signature(owner.address, hash_, "0xnonsense"[:2])
    other = scenario.people.stranger.address
    assert refusal(scenario.hub.verify_presignature_or_signature, other, hash_, "0x") == ("invalid-signature-format")


def test_a_fresh_hub_has_the_five_categories_and_its_domain(scenario: Scenario) -> None:
    hub = scenario.hub
    names = [hub.view_category(index).name for index in range(hub.count_category())]
    assert names == [name for name, _ in DEFAULT_CATEGORIES] == ["XS", "S", "M", "L", "XL"]
    assert [hub.view_category(index).timeref for index in range(5)] == [300, 1_200, 3_600, 10_800, 36_000]
    assert hub.domain_separator == domain_separator(hub.domain)
    assert hub.callback_gas == 200_000
    assert hub.tee_broker == ZERO_ADDRESS


def test_an_unknown_category_is_refused_without_data(scenario: Scenario) -> None:
    assert refusal(scenario.hub.view_category, 5) is None
    assert refusal(scenario.hub.view_category, -1) is None


def test_only_the_owner_configures(scenario: Scenario) -> None:
    hub, stranger, admin = scenario.hub, scenario.people.stranger.address, scenario.people.admin.address
    calls: list[Callable[[str], object]] = [
        lambda caller: hub.create_category(caller, "XXL", "", 1),
        lambda caller: hub.set_tee_broker(caller, stranger),
        lambda caller: hub.set_callback_gas(caller, 1),
    ]
    for call in calls:
        assert refusal(call, stranger) == "Ownable: caller is not the owner"
        call(admin)
    assert (hub.count_category(), hub.tee_broker, hub.callback_gas) == (6, stranger, 1)
