"""A pool of an older release refuses what it does not know; the worker leaves it out from then on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args

import pytest
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from fairgrid.pool.workers import enrolment, sessions
from fairgrid.pool.workers.frames import TurnedAway
from fairgrid.protocol import wire, wire_fields, worker_messages
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.usage import Usage
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.worker_messages import CacheReport, Enrol, Heartbeat, Opening, WhyRequest
from fairgrid.seams.clock import VirtualClock
from fairgrid.worker.connection.understood import Understood
from tests.pool.test_runs_with_workers import pool, setting
from tests.pool.test_with_workers import _until
from tests.worker.machine_kit import TASK
from tests.worker.world import WORKER, bag, new_world, running

ADDRESS, SIGNATURE, WORD = "0x" + "11" * 20, "0x" + "22" * 65, "0x" + "33" * 32
ENROL = Enrol(ADDRESS, ADDRESS, SIGNATURE, SIGNATURE, (), 1, 1, fast=True, settles=True)
CACHE = CacheReport(tails=())


@dataclass(config=ConfigDict(extra="forbid", strict=True), frozen=True, slots=True)
class OldEnrol:
    """An enrolment as it was before workers could end a task in one transaction."""

    owner: wire_fields.Address
    worker: wire_fields.Address
    owner_signature: wire_fields.Signature
    nonce_signature: wire_fields.Signature
    runtimes: tuple[str, ...]
    slots: int
    version: int
    kind: Literal["enrol"] = "enrol"


_KNOWN = tuple(
    found for found in get_args(worker_messages.WorkerMessage) if found not in (Enrol, CacheReport, WhyRequest)
)
_UNION: Any = Annotated[Union[(OldEnrol, *_KNOWN)], Field(discriminator="kind")]
_OLD: TypeAdapter[Any] = TypeAdapter(_UNION)


def old_decode(text: str) -> worker_messages.WorkerMessage:
    """What a pool of an older release reads; it refuses the rest in its own words."""
    try:
        _OLD.validate_json(text)
    except ValidationError as error:
        raise TurnedAway(f"A message breaks protocol version 1: {error}", "schema") from error
    return wire.decode_worker_message(text)


def refusal(message: worker_messages.WorkerMessage) -> str:
    """The reason that an older pool gives, as long as a refusal may be."""
    with pytest.raises(TurnedAway) as turned:
        old_decode(wire.encode(message))
    return str(turned.value)[:500]


def test_a_message_that_was_refused_once_is_not_sent_again_and_others_are() -> None:
    understood = Understood(VirtualClock())
    beat = Heartbeat(held=(), free_slots=1)
    assert understood.fitted(CACHE) is CACHE
    assert understood.refused(refusal(CACHE))
    assert understood.fitted(CACHE) is None and understood.fitted(beat) is beat
    assert understood.unknown == ("cache",)


def test_fields_that_were_refused_are_left_out_until_the_pool_can_read_the_rest() -> None:
    understood = Understood(VirtualClock())
    tries = 0
    while True:
        fitted = understood.fitted(ENROL)
        assert fitted is not None
        try:
            old_decode(wire.encode(fitted))
            break
        except TurnedAway as turned:
            tries += 1
            assert understood.refused(str(turned)[:500])
    assert 1 <= tries <= 2
    assert sorted(understood.unknown) == ["enrol.fast", "enrol.settles"]


def test_what_a_task_hangs_on_is_never_left_out() -> None:
    understood = Understood(VirtualClock())
    opening = Opening("lease", TASK, digest=WORD, salt=WORD, usage=Usage(cpu_ms=1))
    assert not understood.refused("A message breaks protocol version 1:\n  Input tag 'opening' found using 'kind'")
    assert not understood.refused("breaks protocol version 1:\nopening.salt\n  Unexpected keyword argument [x]")
    assert understood.fitted(opening) is opening
    assert understood.refused("breaks protocol version 1:\nopening.usage\n  Unexpected keyword argument [x]")
    fitted = understood.fitted(opening)
    assert isinstance(fitted, Opening) and fitted.usage is None and fitted.salt == WORD


def test_a_refusal_that_names_nothing_spares_all_that_may_be_spared_of_what_was_sent() -> None:
    understood = Understood(VirtualClock())
    understood.fitted(ENROL)
    understood.fitted(CACHE)
    assert understood.refused("A message breaks protocol version 1: no")
    understood.connected()
    assert understood.fitted(CACHE) is None
    fitted = understood.fitted(ENROL)
    assert isinstance(fitted, Enrol) and fitted.settles is None
    assert not understood.refused("A message breaks protocol version 1: no")


@pytest.mark.parametrize("reason", ["This worker was banned.", "Input tag 'cache' found using 'kind'", ""])
def test_another_refusal_teaches_nothing(reason: str) -> None:
    understood = Understood(VirtualClock())
    understood.fitted(CACHE)
    assert not understood.refused(reason)
    assert understood.fitted(CACHE) is CACHE


async def test_after_a_day_the_pool_may_have_been_updated_and_is_told_again() -> None:
    clock = VirtualClock()
    understood = Understood(clock)
    understood.refused(refusal(CACHE))
    await clock.advance(86_399)
    assert understood.fitted(CACHE) is None
    await clock.advance(2)
    assert understood.fitted(CACHE) is CACHE


async def test_a_worker_serves_an_older_pool_that_knows_neither_its_cache_report_nor_its_enrolment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (enrolment, sessions):
        monkeypatch.setattr(module, "decode_frame", old_decode)
    async with new_world() as world, pool(world, tmp_path) as (service, url):
        async with running(world, setting(tmp_path, url, WORKER)) as agent:
            manifest = bag(await world.manifest(), 1)
            task = task_id(await world.deal(trust=1, manifest=manifest), 0)

            async def has_ended() -> bool:
                return (await world.chain.view_task(task)).status is TaskStatus.COMPLETED

            await _until(has_ended)
            agent.talk.tell(CACHE)

            async def is_silent() -> bool:
                enrolled = agent.snapshot()["enrolled"]
                return bool(enrolled) and "cache" in agent.snapshot()["notUnderstood"]

            await _until(is_silent)
            agent.talk.tell(CACHE)
            _, why = await agent.pool_why()

            async def has_asked() -> bool:
                return "why_request" in agent.snapshot()["notUnderstood"]

            await _until(has_asked)
            _, why = await agent.pool_why()
            assert "older release" in why
            refused = service.refusals["schema"]
            agent.talk.tell(CACHE)
            second = task_id(await world.deal(trust=1, manifest=manifest), 0)

            async def has_ended_too() -> bool:
                return (await world.chain.view_task(second)).status is TaskStatus.COMPLETED

            await _until(has_ended_too)
            assert service.refusals["schema"] == refused <= 4
