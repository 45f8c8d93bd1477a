"""Scores of a hub before this one, in the reference model."""

from __future__ import annotations

import pytest

from fairgrid.protocol.model import Revert
from tests.protocol.scenario import Scenario


def test_score_of_the_hub_before_comes_along_once_if_it_is_higher(scenario: Scenario) -> None:
    hub, people = scenario.hub, scenario.people
    first, second = people.workers[0].address, people.workers[1].address
    hub.old_scores = {first: 17}
    hub.import_score(people.stranger.address, first)
    hub.import_score(people.stranger.address, second)
    assert (hub.view_score(first), hub.view_score(second)) == (17, 0)
    hub.old_scores = {first: 30}
    with pytest.raises(Revert, match="score-already-imported"):
        hub.import_score(first, first)
    assert hub.view_score(first) == 17


def test_without_a_hub_before_it_nothing_is_imported_and_nothing_is_spoilt(scenario: Scenario) -> None:
    hub, worker = scenario.hub, scenario.people.workers[0].address
    with pytest.raises(Revert) as caught:
        hub.import_score(worker, worker)
    assert caught.value.text is None
    hub.old_scores = {worker: 3}
    hub.import_score(worker, worker)
    assert hub.view_score(worker) == 3
