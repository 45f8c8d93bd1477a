from __future__ import annotations

from collections import Counter

from fairgrid.pool.core.instructions import ChainInstruction, Claim, Finalize, Initialize
from fairgrid.pool.onchain.bundles import bundled, call_of
from fairgrid.protocol.hexes import ZERO_ADDRESS

HUB = "0x" + "11" * 20
DEAL = "0x" + "aa" * 32


def _task(number: int) -> str:
    return f"0x{number:064x}"


def _none(task_id: str) -> str:
    return ZERO_ADDRESS


BEGINS = [Initialize(_task(number), DEAL, number) for number in range(7)]
CLAIMS = [Claim(_task(number)) for number in range(20, 25)]
ENDS = [Finalize(_task(number), "bafk", "0x") for number in range(30, 32)]

ALL: list[ChainInstruction] = [*BEGINS, *ENDS, *CLAIMS]


def test_initializations_and_claims_go_together_and_finalizations_alone() -> None:
    bundles = bundled(ALL, HUB, _none, most=4)
    assert Counter(bundle.call.function for bundle in bundles) == {
        "finalize": 2,
        "initializeArray": 2,
        "claimArray": 1,
        "claim": 1,
    }
    assert [len(bundle.keys) for bundle in bundles] == [1, 1, 4, 3, 4, 1]
    keys = [key for bundle in bundles for key in bundle.keys]
    assert sorted(keys) == sorted(item.key for item in ALL)
    assert bundles[2].call.arguments == ((DEAL,) * 4, (0, 1, 2, 3))


def test_what_was_refused_before_goes_alone() -> None:
    bundles = bundled(BEGINS, HUB, _none, most=50, alone=frozenset({BEGINS[2].key}))
    assert sorted(len(bundle.keys) for bundle in bundles) == [1, 6]
    assert bundles[0].call == call_of(BEGINS[2], HUB, _none)


def test_with_a_limit_of_one_nothing_goes_together() -> None:
    assert {bundle.call.function for bundle in bundled([*BEGINS, *CLAIMS], HUB, _none, most=1)} == {
        "initialize",
        "claim",
    }


def test_a_bundle_falls_apart_into_the_single_calls() -> None:
    (bundle,) = bundled(BEGINS, HUB, _none, most=50)
    assert [part.call for part in bundle.singles(HUB, _none)] == [call_of(item, HUB, _none) for item in BEGINS]
