"""What `bench/gas.py` measures: plays of one hub, the same for the published contracts and for ours.

Each play starts on a fresh deployment. ``FIRST`` is the first use of all orders, by people who have an account.
``AGAIN`` is the same a second time: the same people, the offers used before. Who is paid for the first time costs
17,100 more, there and here; `_newcomers` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.contracts.anvil_world import AnvilWorld
from tests.contracts.world import TEE_TAG, Orders, Person, bytes32

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex, to_hex32

__all__ = ["AGAIN", "FIRST", "PLAYS", "Figures", "Play"]

FIRST = "first"
AGAIN = "again"

Figures = dict[tuple[str, str], int]
"""Gas by operation and state."""

PARAMS = '{"iexec_args":"' + "x" * 77 + '","iexec_result_storage_provider":"ipfs"}'
RESULTS = b'{"storage":"ipfs","location":"/ipfs/' + b"Q" * 46 + b'"}'
CALLBACK_DATA = b"\x5a" * 64
CALLBACK_DIGEST = to_hex(keccak(CALLBACK_DATA))
DIGEST = to_hex32(keccak(b"digest"))
CATEGORY_0_FINAL = 3_001

_STORE_ONE_WORD = bytes.fromhex("600a600c600039600a6000f3" + "600435600055600160015500"[:20])
"""A contract that any call makes store its first argument."""


@dataclass(frozen=True, slots=True)
class Play:
    """``act`` returns the figures; it needs the ``functions`` of a hub that has them."""

    act: Callable[[AnvilWorld], Figures]
    functions: tuple[str, ...] = ()
    published: bool = True
    """False: the published package has these functions, but cannot do this with them."""


def _fund(world: AnvilWorld, *people: Person) -> None:
    """Open an account for everybody who pays, stakes or is paid: orders are new in a play, people are not."""
    for person in (world.requester, world.scheduler, world.app_owner, world.dataset_owner, *people):
        world.fund(person)


def _last(world: AnvilWorld, function: str, count: int = 1) -> int:
    return sum(world.gas[function][-count:])


def _orders(world: AnvilWorld, *, with_dataset: bool = False, **request: Any) -> Orders:
    trust = request.get("trust", 0)
    return world.orders(
        with_dataset=with_dataset,
        request={"params": PARAMS, **request},
        workerpool={"trust": max(trust, 1), "tag": request.get("tag", bytes32(0))},
        app={"tag": request.get("tag", bytes32(0))},
    )


def _once_more(world: AnvilWorld, orders: Orders) -> Orders:
    """The same offers for the next request."""
    salt = to_hex32(keccak(orders.request.salt.encode()))
    return replace(orders, request=world.sign(replace(orders.request, salt=salt), world.requester))


# --- the life of a task ---------------------------------------------------------------------------------------------


def _one_task(world: AnvilWorld, task: str, workers: tuple[Person, ...], callback: bytes = b"") -> None:
    digest = CALLBACK_DIGEST if callback else DIGEST
    for worker in workers:
        world.contribute(task, worker, digest, fund=False)
    for worker in workers:
        world.reveal(task, worker, digest)
    world.finalize(task, RESULTS, callback)


def _one_worker(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    worker = world.worker()
    _fund(world, worker)
    orders = _orders(world, with_dataset=True)
    for state in (FIRST, AGAIN):
        _one_task(world, world.initialize(world.match(orders)), (worker,))
        steps = ("matchOrders", "initialize", "contribute", "reveal", "finalize")
        figures |= {(f"{step}", state): _last(world, step) for step in steps}
        figures["matchOrders, data set", state] = figures.pop(("matchOrders", state))
        figures["contribute, consensus of one", state] = figures.pop(("contribute", state))
        figures["finalize, one worker", state] = figures.pop(("finalize", state))
        figures["deal and task, one worker", state] = sum(_last(world, step) for step in steps)
        orders = _once_more(world, orders)
    return figures


def _newcomers(world: AnvilWorld) -> Figures:
    worker = world.worker()
    for person in (world.requester, world.scheduler, worker):
        world.fund(person)
    _one_task(world, world.initialize(world.match(_orders(world, with_dataset=True))), (worker,))
    return {("finalize, app and data set paid for the first time", FIRST): _last(world, "finalize")}


def _three_workers(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    workers = tuple(world.worker(number) for number in range(3))
    _fund(world, *workers)
    orders = _orders(world, with_dataset=True, trust=5)
    for state in (FIRST, AGAIN):
        _one_task(world, world.initialize(world.match(orders)), workers)
        first, second, third = world.gas["contribute"][-3:]
        figures["contribute, first of three", state] = first
        figures["contribute, second of three", state] = second
        figures["contribute, third, consensus", state] = third
        figures["reveal, third", state] = _last(world, "reveal")
        figures["finalize, three workers", state] = _last(world, "finalize")
        whole = (
            _last(world, "matchOrders")
            + _last(world, "initialize")
            + _last(world, "contribute", 3)
            + _last(world, "reveal", 3)
            + _last(world, "finalize")
        )
        figures["deal and task, three workers", state] = whole
        orders = _once_more(world, orders)
    return figures


def _callback(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    worker = world.worker()
    _fund(world, worker)
    consumer = world.chain.create("callback", worker.address, _STORE_ONE_WORD)
    orders = _orders(world, with_dataset=True, callback=consumer)
    for state in (FIRST, AGAIN):
        _one_task(world, world.initialize(world.match(orders)), (worker,), CALLBACK_DATA)
        figures["finalize with callback", state] = _last(world, "finalize")
        orders = _once_more(world, orders)
    return figures


def _settle_at_once(world: AnvilWorld, task: str, worker: Person, *, enclave: Person | None, callback: bytes) -> int:
    digest = CALLBACK_DIGEST if callback else DIGEST
    _, _, _, challenge, enclave_sign, authorisation = world.contribution(task, worker, digest, enclave=enclave)
    arguments = (task, digest, RESULTS, callback, challenge, enclave_sign, authorisation)
    world.hub.call("contributeAndFinalize", *arguments, sender=worker.address)
    return _last(world, "contributeAndFinalize")


def _contribute_and_finalize(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    worker = world.worker()
    _fund(world)
    consumer = world.chain.create("callback", worker.address, _STORE_ONE_WORD)
    for name, request, enclave, callback in (
        ("contributeAndFinalize", {}, None, b""),
        ("contributeAndFinalize, enclave", {"tag": TEE_TAG}, Person("enclave"), b""),
        ("contributeAndFinalize with callback", {"callback": consumer}, None, CALLBACK_DATA),
    ):
        with world.chain.undone():
            orders = _orders(world, with_dataset=True, **request)
            for state in (FIRST, AGAIN):
                task = world.initialize(world.match(orders))
                figures[name, state] = _settle_at_once(world, task, worker, enclave=enclave, callback=callback)
                if name == "contributeAndFinalize":
                    whole = figures[name, state] + _last(world, "matchOrders") + _last(world, "initialize")
                    figures["deal and task, contributeAndFinalize", state] = whole
                orders = _once_more(world, orders)
    return figures


def _failed_tasks(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    worker = world.worker()
    _fund(world, worker)
    tasks = [world.initialize(world.match(_orders(world))) for _ in range(2)]
    late = [world.initialize(world.match(_orders(world))) for _ in range(2)]
    for task in late:
        world.contribute(task, worker, DIGEST, fund=False)
    world.wait(700)
    for task, state in zip(late, (FIRST, AGAIN), strict=True):
        world.hub.call("reopen", task, sender=world.scheduler.address)
        figures["reopen", state] = _last(world, "reopen")
    world.wait(CATEGORY_0_FINAL)
    for task, state in zip(tasks, (FIRST, AGAIN), strict=True):
        world.hub.call("claim", task, sender=world.stranger.address)
        figures["claim, nobody contributed", state] = _last(world, "claim")
    world.hub.call("claim", late[0], sender=world.stranger.address)
    figures["claim, one contributor", AGAIN] = _last(world, "claim")
    return figures


# --- matching and orders --------------------------------------------------------------------------------------------


def _matches(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    sponsor = world.worker(7)
    _fund(world, sponsor)
    orders = _orders(world)
    for state in (FIRST, AGAIN):
        world.match(orders)
        figures["matchOrders, no data set", state] = _last(world, "matchOrders")
        orders = _once_more(world, orders)
    orders = _orders(world, with_dataset=True)
    for state in (FIRST, AGAIN):
        world.hub.call("sponsorMatchOrders", *orders.arguments, sender=sponsor.address)
        figures["sponsorMatchOrders, data set", state] = _last(world, "sponsorMatchOrders")
        orders = _once_more(world, orders)
    world.match(_orders(world, with_dataset=True, volume=100))
    figures["matchOrders, data set, 100 tasks", AGAIN] = _last(world, "matchOrders")
    return figures


def _presigning(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    _fund(world)
    for state in (FIRST, AGAIN):
        orders = world.unsigned_orders(with_dataset=True, request={"params": PARAMS})
        for function, order, owner in (
            ("manageAppOrder", orders.app, world.app_owner),
            ("manageDatasetOrder", orders.dataset, world.dataset_owner),
            ("manageWorkerpoolOrder", orders.workerpool, world.scheduler),
            ("manageRequestOrder", orders.request, world.requester),
        ):
            operation, kind, _ = world.operation(order, 0, owner)
            world.hub.call(function, (operation, kind, b""), sender=owner.address)
            figures[f"{function}, SIGN", state] = _last(world, function)
        world.match(orders)
        figures["matchOrders, data set, presigned", state] = _last(world, "matchOrders")
    return figures


# --- registries and escrow ------------------------------------------------------------------------------------------


def _entries(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    owner = Person("owner of entries")
    for number, state in enumerate((FIRST, AGAIN)):
        world.create_app(owner, f"an app {number}")
        world.create_dataset(owner, f"a data set {number}")
        world.create_workerpool(owner, f"a pool {number}")
        for function in ("createApp", "createDataset", "createWorkerpool"):
            figures[function, state] = _last(world, function)
    return figures


def _escrow(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    saver, friend = Person("saver"), Person("friend")
    world.fund(world.requester)
    world.rlc.call("transfer", saver.address, 10**12, sender=world.owner.address)
    world.rlc.call("approve", world.hub.address, 10**11, sender=saver.address)

    def call(name: str, state: str, function: str, *arguments: Any, to: str = "hub") -> None:
        contract = world.hub if to == "hub" else world.rlc
        contract.call(function, *arguments, sender=saver.address)
        figures[name, state] = _last(world, function)

    for state in (FIRST, AGAIN):
        call("deposit", state, "deposit", 10**9)
    for state in (FIRST, AGAIN):
        call("depositFor", state, "depositFor", 10**9, friend.address)
    for state in (FIRST, AGAIN):
        call("transfer", state, "transfer", Person("heir").address, 10**6)
    for state in (FIRST, AGAIN):
        call("withdraw", state, "withdraw", 10**6)
    for state in (FIRST, AGAIN):
        call("RLC.approveAndCall: deposit", state, "approveAndCall", world.hub.address, 10**9, b"", to="rlc")
    return figures


def _deposit_for_array(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    world.rlc.call("approve", world.hub.address, 10**11, sender=world.owner.address)
    targets = [world.worker(number).address for number in range(10)]
    for state in (FIRST, AGAIN):
        world.hub.call("depositForArray", [10**9] * 10, targets, sender=world.owner.address)
        figures["depositForArray of 10", state] = _last(world, "depositForArray")
    return figures


def _approve_and_match(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    _fund(world)
    world.rlc.call("transfer", world.requester.address, 10**12, sender=world.owner.address)
    abi = world.interface.abi
    for with_dataset in (False, True):
        orders = _orders(world, with_dataset=with_dataset)
        name = f"RLC.approveAndCall: deposit and match, {'data set' if with_dataset else 'no data set'}"
        for state in (FIRST, AGAIN):
            data = abi.encode_call("matchOrders", orders.arguments)
            arguments = (world.hub.address, 10**6, data)
            world.rlc.call("approveAndCall", *arguments, sender=world.requester.address)
            figures[name, state] = _last(world, "approveAndCall")
            orders = _once_more(world, orders)
    return figures


# --- arrays, boost --------------------------------------------------------------------------------------------------


def _arrays(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    _fund(world)
    deal = world.match(_orders(world, volume=20))
    other = world.match(_orders(world, volume=20))
    for state, numbers in ((FIRST, range(10)), (AGAIN, range(10, 20))):
        world.hub.call("initializeArray", [deal] * 10, list(numbers))
        figures["initializeArray of 10", state] = _last(world, "initializeArray")
    world.wait(CATEGORY_0_FINAL)
    for state, numbers in ((FIRST, range(10)), (AGAIN, range(10, 20))):
        world.hub.call("claimArray", [ids.task_id(deal, number) for number in numbers])
        figures["claimArray of 10", state] = _last(world, "claimArray")
    for state, numbers in ((FIRST, range(10)), (AGAIN, range(10, 20))):
        world.hub.call("initializeAndClaimArray", [other] * 10, list(numbers))
        figures["initializeAndClaimArray of 10", state] = _last(world, "initializeAndClaimArray")
    return figures


def _push(world: AnvilWorld, deal: str, index: int, worker: Person, callback: bytes = b"") -> int:
    authorisation = world.authorisation(ids.task_id(deal, index), worker)
    arguments = (deal, index, RESULTS, callback, authorisation, ZERO_ADDRESS, b"")
    world.hub.call("pushResultBoost", *arguments, sender=worker.address)
    return _last(world, "pushResultBoost")


def _boost_deal(world: AnvilWorld, orders: Orders, function: str = "matchOrdersBoost", payer: str = "") -> str:
    return str(world.hub.call(function, *orders.arguments, sender=payer or world.stranger.address))


def _boost(world: AnvilWorld) -> Figures:
    figures: Figures = {}
    worker, sponsor = world.worker(), world.worker(7)
    _fund(world, sponsor)
    consumer = world.chain.create("callback", worker.address, _STORE_ONE_WORD)
    for suffix, request, callback in (("", {}, b""), (" with callback", {"callback": consumer}, CALLBACK_DATA)):
        with world.chain.undone():
            orders = _orders(world, with_dataset=True, **request)
            for state in (FIRST, AGAIN):
                deal = _boost_deal(world, orders)
                figures[f"pushResultBoost{suffix}", state] = _push(world, deal, 0, worker, callback)
                if not callback:
                    figures["matchOrdersBoost, data set", state] = _last(world, "matchOrdersBoost")
                    whole = _last(world, "matchOrdersBoost") + _last(world, "pushResultBoost")
                    figures["deal and task, boost", state] = whole
                orders = _once_more(world, orders)
    orders = _orders(world)
    deals = []
    for state in (FIRST, AGAIN):
        deals.append(_boost_deal(world, orders))
        figures["matchOrdersBoost, no data set", state] = _last(world, "matchOrdersBoost")
        orders = _once_more(world, orders)
    orders = _orders(world, with_dataset=True)
    for state in (FIRST, AGAIN):
        _boost_deal(world, orders, "sponsorMatchOrdersBoost", sponsor.address)
        figures["sponsorMatchOrdersBoost, data set", state] = _last(world, "sponsorMatchOrdersBoost")
        orders = _once_more(world, orders)
    world.wait(CATEGORY_0_FINAL)
    for deal, state in zip(deals, (FIRST, AGAIN), strict=True):
        world.hub.call("claimBoost", deal, 0)
        figures["claimBoost", state] = _last(world, "claimBoost")
    return figures


PLAYS: Mapping[str, Play] = {
    "a task with one worker": Play(_one_worker),
    "newcomers": Play(_newcomers),
    "a task with three workers": Play(_three_workers),
    "callback": Play(_callback),
    "one transaction": Play(_contribute_and_finalize, ("contributeAndFinalize",)),
    "failed tasks": Play(_failed_tasks),
    "matches": Play(_matches),
    "presigned orders": Play(_presigning),
    "entries": Play(_entries),
    "escrow": Play(_escrow),
    "matches out of an approval": Play(_approve_and_match, published=False),
    "deposits of many": Play(_deposit_for_array, ("depositForArray",)),
    "arrays": Play(_arrays, ("initializeArray", "claimArray", "initializeAndClaimArray")),
    "boost": Play(_boost, ("matchOrdersBoost", "pushResultBoost", "claimBoost")),
}
