"""A chain with the contracts on it: every promise of the seam holds on a real node and on the in-memory twin alike."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.chain.places import Place, model_place, real_place

from fairgrid.chain.client import JsonRpcChain
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.wallet.keys import KeySigner


@pytest.fixture(params=["anvil", "model"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    if request.param == "model":
        yield model_place()
        return
    found = await real_place(request.getfixturevalue("anvil"))
    yield found
    assert isinstance(found.chain, JsonRpcChain)
    await found.chain.close()


@pytest.fixture
def rich_signer(anvil: AnvilProcess) -> KeySigner:
    """A key of nobody's, with coins on this chain."""
    signer = KeySigner(bytes([7] * 32))
    anvil.request("anvil_setBalance", signer.address, hex(10**18))
    return signer
