"""Each rule of matching: broken alone it is named, and the orders that break it nearly do not break another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.matching import (
    REVERT_PREFIX,
    RULES,
    KnownFacts,
    authorised,
    deal_volume,
    explain,
    first_violation,
)
from tests.protocol.actors import Actor
from tests.protocol.scenario import Orders, Scenario

SOMEBODY = Actor("somebody").address


def tag(bits: int) -> str:
    return f"0x{bits:064x}"


def facts_of(scenario: Scenario) -> KnownFacts:
    people = scenario.people
    return KnownFacts(
        category_count=5,
        owners={
            scenario.app: people.app_owner.address,
            scenario.dataset: people.dataset_owner.address,
            scenario.pool: people.scheduler.address,
        },
        registered=frozenset({scenario.app, scenario.dataset, scenario.pool}),
    )


BROKEN_TERMS: list[tuple[str, dict[str, dict[str, Any]]]] = [
    ("0x00", {"request": {"category": 1}}),
    ("0x01", {"request": {"category": 5}, "workerpool": {"category": 5}}),
    ("0x02", {"request": {"trust": 101}}),
    ("0x03", {"request": {"appmaxprice": 99}}),
    ("0x04", {"request": {"datasetmaxprice": 49}}),
    ("0x05", {"request": {"workerpoolmaxprice": 999}}),
    ("0x06", {"app": {"tag": tag(0x100)}}),
    ("0x06", {"dataset": {"tag": tag(0x100)}}),
    ("0x06", {"request": {"tag": tag(0x100)}}),
    ("0x06", {"request": {"tag": tag(0x100)}, "workerpool": {"tag": tag(0xFF)}}),
    ("0x07", {"request": {"tag": tag(1)}, "workerpool": {"tag": tag(1)}}),
    ("0x07", {"dataset": {"tag": tag(3)}, "workerpool": {"tag": tag(1)}}),
    ("0x10", {"request": {"app": SOMEBODY}}),
    ("0x11", {"request": {"dataset": SOMEBODY}}),
    ("0x12", {"request": {"workerpool": SOMEBODY}}),
    ("0x13", {"app": {"datasetrestrict": SOMEBODY}}),
    ("0x14", {"app": {"workerpoolrestrict": SOMEBODY}}),
    ("0x15", {"app": {"requesterrestrict": SOMEBODY}}),
    ("0x16", {"dataset": {"apprestrict": SOMEBODY}}),
    ("0x17", {"dataset": {"workerpoolrestrict": SOMEBODY}}),
    ("0x18", {"dataset": {"requesterrestrict": SOMEBODY}}),
    ("0x19", {"workerpool": {"apprestrict": SOMEBODY}}),
    ("0x1a", {"workerpool": {"datasetrestrict": SOMEBODY}}),
    ("0x1b", {"workerpool": {"requesterrestrict": SOMEBODY}}),
    ("0x60", {"app": {"volume": 0}}),
    ("0x60", {"dataset": {"volume": 0}}),
    ("0x60", {"workerpool": {"volume": 0}}),
    ("0x60", {"request": {"volume": 0}}),
]

KEPT_TERMS: list[dict[str, dict[str, Any]]] = [
    {},
    {"request": {"category": 4}, "workerpool": {"category": 4}},
    {"request": {"trust": 100}},
    {"request": {"trust": 0}},
    {"request": {"appmaxprice": 100, "datasetmaxprice": 50, "workerpoolmaxprice": 1_000}},
    {"dataset": {"tag": tag(0x0E)}},
    {"app": {"tag": tag(0x101)}, "request": {"tag": tag(3)}, "workerpool": {"tag": tag(0x1FF)}},
    {"app": {"volume": 1}, "request": {"volume": 1}},
]


def full(scenario: Scenario, changes: dict[str, dict[str, Any]]) -> Orders:
    return scenario.unsigned(with_dataset=True, **changes)


@pytest.mark.parametrize(("code", "changes"), BROKEN_TERMS)
def test_orders_that_break_one_rule_get_its_code(
    scenario: Scenario, code: str, changes: dict[str, dict[str, Any]]
) -> None:
    assert first_violation(*full(scenario, changes), facts_of(scenario)) == code


@pytest.mark.parametrize("changes", KEPT_TERMS)
def test_orders_at_the_edge_of_the_rules_match(scenario: Scenario, changes: dict[str, dict[str, Any]]) -> None:
    assert first_violation(*full(scenario, changes), facts_of(scenario)) is None


def test_restrictions_to_the_very_parties_match(scenario: Scenario) -> None:
    requester = scenario.people.requester.address
    app, dataset, pool = scenario.app, scenario.dataset, scenario.pool
    changes: dict[str, dict[str, Any]] = {
        "request": {"workerpool": pool},
        "app": {"datasetrestrict": dataset, "workerpoolrestrict": pool, "requesterrestrict": requester},
        "dataset": {"apprestrict": app, "workerpoolrestrict": pool, "requesterrestrict": requester},
        "workerpool": {"apprestrict": app, "datasetrestrict": dataset, "requesterrestrict": requester},
    }
    assert first_violation(*full(scenario, changes), facts_of(scenario)) is None


@pytest.mark.parametrize(
    ("kind", "code"), [("app", "0x21"), ("dataset", "0x31"), ("workerpool", "0x41"), ("request", "0x50")]
)
def test_an_order_that_its_owner_did_not_sign_is_named(scenario: Scenario, kind: str, code: str) -> None:
    facts = replace(facts_of(scenario), unsigned=frozenset({kind}))
    assert first_violation(*full(scenario, {}), facts) == code


@pytest.mark.parametrize(("kind", "code"), [("app", "0x20"), ("dataset", "0x30"), ("pool", "0x40")])
def test_an_asset_outside_the_registry_is_named(scenario: Scenario, kind: str, code: str) -> None:
    facts = facts_of(scenario)
    facts = replace(facts, registered=facts.registered - {getattr(scenario, kind)})
    assert first_violation(*full(scenario, {}), facts) == code


@pytest.mark.parametrize(("kind", "code"), [("app", "no-app"), ("dataset", "no-dataset"), ("pool", "no-workerpool")])
def test_an_asset_that_does_not_exist_is_named(scenario: Scenario, kind: str, code: str) -> None:
    facts = facts_of(scenario)
    owners = {address: owner for address, owner in facts.owners.items() if address != getattr(scenario, kind)}
    assert first_violation(*full(scenario, {}), replace(facts, owners=owners)) == code


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool", "request"])
def test_a_used_up_order_is_named(scenario: Scenario, kind: str) -> None:
    volume = 2 if kind == "request" else 10
    facts = replace(facts_of(scenario), consumed_units={kind: volume})
    assert first_violation(*full(scenario, {}), facts) == "0x60"
    facts = replace(facts_of(scenario), consumed_units={kind: volume - 1})
    assert first_violation(*full(scenario, {}), facts) is None
    assert deal_volume(*full(scenario, {}), facts) == 1


def test_without_a_dataset_its_order_is_neither_signed_nor_counted(scenario: Scenario) -> None:
    facts = replace(facts_of(scenario), unsigned=frozenset({"dataset"}))
    orders = scenario.unsigned()
    assert orders[1].dataset == ZERO_ADDRESS
    assert first_violation(*orders, facts) is None
    assert deal_volume(*orders, facts) == 2


def test_without_a_dataset_its_orders_terms_still_hold(scenario: Scenario) -> None:
    facts = facts_of(scenario)
    broken: list[tuple[str, dict[str, Any]]] = [
        ("0x04", {"datasetprice": 51}),
        ("0x06", {"tag": tag(0x100)}),
        ("0x16", {"apprestrict": SOMEBODY}),
    ]
    for code, changes in broken:
        assert first_violation(*scenario.unsigned(dataset=changes), facts) == code


def test_the_first_broken_rule_is_named_in_the_chains_order(scenario: Scenario) -> None:
    broken: dict[str, dict[str, Any]] = {}
    for code, changes in reversed(BROKEN_TERMS):
        for kind, change in changes.items():
            broken.setdefault(kind, {}).update(change)
        assert first_violation(*full(scenario, broken), facts_of(scenario)) == code


def test_a_group_admits_its_members_only(scenario: Scenario) -> None:
    group, member, other = (Actor(name).address for name in ("group", "member", "other"))
    facts = replace(facts_of(scenario), members=frozenset({(group, member)}))
    assert authorised(group, member, facts)
    assert not authorised(group, other, facts)
    assert authorised(ZERO_ADDRESS, other, facts)
    assert authorised(other, other, facts)


def test_every_code_is_explained_with_and_without_the_chains_prefix() -> None:
    for code, rule in RULES.items():
        assert explain(code) == f"{code}: {rule}"
        assert explain(REVERT_PREFIX + code).endswith(rule)
    assert explain("task-pending") == "task-pending"
