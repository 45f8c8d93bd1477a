"""`docs/protocol.md`: its worked example is what the arithmetic gives, and its facts are the contracts'."""

from __future__ import annotations

import re
from pathlib import Path

from fairgrid.protocol import deadlines
from fairgrid.protocol.consensus import ConsensusState
from fairgrid.protocol.rewards import distribute, pool_stake, task_price, worker_stake

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
APP, DATASET, POOL = 1_000_000, 500_000, 100_000_000
STAKE_RATIO, SCHEDULER_RATIO, TRUST, HONEST = 30, 5, 5, 4


def money(text: str) -> int:
    return int(text.replace(",", "").replace("\N{MINUS SIGN}", "-"))


def rows() -> dict[str, list[int]]:
    """The worked example: account to before, locked, afterwards, gains."""
    table = PAGE.split("### Worked example")[1].split("The pot is")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return {row[0]: [money(cell) for cell in row[1:]] for row in cells if re.search(r"\d", row[1])}


def test_four_agree_against_one_and_three_would_not_do() -> None:
    state = ConsensusState().add("lie", 2)
    for number in range(HONEST):
        assert not state.reached("truth", TRUST), number
        state = state.add("truth", 2)
    assert state.reached("truth", TRUST)
    assert "`16 · 5 > (1 + 2 + 16) · 4`" in PAGE and (state.group("truth"), state.total) == (16, 19)


def test_the_worked_example_adds_up_to_the_last_nrlc() -> None:
    stake, table = worker_stake(POOL, STAKE_RATIO), rows()
    shares = distribute(
        workerpool_price=POOL,
        stake=stake,
        scheduler_reward_ratio=SCHEDULER_RATIO,
        proved_weights=[None, *[1] * HONEST],
    )
    price = task_price(APP, DATASET, POOL)
    gains = {
        "requester": -price,
        "app owner": APP,
        "dataset owner": DATASET,
        "scheduler": shares.scheduler,
        "liar": -stake,
        "each of four honest workers": shares.workers[1],
    }
    assert {account: row[3] for account, row in table.items()} == gains
    locked = {"requester": price, "scheduler": pool_stake(POOL), "liar": stake, "each of four honest workers": stake}
    assert {account: row[1] for account, row in table.items() if row[1]} == locked
    assert all(before == locked and after == before + gain for before, locked, after, gain in table.values())
    assert sum(gain * (HONEST if account.startswith("each") else 1) for account, gain in gains.items()) == 0
    assert f"{shares.pot:,}" in PAGE and f"{shares.pot * (100 - SCHEDULER_RATIO) // 100:,}" in PAGE


def test_deadlines_are_those_of_the_chain() -> None:
    assert deadlines.contribution_deadline(0, 1) == 7 and "| deal + 7 T |" in PAGE
    assert deadlines.reveal_deadline(0, 1) == 2 and "| consensus + 2 T |" in PAGE
    assert deadlines.final_deadline(0, 1) == 10 and "| deal + 10 T |" in PAGE
