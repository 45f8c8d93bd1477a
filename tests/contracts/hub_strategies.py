"""What the random calls on the hub are made of: people, amounts, terms of orders, ways to sign."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex32
from tests.contracts.play import BAD, ESCROWED, GOOD, PRICE, Play
from tests.contracts.twins import Orders
from tests.protocol.actors import Actor

__all__ = [
    "BROKER",
    "CALLBACK_DATA",
    "DIGESTS",
    "EDGES",
    "ENCLAVE",
    "amounts",
    "at_an_edge",
    "bits",
    "callbacks",
    "people",
    "terms",
    "votes",
    "ways_to_sign",
]

ENCLAVE = Actor("enclave")
BROKER = Actor("broker")
CALLBACK_DATA = b"callback"
DIGESTS = (GOOD, GOOD, GOOD, BAD, to_hex32(keccak(CALLBACK_DATA)))

people = st.integers(0, 11)
amounts = st.integers(0, 20_000) | st.sampled_from([0, 1, ESCROWED, 2 * ESCROWED, 10**12, 2**96, 2**256 - 1])
bits = st.sampled_from([0, 0, 0, 1, 3, 0x0E, 0x10, 0x10000, 1 << 255])
callbacks = st.sampled_from([ZERO_ADDRESS] * 7 + [BROKER.address, 0, 1, 2, 3])
"""Mostly none; a number is a mode of `Play.callback`."""

ways_to_sign = st.sampled_from(
    ["signed"] * 8
    + ["compact", "presigned", "presigned for", "forged", "malleable", "empty", "presigned by a stranger"]
)


votes = st.lists(st.sampled_from(DIGESTS), min_size=2, max_size=6) | st.sampled_from(
    [
        [GOOD] * 6,
        [BAD, GOOD, GOOD, GOOD, GOOD, GOOD],
        [GOOD, BAD, GOOD, GOOD, GOOD, GOOD],
        [GOOD, GOOD, BAD, GOOD, GOOD, GOOD],
        [DIGESTS[-1]] * 6,
    ]
)
"""What workers contribute in turn: at random, or with at most one liar."""

EDGES = 31
"""How many edges `at_an_edge` knows."""


@st.composite
def terms(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Changes of the default orders that still match."""
    price = draw(st.sampled_from([0, 1, 7, PRICE, 3 * 10**9]))
    app_tag, more = draw(bits), draw(bits)
    lane = draw(st.sampled_from([0, 0, 0x10000]))
    request_tag = more & (app_tag | ~1) | lane
    category = draw(st.sampled_from([0, 0, 0, 1]))
    trust = draw(st.sampled_from([0, 1, 2, 2, 3, 3, 3, 4, 4, 6, 8, 40]))
    return {
        "app": {"volume": draw(st.integers(1, 5)), "tag": f"0x{app_tag:064x}", "appprice": draw(st.integers(0, 103))},
        "workerpool": {
            "volume": draw(st.integers(1, 5)),
            "category": category,
            "workerpoolprice": price,
            "tag": f"0x{app_tag | request_tag | more & 0x10:064x}",
        },
        "request": {
            "volume": draw(st.integers(1, 4)),
            "category": category,
            "trust": trust,
            "workerpoolmaxprice": max(price, PRICE),
            "tag": f"0x{request_tag:064x}",
            "callback": draw(callbacks),
            "params": draw(st.sampled_from(["", "{}", "ä", "x" * 70])),
            "beneficiary": draw(st.sampled_from([ZERO_ADDRESS, BROKER.address])),
        },
    }


def at_an_edge(play: Play, orders: Orders, choice: int) -> Orders:
    """One term of orders that match is now at the edge of what is allowed, or beyond it."""
    _, dataset, pool, request = orders
    stranger = play.people.stranger.address
    changes: list[tuple[int, dict[str, Any]]] = [
        (3, {"category": request.category + 1}),
        (3, {"trust": pool.trust + 1}),
        (3, {"trust": pool.trust}),
        (0, {"appprice": request.appmaxprice + 1}),
        (1, {"datasetprice": request.datasetmaxprice + 1}),
        (2, {"workerpoolprice": request.workerpoolmaxprice + 1}),
        (2, {"workerpoolprice": request.workerpoolmaxprice}),
        (3, {"tag": f"0x{1 << 100:064x}"}),
        (1, {"tag": f"0x{1 << 100:064x}"}),
        (1, {"tag": f"0x{0x0E:064x}"}),
        (3, {"app": play.assets.apps[1]}),
        (3, {"dataset": play.assets.datasets[1]}),
        (3, {"workerpool": stranger}),
        (3, {"workerpool": pool.workerpool}),
        (0, {"datasetrestrict": stranger}),
        (0, {"datasetrestrict": dataset.dataset}),
        (0, {"workerpoolrestrict": stranger}),
        (0, {"workerpoolrestrict": pool.workerpool}),
        (0, {"requesterrestrict": stranger}),
        (0, {"requesterrestrict": request.requester}),
        (1, {"apprestrict": stranger}),
        (1, {"workerpoolrestrict": stranger}),
        (1, {"requesterrestrict": stranger}),
        (2, {"apprestrict": stranger}),
        (2, {"datasetrestrict": stranger}),
        (2, {"requesterrestrict": stranger}),
        (2, {"requesterrestrict": request.requester}),
        (0, {"volume": 0}),
        (1, {"volume": 0}),
        (2, {"workerpool": play.assets.apps[0]}),
        (3, {"requester": stranger}),
    ]
    assert len(changes) == EDGES
    index, change = changes[choice]
    changed: list[Any] = list(orders)
    changed[index] = replace(changed[index], **change)
    return tuple(changed)
