"""What stands around tasks, played on the published contracts and on ours: sponsors, callbacks, the owner, entries.

At the end what is expected to differ, shown on both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.ids import task_id
from tests.contracts.peer_record import Play, Record, pairs
from tests.contracts.registries import ChainContract, Reverted
from tests.contracts.world import TEE_TAG, Person, World, as_tuple, bytes32, mock, names

GOOD = bytes32(99)
CALLBACK = b"\x5a" * 64
KEEP, FAIL, BURN = range(3)


def a_sponsor_pays(record: Record) -> None:
    world, sponsor, worker = record.world, Person("sponsor"), record.world.worker()
    people = [*record.ready(worker), sponsor]
    orders = world.orders(with_dataset=True, request={"volume": 2})
    record.call("sponsorMatchOrders", *orders.arguments, sender=sponsor)
    world.fund(sponsor)
    deal = record.call("sponsorMatchOrders", *orders.arguments, sender=sponsor)
    task = record.call("initialize", deal, 0, sender=world.stranger)
    record.contribute(task, worker, GOOD)
    record.call("reveal", task, GOOD, sender=worker)
    record.call("finalize", task, b"r", b"", sender=world.scheduler)
    record.look(deals=[deal], tasks=[task], people=people)
    abandoned = record.call("initialize", deal, 1, sender=world.stranger)
    world.now += 3_000
    record.call("claim", abandoned, sender=world.stranger)
    record.look(deals=[], tasks=[abandoned], people=people)


def callbacks_that_keep_fail_and_burn(record: Record) -> None:
    world, worker = record.world, record.world.worker()
    people = record.ready(worker)
    for mode in (KEEP, FAIL, BURN):
        consumer = mock("callback", mode)
        deal = record.match(request={"callback": str(consumer.address)})
        task = record.call("initialize", deal, 0, sender=world.stranger)
        digest = to_hex32(keccak(CALLBACK))
        record.contribute(task, worker, digest)
        record.call("reveal", task, digest, sender=worker)
        record.call("finalize", task, b"r", b"", sender=world.scheduler)
        record.call("finalize", task, b"r", CALLBACK, sender=world.scheduler)
        record.note("told", to_hex32(consumer.task()) == (task if mode == KEEP else bytes32(0)))
        record.call("resultFor", task, sender=worker)
        record.look(deals=[deal], tasks=[task], people=people)


def enclaves_and_their_broker(record: Record) -> None:
    world, worker, enclave, broker = record.world, record.world.worker(), Person("enclave"), Person("broker")
    record.ready(worker)
    tag = {"tag": TEE_TAG}
    for has_broker in (False, True):
        if has_broker:
            record.call("setTeeBroker", broker.address, sender=world.owner)
        task = record.call("initialize", record.match(app=tag, workerpool=tag, request=tag), 0, sender=world.stranger)
        record.contribute(task, worker, GOOD)
        record.contribute(task, worker, GOOD, enclave=enclave, authority=world.stranger)
        record.contribute(task, worker, GOOD, enclave=enclave, authority=broker)
        record.contribute(task, worker, GOOD, enclave=enclave, authority=world.scheduler)
        record.look(deals=[], tasks=[task], people=[worker])


def groups_restrict_orders(record: Record) -> None:
    world = record.world
    record.ready()
    for member in (world.requester.address, world.stranger.address):
        for mode in range(3):
            group = str(mock("group", member, mode).address)
            record.match(app={"requesterrestrict": group})
            record.match(request={"workerpool": group})


def the_owner_and_others_set_what_there_is_to_set(record: Record) -> None:
    world, hub, friend = record.world, record.world.hub, Person("friend")
    registries = [world.registries[kind].address for kind in ("app", "dataset", "workerpool")]
    for person in (world.stranger, world.owner):
        record.call("createCategory", "XXL", "long", 100_000, sender=person)
        record.call("setCallbackGas", 100_000, sender=person)
        record.call("setTeeBroker", friend.address, sender=person)
        record.call("configure", world.rlc.address, "n", "s", 9, *registries, ZERO_ADDRESS, sender=person)
        record.call("changeRegistries", *registries, sender=person)
        record.call("transferOwnership", friend.address, sender=person)
    record.call("createCategory", "XXL", "long", 100_000, sender=world.owner)
    record.call("updateDomainSeparator", sender=world.stranger)
    record.call("importScore", friend.address, sender=world.stranger)
    for name in ("owner", "countCategory", "callbackgas", "teebroker", "token", "name", "symbol", "decimals"):
        record.note(name, hub.call(name))
    for number in range(6):
        record.note("category", hub.call("viewCategory", number))
        record.note("category", hub.call("viewCategoryABILegacy", number))
    record.call("viewCategory", 6, sender=world.stranger)
    record.call("viewCategoryABILegacy", 6, sender=world.stranger)
    record.note("domain", hub.call("domain"))


def orders_are_relayed_and_signatures_verified(record: Record) -> None:
    world = record.world
    orders = world.orders(with_dataset=True)
    for name, order in zip(("App", "Dataset", "Workerpool", "Request"), orders.arguments, strict=True):
        record.call(f"broadcast{name}Order", order, sender=world.stranger)
    hash_, sign = world.order_hash(orders.app), orders.arguments[0][-1]
    for signer in (world.app_owner, world.stranger):
        for function, extra in (
            ("verifySignature", (sign,)),
            ("verifySignature", (b"short",)),
            ("verifyPresignature", ()),
            ("verifyPresignatureOrSignature", (sign,)),
        ):
            record.call(function, signer.address, hash_, *extra, sender=world.stranger)


def views_of_what_is_not_there(record: Record) -> None:
    world = record.world
    nothing = bytes32(12_345)
    one_argument = ("viewDeal", "viewTask", "viewConsumed", "viewPresigned", "resultFor", "viewDealBoost")
    legacy = ("viewDealABILegacy_pt1", "viewDealABILegacy_pt2", "viewConfigABILegacy", "viewTaskABILegacy")
    for function in (*one_argument, *legacy):
        record.call(function, nothing, sender=world.stranger)
    for function in ("viewContribution", "viewContributionABILegacy"):
        record.call(function, nothing, world.stranger.address, sender=world.stranger)
    for function in ("viewApp", "viewDataset", "viewWorkerpool"):
        record.call(function, world.stranger.address, sender=world.stranger)
    record.call("initialize", nothing, 0, sender=world.stranger)
    for function in ("claim", "reopen"):
        record.call(function, nothing, sender=world.scheduler)
    record.call("reveal", nothing, GOOD, sender=world.stranger)
    record.call("finalize", nothing, b"", b"", sender=world.scheduler)


def legacy_views_of_what_is_there(record: Record) -> None:
    world, worker = record.world, record.world.worker()
    record.ready(worker)
    deal = record.match(request={"trust": 3, "beneficiary": world.stranger.address})
    task = record.call("initialize", deal, 0, sender=world.stranger)
    record.contribute(task, worker, GOOD)
    for view in (("viewDealABILegacy_pt2", deal), ("viewContributionABILegacy", task, worker.address)):
        record.note(view[0], world.hub.call(*view))
    record.note("account", world.hub.call("viewAccountABILegacy", worker.address))
    for kind, entry in (("App", world.app), ("Dataset", world.dataset), ("Workerpool", world.pool)):
        record.note(kind, world.hub.call(f"view{kind}", entry))


def data_sets_fit_a_deal_or_say_why_not(record: Record) -> None:
    world = record.world
    record.ready()
    plain = str(record.call("matchOrders", *world.orders().arguments, sender=world.stranger))
    with_dataset = record.match()
    offer = world.orders(with_dataset=True).dataset
    stranger = world.stranger.address
    for change in (
        {},
        {"volume": 0},
        {"apprestrict": stranger},
        {"workerpoolrestrict": stranger},
        {"requesterrestrict": stranger},
        {"tag": TEE_TAG},
        {"datasetprice": 10**30},
    ):
        order = world.sign(replace(offer, **change), world.dataset_owner)
        for deal in (plain, with_dataset, bytes32(7)):
            record.call("assertDatasetDealCompatibility", as_tuple(order), deal, sender=world.stranger)
    record.call(
        "assertDatasetDealCompatibility", as_tuple(world.sign(offer, world.stranger)), plain, sender=world.stranger
    )


def entries_and_their_registries(record: Record) -> None:
    world, owner, friend = record.world, record.world.app_owner, Person("friend")
    apps, stranger = world.registries["app"], world.stranger
    content = (owner.address, "another", "DOCKER", b"/ipfs/x", bytes32(1), b"enclave")

    def call(function: str, *arguments: Any, sender: Person = stranger, contract: ChainContract = apps) -> Any:
        return record.call(function, *arguments, sender=sender, contract=contract)

    predicted = call("predictApp", *content)
    app = call("createApp", *content)
    record.note("predicted", predicted == app)
    call("createApp", *content)
    token = int(app, 16)
    for function in ("isRegistered", "ownerOf", "tokenURI", "getApproved"):
        call(function, app if function == "isRegistered" else token)
        call(function, friend.address if function == "isRegistered" else int(friend.address, 16))
    call("transferFrom", owner.address, friend.address, token)
    call("approve", stranger.address, token)
    call("approve", stranger.address, token, sender=owner)
    call("transferFrom", friend.address, friend.address, token)
    call("transferFrom", owner.address, ZERO_ADDRESS, token)
    call("safeTransferFrom(address,address,uint256)", owner.address, world.rlc.address, token)
    for function, argument in (("setBaseURI", "https://x/"), ("initialize", ZERO_ADDRESS)):
        call(function, argument)
    call("setName", friend.address, "name", sender=world.owner)
    call("balanceOf", ZERO_ADDRESS)
    call("tokenByIndex", 99)
    call("tokenOfOwnerByIndex", owner.address, 99)
    call("setApprovalForAll", friend.address, True)
    call("initialize", "n", "t", b"m", bytes32(2), b"e", contract=ChainContract("app", app))
    content_names = ("m_appName", "m_appType", "m_appMultiaddr", "m_appChecksum", "m_appMREnclave")
    for function in ("owner", "registry", *content_names):
        call(function, contract=ChainContract("app", app))


def a_pools_policy(record: Record) -> None:
    world, pool = record.world, ChainContract("workerpool", record.world.pool)
    people = record.ready()
    for sender, ratios in (
        (world.stranger, (10, 10)),
        (world.scheduler, (10, 101)),
        (world.scheduler, (250, 100)),
        (world.scheduler, (0, 0)),
        (world.scheduler, (35, 7)),
    ):
        record.call("changePolicy", *ratios, sender=sender, contract=pool)
        record.look(deals=[record.match()], tasks=[], people=people)


PLAYS: tuple[Play, ...] = (
    a_sponsor_pays,
    callbacks_that_keep_fail_and_burn,
    enclaves_and_their_broker,
    groups_restrict_orders,
    the_owner_and_others_set_what_there_is_to_set,
    orders_are_relayed_and_signatures_verified,
    views_of_what_is_not_there,
    legacy_views_of_what_is_there,
    data_sets_fit_a_deal_or_say_why_not,
    entries_and_their_registries,
    a_pools_policy,
)


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.__name__)
def test_published_contracts_and_ours_answer_alike(worlds: tuple[World, World], play: Play) -> None:
    before: list[str] = []
    for theirs, ours in pairs(worlds, play):
        assert ours == theirs, f"after {before[-6:]}"
        before.append(theirs[0])


# --- what differs ---------------------------------------------------------------------------------------------------


def _refused(world: World, function: str, *arguments: Any, sender: Person) -> str | None:
    """Why a call is refused, if it is."""
    try:
        world.hub.call(function, *arguments, sender=sender.address)
    except Reverted as reverted:
        return reverted.reason
    return None


def _push_sponsored(world: World) -> str | None:
    sponsor, worker = Person("sponsor"), world.worker()
    world.fund(sponsor)
    world.fund(world.scheduler)
    orders = world.orders(request={"trust": 1})
    deal = str(world.hub.call("sponsorMatchOrdersBoost", *orders.arguments, sender=sponsor.address))
    sign = world.authorisation(task_id(deal, 0), worker)
    return _refused(world, "pushResultBoost", deal, 0, b"r", b"", sign, ZERO_ADDRESS, b"", sender=worker)


def _match_for_nobody(world: World) -> str | None:
    sponsor = Person("sponsor")
    world.fund(sponsor)
    world.fund(world.scheduler)
    orders = world.orders()
    request = replace(orders.request, requester=ZERO_ADDRESS, sign="0x" + "00" * 64 + "1b")
    return _refused(world, "sponsorMatchOrders", *replace(orders, request=request).arguments, sender=sponsor)


def _give_an_app_away(world: World) -> str:
    owner, apps = world.app_owner.address, world.registries["app"]
    arguments = (owner, world.stranger.address, int(world.app, 16))
    return ", ".join(names(apps.transact("transferFrom", *arguments, sender=owner)[1]))


def _match_a_dataset_with_framework_bits(world: World) -> str | None:
    world.fund(world.requester)
    world.fund(world.scheduler)
    orders = world.orders(with_dataset=True, dataset={"tag": bytes32(2)})
    return _refused(world, "matchOrders", *orders.arguments, sender=world.stranger)


@pytest.mark.parametrize(
    ("deed", "there", "here"),
    [
        pytest.param(_push_sponsored, "Panic(0x11)", None, id="a sponsored result of boost seizes the requester"),
        pytest.param(_match_for_nobody, None, "iExecV5-matchOrders-0x50", id="anything signs for nobody"),
        pytest.param(
            _match_a_dataset_with_framework_bits,
            "iExecV5-matchOrders-0x06",
            None,
            id="framework bits of data sets count before 6.2.0",
        ),
        pytest.param(
            _give_an_app_away,
            "Approval, Transfer",
            "Transfer",
            id="a transfer tells of the approval that it ends before 6.2.0",
        ),
    ],
)
def test_what_is_expected_to_differ(
    worlds: tuple[World, World], deed: Callable[[World], str | None], there: str | None, here: str | None
) -> None:
    outcomes = []
    for world in worlds:
        with world.anchor():
            outcomes.append(deed(world))
    assert outcomes == [there, here]
