from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex
from fairgrid.protocol.orders import DatasetOrder
from fairgrid.protocol.typed_data import CLOSE, SIGN, order_hash
from tests.protocol.actors import Actor
from tests.protocol.scenario import Scenario, refusal

NOT_OWNER = "Ownable: caller is not the owner"
KINDS = ("app", "dataset", "workerpool", "request")
SOMEBODY = Actor("somebody").address


def tag(bits: int) -> str:
    return f"0x{bits:064x}"


# --- configuration ------------------------------------------------------------------------------------------------


def test_a_hub_cannot_be_configured_again_and_only_its_owner_is_told_so(scenario: Scenario) -> None:
    hub, people = scenario.hub, scenario.people
    assert refusal(hub.configure, people.stranger.address) == NOT_OWNER
    assert refusal(hub.configure, people.admin.address) == "already-configured"


def test_registries_are_changed_to_what_they_are_and_to_nothing_else(scenario: Scenario) -> None:
    hub, admin = scenario.hub, scenario.people.admin.address
    current = [hub.registries.apps.address, hub.registries.datasets.address, hub.registries.workerpools.address]
    hub.change_registries(admin, *current)
    assert refusal(hub.change_registries, scenario.people.stranger.address, *current) == NOT_OWNER
    for place in range(3):
        changed = [*current]
        changed[place] = SOMEBODY
        assert refusal(hub.change_registries, admin, *changed) == "registries-are-immutable"


def test_the_domain_separator_needs_no_update(scenario: Scenario) -> None:
    before, mark = scenario.hub.domain_separator, len(scenario.hub.events)
    scenario.hub.update_domain_separator(scenario.people.stranger.address)
    assert (scenario.hub.domain_separator, len(scenario.hub.events)) == (before, mark)


# --- relay --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_anybody_makes_any_order_known(scenario: Scenario, kind: str) -> None:
    order = scenario.unsigned(with_dataset=True)[KINDS.index(kind)].signed("0xfa15e0")
    scenario.hub.broadcast_order(scenario.people.stranger.address, order)
    event = scenario.hub.events[-1]
    assert (event.name, event.address) == (f"Broadcast{kind.capitalize()}Order", scenario.hub.address)
    shown = event.arguments[f"{kind}order"]
    assert shown[0] == getattr(order, order.SOLIDITY_TYPES[0][0]) and shown[-1] == from_hex("0xfa15e0")
    assert len(shown) == len(order.SOLIDITY_TYPES) + 1
    assert scenario.hub.view_consumed(order_hash(order, scenario.hub.domain)) == 0


# --- datasets of bulk deals -----------------------------------------------------------------------------------------

DEAL_TAG = tag(1 << 40 | 1 << 9)


@pytest.fixture
def deal(scenario: Scenario) -> str:
    """A deal without a dataset."""
    return scenario.deal(request={"tag": DEAL_TAG}, workerpool={"tag": DEAL_TAG})


def bulk(scenario: Scenario, **changes: Any) -> DatasetOrder:
    order = replace(DatasetOrder(scenario.dataset, 50, 2), **changes)
    signed: DatasetOrder = scenario.people.dataset_owner.sign_order(order, scenario.hub.domain)
    return signed


def why(scenario: Scenario, order: DatasetOrder, deal: str) -> str:
    text = refusal(scenario.hub.assert_dataset_deal_compatibility, order, deal)
    assert text is not None
    return text.removeprefix("IncompatibleDatasetOrder(").removesuffix(")")


def test_a_dataset_that_fits_is_neither_consumed_nor_paid(scenario: Scenario, deal: str) -> None:
    order = bulk(scenario, tag=tag(1 << 40 | 0b1110))
    mark = len(scenario.hub.events)
    for _ in range(3):
        scenario.hub.assert_dataset_deal_compatibility(order, deal)
    assert scenario.hub.view_consumed(order_hash(order, scenario.hub.domain)) == 0
    assert len(scenario.hub.events) == mark


def test_every_reason_is_given_in_its_order(scenario: Scenario, deal: str) -> None:
    stranger = scenario.people.stranger
    with_dataset = scenario.deal(with_dataset=True)
    bad: dict[str, Any] = {
        "apprestrict": SOMEBODY,
        "workerpoolrestrict": SOMEBODY,
        "requesterrestrict": SOMEBODY,
        "tag": tag(1),
    }
    forged = stranger.sign_order(bulk(scenario, volume=0, **bad), scenario.hub.domain)
    assert why(scenario, forged, tag(1)) == "Dataset order is revoked or fully consumed"
    forged = stranger.sign_order(bulk(scenario, **bad), scenario.hub.domain)
    assert why(scenario, forged, tag(1)) == "Invalid dataset order signature"
    assert why(scenario, bulk(scenario, **bad), tag(1)) == "Deal not found"
    assert why(scenario, bulk(scenario, **bad), with_dataset) == "Deal already has a dataset"
    for restriction, name in (("apprestrict", "App"), ("workerpoolrestrict", "Workerpool")):
        assert why(scenario, bulk(scenario, **bad), deal) == f"{name} restriction not satisfied"
        bad[restriction] = ZERO_ADDRESS
    assert why(scenario, bulk(scenario, **bad), deal) == "Requester restriction not satisfied"
    scenario.hub.group_members.add((SOMEBODY, scenario.people.requester.address))
    assert why(scenario, bulk(scenario, **bad), deal) == "Tag compatibility not satisfied"
    bad["tag"] = DEAL_TAG
    scenario.hub.assert_dataset_deal_compatibility(bulk(scenario, **bad), deal)


def test_a_dataset_order_is_good_until_its_last_unit(scenario: Scenario, deal: str) -> None:
    orders = scenario.unsigned(with_dataset=True, request={"volume": 1}, dataset={"volume": 2})
    _, order, _, _ = signed = scenario.sign(orders)
    scenario.hub.match_orders(scenario.people.stranger.address, *signed)
    scenario.hub.assert_dataset_deal_compatibility(order, deal)
    scenario.hub.manage_order(scenario.people.dataset_owner.address, order, CLOSE)
    assert why(scenario, order, deal) == "Dataset order is revoked or fully consumed"


def test_a_presigned_dataset_order_needs_no_signature(scenario: Scenario, deal: str) -> None:
    order = bulk(scenario).signed("0x")
    assert refusal(scenario.hub.assert_dataset_deal_compatibility, order, deal) == "invalid-signature-format"
    scenario.hub.manage_order(scenario.people.dataset_owner.address, order, SIGN)
    scenario.hub.assert_dataset_deal_compatibility(order, deal)


def test_what_is_no_dataset_is_refused_without_data(scenario: Scenario, deal: str) -> None:
    order = bulk(scenario, dataset=SOMEBODY)
    assert refusal(scenario.hub.assert_dataset_deal_compatibility, order, deal) is None
