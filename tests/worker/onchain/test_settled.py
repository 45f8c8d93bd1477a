"""What is deep and never changes is not read again; what could still change is."""

from __future__ import annotations

from fairgrid.worker.onchain.settled import Settled


def test_a_value_is_settled_when_it_was_read_again_unchanged_that_deep() -> None:
    deals = Settled[str, str](blocks=64)
    deals.saw("d", "terms", 100)
    assert deals.get("d") is None
    deals.saw("d", "terms", 163)
    assert deals.get("d") is None
    deals.saw("d", "terms", 164)
    assert deals.get("d") == "terms"


def test_another_value_or_a_chain_that_went_back_begins_anew() -> None:
    deals = Settled[str, str](blocks=64)
    deals.saw("d", "terms", 100)
    deals.saw("d", "other terms", 164)
    assert deals.get("d") is None
    deals.saw("d", "other terms", 150)
    deals.saw("d", "other terms", 213)
    assert deals.get("d") is None
    deals.saw("d", "other terms", 214)
    assert deals.get("d") == "other terms"


def test_a_rewrite_of_what_was_settled_is_believed_again_only_when_deep() -> None:
    deals = Settled[str, str](blocks=1)
    deals.saw("d", "terms", 1)
    deals.saw("d", "terms", 2)
    deals.saw("d", "other terms", 3)
    assert deals.get("d") is None


def test_only_the_last_used_are_remembered() -> None:
    deals = Settled[int, str](blocks=0)
    for number in range(1_024):
        deals.saw(number, "terms", 1)
    assert deals.get(0) == "terms"
    deals.saw(1_024, "terms", 1)
    assert (deals.get(0), deals.get(1)) == ("terms", None)
