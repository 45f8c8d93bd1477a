"""Plays of configuration, old scores, relayed orders, bulk datasets and legacy views, on contracts and model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.orders import DatasetOrder
from fairgrid.protocol.trust import worker_weight
from fairgrid.protocol.typed_data import CLOSE, SIGN
from tests.contracts.batch_play import BatchPlay
from tests.contracts.play import GOOD, PRICE, Play
from tests.contracts.revm import previous_score

NOT_OWNER = "Ownable: caller is not the owner"
SCONE, TEE = 2, 1
DEAL_TAG = 1 << 40 | 1 << 9


@pytest.fixture
def play() -> Play:
    """Everybody funded, no deal yet."""
    return Play()


@pytest.fixture
def play_of_runs() -> BatchPlay:
    """The same, with words for the batch lane."""
    return BatchPlay()


def tag(bits: int) -> dict[str, str]:
    return {"tag": f"0x{bits:064x}"}


def incompatible(reason: str) -> str:
    return f"IncompatibleDatasetOrder({reason})"


# --- configuration ------------------------------------------------------------------------------------------------


def test_what_is_fixed_stays_fixed(play: Play) -> None:
    admin, stranger = play.people.admin.address, play.people.stranger.address
    registries = [play.deployed.registries[kind] for kind in ("app", "dataset", "workerpool")]
    assert play.configure(stranger).revert == NOT_OWNER
    assert play.configure(admin).revert == "already-configured"
    assert play.change_registries(stranger, *registries).revert == NOT_OWNER
    assert play.change_registries(admin, *registries).happened
    for place in range(3):
        changed = [*registries]
        changed[place] = stranger
        assert play.change_registries(admin, *changed).revert == "registries-are-immutable"
    assert play.update_domain_separator(stranger).happened


# --- scores -------------------------------------------------------------------------------------------------------


def test_an_imported_score_weighs_grows_and_falls_like_ones_own(play: Play) -> None:
    old, young = sorted(play.people.workers, key=lambda worker: -previous_score(worker.address))[:2]
    assert previous_score(old.address) >= 12
    assert play.import_score(play.people.stranger.address, old.address).happened
    assert play.import_score(old.address, old.address).revert == "score-already-imported"
    free = play.model.balance_of(old.address)
    weight = worker_weight(previous_score(old.address))
    task = play.new_task({"request": {"trust": weight + 1}})  # one more than the old worker reaches alone
    assert play.contribution(old, task).happened
    assert (
        play.model.view_contribution(task, old.address).weight
        > play.model.view_contribution(task, young.address).weight
    )
    assert play.contribution(young, task).happened
    assert play.reveal(old.address, task, GOOD).happened and play.reveal(young.address, task, GOOD).happened
    assert play.finish(task).happened
    assert play.model.view_score(old.address) == previous_score(old.address) + 1
    assert play.model.balance_of(old.address) > free
    assert play.model.view_score(young.address) == 1 < previous_score(young.address)
    assert play.import_score(young.address, young.address).happened
    assert play.model.view_score(young.address) == previous_score(young.address)
    play.check_accounts()
    play.withdraw_everything()


def test_a_score_above_the_old_one_stays_and_cannot_be_tried_again(play: Play) -> None:
    worker = min(play.people.workers, key=lambda worker: previous_score(worker.address))
    number = play.people.workers.index(worker)
    others = [index for index in range(6) if index != number][:1]
    play.make_veterans((number, *others), previous_score(worker.address) + 1)
    own = play.model.view_score(worker.address)
    assert play.import_score(worker.address, worker.address).happened
    assert play.model.view_score(worker.address) == own == previous_score(worker.address) + 1
    assert play.import_score(worker.address, worker.address).revert == "score-already-imported"


# --- relay --------------------------------------------------------------------------------------------------------


def test_orders_are_made_known_whatever_they_say(play: Play) -> None:
    stranger = play.people.stranger.address
    for order in play.orders(with_dataset=True):
        assert play.broadcast_order(stranger, order).happened
    for order in play.unsigned({"request": {"category": 99, "params": ""}, "app": {"volume": 0}}):
        assert play.broadcast_order(stranger, order).happened


# --- datasets of bulk deals -----------------------------------------------------------------------------------------


def bulk_order(play: Play, **changes: Any) -> DatasetOrder:
    """A signed order of the first dataset."""
    order = replace(DatasetOrder(play.assets.datasets[0], 57, 2), **changes)
    signed: DatasetOrder = play.people.dataset_owner.sign_order(order, play.model.domain)
    return signed


def test_a_dataset_is_refused_for_every_reason_in_its_order(play: Play) -> None:
    deal = play.match(play.orders({"request": tag(DEAL_TAG), "workerpool": tag(DEAL_TAG)})).value
    with_dataset = play.match(play.orders(with_dataset=True)).value
    stranger = play.people.stranger
    bad: dict[str, Any] = {
        "apprestrict": stranger.address,
        "workerpoolrestrict": stranger.address,
        "requesterrestrict": stranger.address,
        **tag(TEE),
    }
    forged = stranger.sign_order(bulk_order(play, volume=0, **bad), play.model.domain)
    closed = "Dataset order is revoked or fully consumed"
    assert play.check_dataset(forged, ZERO32).revert == incompatible(closed)
    forged = stranger.sign_order(bulk_order(play, **bad), play.model.domain)
    assert play.check_dataset(forged, ZERO32).revert == incompatible("Invalid dataset order signature")
    assert play.check_dataset(bulk_order(play, **bad), ZERO32).revert == incompatible("Deal not found")
    assert play.check_dataset(bulk_order(play, **bad), with_dataset).revert == incompatible(
        "Deal already has a dataset"
    )
    view = play.model.view_deal(deal)
    for restriction, name, good in (
        ("apprestrict", "App", view.app.pointer),
        ("workerpoolrestrict", "Workerpool", view.workerpool.pointer),
        ("requesterrestrict", "Requester", view.requester),
    ):
        refused = incompatible(f"{name} restriction not satisfied")
        assert play.check_dataset(bulk_order(play, **bad), deal).revert == refused
        bad[restriction] = good
    lacking = incompatible("Tag compatibility not satisfied")
    for bits in (TEE, 1 << 41, DEAL_TAG | TEE):
        assert play.check_dataset(bulk_order(play, **(bad | tag(bits))), deal).revert == lacking
    for bits in (0, SCONE, 0b1110 | DEAL_TAG):
        assert play.check_dataset(bulk_order(play, **(bad | tag(bits))), deal).happened
    assert not play.check_dataset(bulk_order(play, dataset=stranger.address), deal).happened


def test_a_dataset_order_is_good_until_its_last_unit_and_without_signature_once_presigned(play: Play) -> None:
    deal = play.match(play.orders()).value
    orders = play.orders({"dataset": {"volume": 2}}, with_dataset=True)
    order, owner = orders[1], play.people.dataset_owner.address
    assert play.match(orders).happened
    assert play.check_dataset(order, deal).happened, "one unit is left"
    again = play.orders(with_dataset=True)
    assert play.match((again[0], order, again[2], again[3])).happened
    assert play.check_dataset(order, deal).revert == incompatible("Dataset order is revoked or fully consumed")
    unsigned = bulk_order(play).signed("0x")
    assert play.check_dataset(unsigned, deal).revert == "invalid-signature-format"
    assert play.manage_order(owner, unsigned, SIGN, "0x").happened
    assert play.check_dataset(unsigned, deal).happened
    assert play.manage_order(owner, unsigned, CLOSE, "0x").happened
    assert not play.check_dataset(unsigned, deal).happened


# --- legacy views -------------------------------------------------------------------------------------------------


def test_flat_views_tell_what_the_others_do(play: Play) -> None:
    terms = {"tag": f"0x{1 << 200:064x}", "beneficiary": ZERO_ADDRESS, "callback": play.people.admin.address}
    plain = play.match(play.orders()).value
    rich = play.match(
        play.orders({"request": terms, "workerpool": tag(1 << 200)}, with_dataset=True), sponsored=True
    ).value
    for deal in (plain, rich, ZERO32):
        play.check_legacy_deal(deal)
    task = play.open(plain, 0).value
    first, second = play.people.workers[:2]
    steps = (
        partial(play.contribution, first, task),
        partial(play.contribution, second, task),
        partial(play.reveal, first.address, task, GOOD),
        partial(play.reveal, second.address, task, GOOD),
        partial(play.finish, task, b"where it is"),
    )
    for step in steps:
        play.check_legacy_task(task)
        assert step().happened
    play.check_legacy_task(task)
    play.check_legacy_task(ZERO32)
    play.check_legacy_categories()
    assert play.model.view_deal(plain).workerpool.price == PRICE


def test_flat_views_tell_of_runs_and_of_what_is_proved_of_them(play_of_runs: BatchPlay) -> None:
    play = play_of_runs
    run = play.completed_run(play.new_deal(volume=3), 3, {0: 0, 1: 0})
    task = play.prove(run, 1).value
    for shown in (run, task):
        play.check_legacy_task(shown)
    assert play.model.view_task(task).contributors == play.model.view_task(run).contributors != ()
