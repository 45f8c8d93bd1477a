"""How deals of boost matching are shown."""

from __future__ import annotations

import pytest

from fairgrid.cli.deal_view import boost_document, print_boost
from fairgrid.cli.output import console
from fairgrid.client.boost import BoostState
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.views import DealBoost, TaskStatus

OWNER, PAYER = "0x" + "0A" * 20, "0x" + "0B" * 20
DEAL = DealBoost(
    app_owner=OWNER,
    app_price=5,
    dataset_owner=ZERO_ADDRESS,
    dataset_price=0,
    workerpool_owner=OWNER,
    workerpool_price=95,
    requester=OWNER,
    worker_reward=90,
    callback=ZERO_ADDRESS,
    deadline=1_000,
    bot_first=0,
    bot_size=4,
    short_tag="0x000000",
    sponsor=PAYER,
)
STATUSES = dict(enumerate((TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.UNSET, TaskStatus.UNSET)))


@pytest.mark.parametrize(
    ("now", "statuses", "says"),
    [
        (999, STATUSES, "in 1 s of chain time"),
        (1_000, STATUSES, "fairgrid deal claim 0xdeal"),
        (1_000, dict.fromkeys(range(4), TaskStatus.COMPLETED), "it holds no money"),
    ],
)
def test_a_deal_of_boost_says_what_is_locked_and_when_it_comes_back(
    now: int, statuses: dict[int, TaskStatus], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = BoostState("0xdeal", DEAL, now, statuses)
    print_boost(state, console())
    told = capsys.readouterr().err
    assert says in told and f"paid by     {PAYER}" in told and "dataset" not in told
    document = boost_document(state)
    assert document["boost"] and document["payer"] == PAYER and document["tasks"]["total"] == 4
    assert document["openNrlc"] == 100 * document["tasks"]["open"]
    assert document["overdue"] is (now >= 1_000 and document["tasks"]["open"] > 0)
