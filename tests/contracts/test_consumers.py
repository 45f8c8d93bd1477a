"""The example consumers: contracts of strangers that buy computations. Both compilers' contracts do the same."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import boa
import pytest
from eth_abi.abi import encode

from fairgrid.chain.abi import Abi
from fairgrid.errors import HostFailure
from fairgrid.protocol import ids
from fairgrid.protocol.hexes import checksum, keccak, to_hex32
from tests.contracts.registries import NO_DATA, Reverted, public_abi, reverts
from tests.contracts.world import Person, World, as_tuple, bytes32

REPOSITORY = Path(__file__).parents[2]
COMPILED = REPOSITORY / "examples" / "consumers" / "compiled"
TRUST, HIGHEST_PRICE = 8, 11_001
PRICE = 11_001
"""Of the default offers of `World`: app and pool."""
ANSWER = 1_342_917
TASK_COMPLETED = 3


class Asked(NamedTuple):
    """A question on its way."""

    task: str
    deal: str


@dataclass(frozen=True)
class Consumer:
    """A deployed consumer, and the world that it lives in."""

    world: World
    abi: Abi
    address: str
    owner: Person

    def call(self, function: str, *arguments: Any, sender: Person | str | None = None) -> Any:
        """The answer, or `Reverted`."""
        output = self._execute(function, *arguments, sender=sender).output
        answer = self.abi.decode_answer(function, output)
        return answer[0] if answer else None

    def ask(self, *, sender: Person | None = None, **changes: Any) -> Asked:
        """Ask with signed offers."""
        orders = self.world.orders(**changes)
        offers = as_tuple(orders.app), as_tuple(orders.workerpool)
        done = self._execute("ask", *offers, "the job", sender=sender or self.owner)
        topic = int(self.abi.events[to_hex32(keccak(b"Asked(bytes32,bytes32)")), 1].topic, 16)
        _, _, topics, data = next(entry for entry in done.get_raw_log_entries() if entry[2][0] == topic)
        return Asked(bytes32(topics[1]), to_hex32(data))

    def _execute(self, function: str, *arguments: Any, sender: Person | str | None) -> Any:
        who = sender.address if isinstance(sender, Person) else sender
        data = self.abi.encode_call(function, arguments)
        done = boa.env.execute_code(to_address=self.address, sender=who, data=data)
        if done.is_error:
            raise Reverted(done.output)
        return done

    def money(self) -> tuple[int, int]:
        """Free and locked money at the hub."""
        return self.world.balance(self.address), self.world.frozen(self.address)


@cache
def artifact(compiler: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((COMPILED / f"{compiler}.json").read_text())
    return document


def deploy(compiler: str, world: World, *, trust: int = TRUST) -> Consumer:
    """Create a consumer without money."""
    owner = Person("consumer's owner")
    arguments = encode(["address", "uint256", "uint256"], [world.hub.address, trust, HIGHEST_PRICE])
    code = bytes.fromhex(artifact(compiler)["bytecode"][2:]) + arguments
    address, done = boa.env.deploy(bytecode=code, sender=owner.address)
    if done.is_error:
        raise Reverted(done.output)
    return Consumer(world, Abi("consumer", artifact(compiler)["abi"]), checksum(str(address)), owner)


@pytest.fixture(params=["vyper", "solidity"])
def consumer(world: World, request: pytest.FixtureRequest) -> Consumer:
    """A consumer with enough money at the hub for one question."""
    made = deploy(request.param, world)
    world.fund(world.scheduler)
    world.fund(made.address, PRICE)
    return made


def answer(consumer: Consumer, data: bytes) -> str:
    """Ask; three workers agree on ``data``; the scheduler finalizes. The task."""
    world = consumer.world
    task, deal = consumer.ask()
    assert world.initialize(deal) == task == ids.task_id(deal, 0)
    digest = to_hex32(keccak(data))
    workers = [world.worker(number) for number in range(3)]
    for worker in workers:
        world.contribute(task, worker, digest)
    for worker in workers:
        world.reveal(task, worker, digest)
    # Not by `world.finalize`: the consumer's events, which follow the hub's, are in nobody's ABI but its own.
    call = public_abi("hub").encode_call("finalize", (task, b"results", data))
    boa.env.execute_code(to_address=world.hub.address, sender=world.scheduler.address, data=call)
    assert world.view_task(task).status == TASK_COMPLETED
    return task


def test_answer_that_workers_agreed_on_arrives_in_the_contracts_storage_and_is_paid(consumer: Consumer) -> None:
    task = answer(consumer, ANSWER.to_bytes(32, "big"))
    assert consumer.call("answered", task) is True
    assert consumer.call("answer", task) == consumer.call("latest") == ANSWER
    assert consumer.call("pending", task) is False
    assert consumer.money() == (0, 0)


def test_deal_is_the_contracts_own_at_its_trust(consumer: Consumer) -> None:
    _, deal = consumer.ask()
    view = consumer.world.view_deal(deal)
    assert view.requester == view.beneficiary == view.callback == view.sponsor == consumer.address
    assert (view.trust, view.botSize, view.params) == (TRUST, 1, "the job")
    assert consumer.money() == (0, PRICE)


def test_error_document_is_no_answer(consumer: Consumer) -> None:
    task = answer(consumer, b'{"kind":"fuel"}')
    assert consumer.call("answered", task) is False
    assert consumer.call("pending", task) is False
    assert consumer.call("latest") == 0


def test_only_the_hub_answers(consumer: Consumer) -> None:
    task, _ = consumer.ask()
    for stranger in (consumer.owner, consumer.world.stranger):
        with reverts("only the hub answers"):
            consumer.call("receiveResult", task, bytes(32), sender=stranger)


def test_answer_comes_once_and_to_a_question_that_was_asked(consumer: Consumer) -> None:
    task, _ = consumer.ask()
    hub = consumer.world.hub.address
    with reverts("nobody asked"):
        consumer.call("receiveResult", bytes32(1), bytes(32), sender=hub)
    consumer.call("receiveResult", task, bytes(32), sender=hub)
    with reverts("nobody asked"):
        consumer.call("receiveResult", task, bytes(32), sender=hub)


def test_questions_get_tasks_of_their_own(consumer: Consumer) -> None:
    consumer.world.fund(consumer.address, PRICE)
    assert consumer.ask().task != consumer.ask().task
    assert consumer.call("asked") == 2


def test_only_the_owner_asks_and_takes_money(consumer: Consumer) -> None:
    stranger = consumer.world.stranger
    with reverts("only the owner asks"):
        consumer.ask(sender=stranger)
    with reverts("only the owner takes money"):
        consumer.call("takeBack", 1, sender=stranger)
    assert consumer.money() == (PRICE, 0)


def test_price_above_the_highest_is_not_paid(consumer: Consumer) -> None:
    consumer.world.fund(consumer.address)
    with reverts("too expensive"):
        consumer.ask(app={"appprice": 1_001})
    consumer.ask(app={"appprice": 1_000})


def test_question_without_money_is_refused_by_the_hub(consumer: Consumer) -> None:
    consumer.call("takeBack", 1, sender=consumer.owner)
    with reverts("IexecEscrow: Transfer amount exceeds balance"):
        consumer.ask()


def test_unspent_money_goes_home_and_no_more(consumer: Consumer) -> None:
    with reverts(NO_DATA):
        consumer.call("takeBack", PRICE + 1, sender=consumer.owner)
    consumer.call("takeBack", PRICE, sender=consumer.owner)
    assert consumer.world.rlc.call("balanceOf", consumer.owner.address) == PRICE


def test_question_that_nobody_answers_is_refunded(consumer: Consumer) -> None:
    world = consumer.world
    task, deal = consumer.ask()
    world.initialize(deal)
    world.now = world.view_task(task).finalDeadline
    world.hub.call("claim", task, sender=world.stranger.address)
    assert consumer.money() == (PRICE, 0)


@pytest.mark.parametrize("compiler", ["vyper", "solidity"])
def test_one_workers_word_is_not_enough(world: World, compiler: str) -> None:
    deploy(compiler, world, trust=2)
    with reverts("an answer of trust 1 is one worker's word"):
        deploy(compiler, world, trust=1)


# --- what is committed is what the sources compile to ---------------------------------------------------------------


@cache
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compile_consumers", REPOSITORY / "scripts" / "compile_consumers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("compiler", ["vyper", "solidity"])
def test_committed_artifact_is_what_its_source_compiles_to(compiler: str) -> None:
    try:
        fresh = script().COMPILERS[compiler]()
    except HostFailure as failure:
        pytest.skip(f"solc cannot be had here: {failure}")
    assert (COMPILED / f"{compiler}.json").read_text() == script().encode(fresh)


def test_both_compilers_make_the_same_interface() -> None:
    def interface(compiler: str) -> set[tuple[str, str, tuple[str, ...]]]:
        entries = artifact(compiler)["abi"]
        return {
            (entry["type"], entry.get("name", ""), tuple(parameter["type"] for parameter in entry["inputs"]))
            for entry in entries
        }

    assert interface("vyper") == interface("solidity")
