"""Replaced blocks are noticed by their hashes."""

from __future__ import annotations

import pytest

from fairgrid.chain.twin import ModelChain
from fairgrid.errors import ServiceUnavailable
from fairgrid.worker.onchain.rewrites import Rewrites
from tests.worker.world import ADMIN


def chain_of(blocks: int) -> ModelChain:
    chain = ModelChain.fresh(owner=ADMIN.address, keep_states=8)
    for _ in range(blocks):
        chain.mine()
    return chain


async def test_a_chain_that_only_grows_was_not_rewritten() -> None:
    chain = chain_of(5)
    rewrites = Rewrites(chain)
    rewrites.note(await chain.head())
    chain.mine()
    head, rewritten = await rewrites.look()
    assert (head, rewritten) == (await chain.head(), False)
    chain.mine()
    assert not (await rewrites.look())[1]


async def test_a_replaced_block_is_noticed_once() -> None:
    chain = chain_of(5)
    rewrites = Rewrites(chain)
    rewrites.note(await chain.head())
    chain.reorganise(2)
    assert (await rewrites.look())[1]
    assert not (await rewrites.look())[1], "what is there now was looked at"


async def test_every_noted_block_counts_not_only_the_newest() -> None:
    chain = chain_of(5)
    rewrites = Rewrites(chain)
    rewrites.note(await chain.head())
    chain.reorganise(1)
    rewrites.note(await chain.head())
    assert (await rewrites.look())[1]


async def test_what_a_silent_chain_did_not_answer_is_asked_again() -> None:
    chain = chain_of(5)
    rewrites = Rewrites(chain)
    rewrites.note(await chain.head())
    chain.reorganise(2)
    chain.down = True
    with pytest.raises(ServiceUnavailable):
        await rewrites.look()
    chain.down = False
    assert (await rewrites.look())[1]
