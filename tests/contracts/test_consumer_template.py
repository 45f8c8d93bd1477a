"""The contract that `fairgrid consumer init` writes, with a real hub: who may answer what, and whose the money is."""

from __future__ import annotations

from typing import Any

import boa
import pytest
from eth_abi.abi import decode, encode

from fairgrid.chain.abi import Abi
from fairgrid.protocol import ids
from fairgrid.protocol.hexes import checksum, from_hex, keccak, to_hex32
from tests.contracts.consumer_projects import LANGUAGES, compiled
from tests.contracts.registries import NO_DATA, Reverted, public_abi, reverts
from tests.contracts.world import Person, World, as_tuple, bytes32

JOB = "the params of the job"
TRUST, HIGHEST_PRICE, PRICE = 8, 11_001, 11_001
ANSWER = 100_750_000


class Consumer:
    """A deployed consumer, and the world that it lives in."""

    def __init__(self, language: str, world: World, *, trust: int = TRUST, hub: str = "") -> None:
        artifact = compiled(language)
        self.world, self.owner = world, Person("consumer's owner")
        arguments = encode(
            ["address", "string", "uint256", "uint256"], [hub or world.hub.address, JOB, trust, HIGHEST_PRICE]
        )
        code = bytes.fromhex(artifact["bytecode"][2:]) + arguments
        address, done = boa.env.deploy(bytecode=code, sender=self.owner.address)
        if done.is_error:
            raise Reverted(done.output)
        self.abi, self.address = Abi("consumer", artifact["abi"]), checksum(str(address))

    def call(self, function: str, *arguments: Any, sender: Person | str | None = None) -> Any:
        """The answer, or `Reverted`."""
        output = self._execute(function, *arguments, sender=sender).output
        answer = self.abi.decode_answer(function, output)
        return answer[0] if answer else None

    def ask(self, *, sender: Person | None = None, **changes: Any) -> tuple[str, str, str]:
        """Ask with signed offers: task, deal, job."""
        orders = self.world.orders(**changes)
        offers = as_tuple(orders.app), as_tuple(orders.workerpool)
        done = self._execute("ask", *offers, sender=sender or self.owner)
        wanted = int(to_hex32(keccak(b"Asked(bytes32,bytes32,bytes32)")), 16)
        _, _, topics, data = next(entry for entry in done.get_raw_log_entries() if entry[2][0] == wanted)
        deal, job = decode(["bytes32", "bytes32"], data)
        return bytes32(topics[1]), to_hex32(deal), to_hex32(job)

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


@pytest.fixture(params=LANGUAGES)
def consumer(world: World, request: pytest.FixtureRequest) -> Consumer:
    """A consumer with enough money at the hub for one question."""
    made = Consumer(request.param, world)
    world.fund(world.scheduler)
    world.fund(made.address, PRICE)
    return made


def finalize(consumer: Consumer, task: str, deal: str, data: bytes) -> None:
    """Three workers agree on ``data``; the scheduler finalizes."""
    world = consumer.world
    assert world.initialize(deal) == task == ids.task_id(deal, 0)
    digest = to_hex32(keccak(data))
    workers = [world.worker(number) for number in range(3)]
    for worker in workers:
        world.contribute(task, worker, digest)
    for worker in workers:
        world.reveal(task, worker, digest)
    call = public_abi("hub").encode_call("finalize", (task, b"results", data))
    boa.env.execute_code(to_address=world.hub.address, sender=world.scheduler.address, data=call)


def test_answer_that_workers_agreed_on_is_stored_with_the_job_that_was_ordered(consumer: Consumer) -> None:
    task, deal, job = consumer.ask()
    view = consumer.world.view_deal(deal)
    assert view.requester == view.beneficiary == view.callback == consumer.address
    assert (view.trust, view.botSize, view.params) == (TRUST, 1, JOB)
    assert job == to_hex32(keccak(JOB.encode())) and consumer.money() == (0, PRICE)
    # What is asked next does not change what was asked.
    consumer.call("setJob", "another", sender=consumer.owner)
    finalize(consumer, task, deal, ANSWER.to_bytes(32, "big"))
    assert consumer.call("answer", task) == consumer.call("latest") == ANSWER
    assert consumer.call("answered", task) is True and consumer.call("pending", task) is False
    assert to_hex32(from_hex(consumer.call("jobOf", task))) == job
    assert consumer.money() == (0, 0)


def test_error_document_is_no_answer(consumer: Consumer) -> None:
    task, deal, _ = consumer.ask()
    finalize(consumer, task, deal, b'{"kind":"fuel"}')
    assert (consumer.call("answered", task), consumer.call("pending", task)) == (False, False)
    assert consumer.call("latest") == 0


def test_only_the_hub_answers_only_what_was_ordered_and_only_once(consumer: Consumer) -> None:
    task, _, _ = consumer.ask()
    hub = consumer.world.hub.address
    for stranger in (consumer.owner, consumer.world.stranger):
        with reverts("only the hub answers"):
            consumer.call("receiveResult", task, bytes(32), sender=stranger)
    with reverts("nobody asked"):
        consumer.call("receiveResult", bytes32(1), bytes(32), sender=hub)
    consumer.call("receiveResult", task, bytes(32), sender=hub)
    with reverts("nobody asked"):
        consumer.call("receiveResult", task, bytes(31) + b"\1", sender=hub)
    assert consumer.call("answer", task) == 0


def test_only_the_owner_asks_changes_the_job_and_takes_money(consumer: Consumer) -> None:
    stranger = consumer.world.stranger
    with reverts("only the owner asks"):
        consumer.ask(sender=stranger)
    with reverts("only the owner changes the job"):
        consumer.call("setJob", "another", sender=stranger)
    with reverts("only the owner takes money"):
        consumer.call("takeBack", 1, sender=stranger)
    with reverts("too expensive"):
        consumer.ask(app={"appprice": 1_001})
    assert consumer.money() == (PRICE, 0)


def test_unspent_money_goes_home_and_no_more_and_an_unanswered_question_is_refunded(consumer: Consumer) -> None:
    world = consumer.world
    task, deal, _ = consumer.ask()
    world.initialize(deal)
    world.now = world.view_task(task).finalDeadline
    world.hub.call("claim", task, sender=world.stranger.address)
    assert consumer.money() == (PRICE, 0)
    with reverts(NO_DATA):
        consumer.call("takeBack", PRICE + 1, sender=consumer.owner)
    consumer.call("takeBack", PRICE, sender=consumer.owner)
    assert world.rlc.call("balanceOf", consumer.owner.address) == PRICE


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_workers_word_and_a_hub_that_is_not_there_are_refused(world: World, language: str) -> None:
    Consumer(language, world, trust=2)
    with reverts("an answer of trust 1 is one worker's word"):
        Consumer(language, world, trust=1)
    with reverts("there is no hub"):
        Consumer(language, world, hub=Person("nobody").address)
