"""Log-ins: by a key, or by a contract that says so; each challenge once."""

from __future__ import annotations

import asyncio

import pytest

from fairgrid.market.auth import Challenges
from fairgrid.market.refusals import Unauthorized
from fairgrid.protocol.typed_data import typed_data_hash
from fairgrid.wallet.keys import KeySigner
from tests.market.grid import HandClock

OWNER, ACCOUNT = KeySigner(b"\x21" * 32), "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"


async def nobody(address: str, identity: str, signature: str) -> bool:
    return False


def header(challenges: Challenges, address: str, signer: KeySigner) -> tuple[str, str, str]:
    document = challenges.issue(address)
    identity, signature = typed_data_hash(document), signer.sign_typed_data(document)
    return f"{identity}_{signature}_{address}", identity, signature


async def test_a_key_logs_in_once_and_no_contract_is_asked() -> None:
    challenges = Challenges(1, HandClock())

    async def asked(address: str, identity: str, signature: str) -> bool:
        raise AssertionError("a key that signed needs no contract")

    text, _, _ = header(challenges, OWNER.address, OWNER)
    assert await challenges.redeem(text, asked) == OWNER.address
    with pytest.raises(Unauthorized):
        await challenges.redeem(text, nobody)


async def test_a_contract_logs_in_by_what_it_takes_for_its_signature() -> None:
    challenges = Challenges(1, HandClock())
    text, identity, signature = header(challenges, ACCOUNT, OWNER)
    with pytest.raises(Unauthorized):
        await challenges.redeem(text, nobody)
    seen = []

    async def contract(address: str, of: str, sign: str) -> bool:
        seen.append((address, of, sign))
        await asyncio.sleep(0)
        return True

    answers = await asyncio.gather(*(challenges.redeem(text, contract) for _ in range(2)), return_exceptions=True)
    assert answers[0] == ACCOUNT and isinstance(answers[1], Unauthorized)  # the challenge was used up meanwhile
    assert seen[0] == (ACCOUNT, identity, signature)
    other = f"{identity}_0x1234_{ACCOUNT}"
    challenges.issue(ACCOUNT)
    with pytest.raises(Unauthorized):
        await challenges.redeem(other, contract)
