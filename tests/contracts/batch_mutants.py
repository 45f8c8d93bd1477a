"""Mutants of the contracts of the batch lane and of one-transaction tasks. See `tests.contracts.mutants`."""

from __future__ import annotations

from tests.contracts.mutant_runner import Mutant

__all__ = ["BATCH"]

ON_RUNS = "tests/contracts/test_agreement_on_batch.py::test_"
ON_SETTLED = "tests/contracts/test_agreement_on_settled_runs.py::test_"
ON_FAST = "tests/contracts/test_agreement_on_fast_tasks.py::test_"
HUB, FACET, ORDERS = "contracts/hub.vy", "contracts/hub_batch.vy", "contracts/hub_orders.vy"
MERKLE, SETTLEMENT = "contracts/lib/merkle.vy", "contracts/lib/settlement.vy"
VIEWS = "contracts/lib/task_views.vy"


def in_facet(name: str, text: str, replacement: str, killer: str, file: str = FACET) -> Mutant:
    """A mistake in the life of a run."""
    return Mutant(f"hub_batch: {name}", file, text, replacement, killer, ("hub_batch",))


def in_hub(name: str, text: str, replacement: str, killer: str) -> Mutant:
    """A mistake in what tasks and runs have in common."""
    return Mutant(f"hub: {name}", HUB, text, replacement, killer, ("hub",))


LANES = ON_RUNS + "a_deal_is_in_the_batch_lane_only_if_request_and_pool_say_so"
FRONTIER = ON_RUNS + "single_tasks_open_only_at_the_frontier_and_only_by_the_pool_until_all_is_late"
OPENING = ON_RUNS + "only_the_pools_owner_opens_runs_of_a_size_that_is_left_before_the_deadline"
SPLITTING = ON_RUNS + "a_run_that_nobody_agrees_on_is_split_and_stakes_come_back"
SLASHED = ON_RUNS + "who_did_not_reveal_is_slashed_when_its_run_is_split"
PAID = ON_RUNS + "a_run_pays_everybody_for_all_its_tasks_to_the_last_nrlc"
FINALIZING = ON_RUNS + "a_run_is_finalized_by_the_pools_owner_once_revealed_and_with_what_was_agreed_on"
PROVING = ON_SETTLED + "what_is_not_proved_is_not_materialised"
REFUND = ON_SETTLED + "what_was_never_opened_is_refunded_at_once_and_once"
ALONE = ON_SETTLED + "a_run_is_settled_alone_only_at_trust_one_in_time_and_in_a_size_that_is_left"
FAST = ON_FAST + "only_an_untouched_task_of_trust_one_is_settled_alone_and_in_time"

BATCH = (
    # lanes and the frontier
    Mutant(
        "hub_orders: the pool alone chooses the lane",
        ORDERS,
        "request_tag & pool_tag & types.TAG_BATCH_LANE != 0",
        "pool_tag & types.TAG_BATCH_LANE != 0",
        LANES,
        ("hub_orders",),
    ),
    in_hub(
        "single tasks are opened anywhere past the frontier",
        "assert offset == packing.lane_cursor(lane)",
        "assert offset >= packing.lane_cursor(lane)",
        FRONTIER,
    ),
    in_hub(
        "single tasks leave the frontier where it is",
        "state.lanes[key] = packing.lane(offset + 1, False)",
        "pass",
        FRONTIER,
    ),
    in_hub(
        "anybody opens single tasks of the batch lane",
        "assert msg.sender == deals.pool_owner(deal) or block.timestamp >= deals.final_deadline(deal)",
        "pass",
        FRONTIER,
    ),
    in_hub(
        "single tasks are opened after the refund",
        "assert not packing.lane_refunded(lane)",
        "pass",
        REFUND,
    ),
    in_facet(
        "runs leave the frontier where it is",
        "packing.lane(run.offset + count, False)",
        "packing.lane(run.offset, False)",
        ON_RUNS + "runs_open_at_the_frontier_one_after_the_other",
    ),
    in_facet(
        "runs are opened beyond the deal",
        "assert count <= deals.bot_size(deal) - run.offset",
        "assert count <= deals.bot_size(deal)",
        ALONE,
    ),
    in_facet(
        "anybody opens runs",
        "assert msg.sender == deals.pool_owner(deal)\n    run: packing.TaskFields = self._take_next",
        "run: packing.TaskFields = self._take_next",
        OPENING,
    ),
    in_facet(
        "runs are opened at the contribution deadline",
        "assert block.timestamp < deals.contribution_deadline(deal)\n    run: packing.TaskFields = empty",
        "assert block.timestamp <= deals.contribution_deadline(deal)\n    run: packing.TaskFields = empty",
        OPENING,
    ),
    in_facet(
        "a run of the classic lane",
        "    assert deals.flags(deal) & deals.FLAG_BATCH_LANE != 0\n",
        "",
        LANES,
    ),
    # the classic calls on runs
    in_hub(
        "one stake is enough for a run",
        "escrow.lock(msg.sender, deals.worker_stake(deal) * settlement.units_of(task.count))",
        "escrow.lock(msg.sender, deals.worker_stake(deal))",
        ON_RUNS + "a_contribution_to_a_run_locks_the_stake_of_all_its_tasks",
    ),
    in_hub(
        "a claim refunds one task of a run",
        "settlement.units_of(packing.task_count(word))",
        "1",
        ON_RUNS + "a_claim_refunds_all_tasks_of_a_run_and_gives_all_stakes_back",
    ),
    in_hub(
        "a run is finalized like a task",
        "    assert task.count == 0\n    deal: deals.Head = deals.load(task.deal_key)\n    settlement",
        "    deal: deals.Head = deals.load(task.deal_key)\n    settlement",
        ON_RUNS + "classic_settlement_refuses_a_run",
    ),
    # splitting
    in_facet(
        "a run that agrees is split",
        "    assert divided\n",
        "",
        ON_RUNS + "a_run_is_split_if_nobody_came_or_some_disagree_but_not_while_all_agree",
    ),
    in_facet(
        "a run that was split goes on",
        "state.tasks[runid] = packing.with_task_status(word, types.TASK_SPLIT)",
        "pass",
        SPLITTING,
    ),
    in_facet(
        "who did not reveal gets its stake back",
        "packing.contribution_status(contribution) == types.CONTRIBUTION_REJECTED",
        "packing.contribution_status(contribution) == types.CONTRIBUTION_UNSET",
        SLASHED,
    ),
    in_facet("a seized stake is nobody's", "escrow.freeze_for_kitty(stake, runid)", "pass", SLASHED),
    in_facet("the halves overlap", "rest.offset = run.offset + left", "rest.offset = run.offset", SPLITTING),
    # finalizing
    in_facet(
        "a run is finalized with whatever the pool says",
        "assert hashing.run_digest(root, keccak256(results)) == state.groups[runid][run.consensus_group]",
        "pass",
        FINALIZING,
    ),
    in_facet(
        "the app is paid for one task of a run",
        "escrow.reward(deals.app_owner(deal), app_price * units, ref)",
        "escrow.reward(deals.app_owner(deal), app_price, ref)",
        PAID,
        SETTLEMENT,
    ),
    in_facet(
        "the share of a run is rounded task by task",
        "share: uint256 = pool_price * (100 - deals.scheduler_reward_ratio(deal)) // 100",
        "share: uint256 = pool_price // units * (100 - deals.scheduler_reward_ratio(deal)) // 100 * units",
        ON_SETTLED + "one_worker_settles_a_run_without_stake_or_score",
        SETTLEMENT,
    ),
    in_facet(
        "losers are named as workers of a run",
        "packing.contribution_status(contribution) == types.CONTRIBUTION_PROVED",
        "packing.contribution_status(contribution) != types.CONTRIBUTION_UNSET",
        PAID,
    ),
    # settling alone
    in_facet("a lone worker is enough at any trust", "    assert deals.trust(deal) == 1\n", "", ALONE),
    in_hub("a lone worker of a task is enough at any trust", "    assert deals.trust(deal) == 1\n", "", FAST),
    in_hub(
        "a lone worker replaces those who contributed",
        "    assert task.contributors == 0\n",
        "",
        FAST,
    ),
    in_hub(
        "a lone worker comes at the deadline",
        "assert block.timestamp < deals.contribution_deadline(deal)\n    assert task.contributors",
        "assert block.timestamp <= deals.contribution_deadline(deal)\n    assert task.contributors",
        FAST,
    ),
    in_hub(
        "a lone result for a callback is not compared",
        "callbacks.check_data(options.callback, _resultsCallback, _resultDigest)",
        "pass",
        ON_FAST + "a_lone_result_for_a_callback_needs_the_bytes_of_its_digest",
    ),
    in_hub(
        "arrays of different lengths are paired",
        "    assert len(_dealid) == len(_idx)\n    for i: uint256 in range(len(_idx), bound=types.MAX_ARRAY):\n"
        "        self._initialize",
        "    for i: uint256 in range(min(len(_idx), len(_dealid)), bound=types.MAX_ARRAY):\n        self._initialize",
        ON_FAST + "arrays_open_and_claim_all_or_nothing",
    ),
    # proving
    in_facet(
        "a task is materialised twice",
        "    assert state.tasks[task_id] == 0\n",
        "",
        ON_SETTLED + "each_task_of_a_completed_run_is_proved_once_and_then_looks_like_a_task",
    ),
    in_facet(
        "another root is proved",
        "assert hashing.run_digest(root, resultsHash) == state.groups[runid][run.consensus_group]",
        "pass",
        PROVING,
    ),
    in_facet("a longer proof holds", "    assert used == len(proof)\n", "", PROVING, MERKLE),
    in_facet("left is right", "if place & 1 == 0:", "if place & 1 == 1:", PROVING, MERKLE),
    in_facet(
        "a run that was claimed proves its tasks",
        "assert run.status == types.TASK_COMPLETED",
        "assert run.status != types.TASK_ACTIVE",
        ON_SETTLED + "a_run_that_is_not_completed_proves_nothing",
    ),
    in_facet(
        "a callback gets whatever bytes",
        "callbacks.check_data(callback, resultsCallback, resultDigest)",
        "pass",
        ON_SETTLED + "a_deal_with_a_callback_gets_the_bytes_of_each_digest",
    ),
    # refunds
    in_facet("the rest is refunded twice", "packing.lane(cursor, True)", "packing.lane(cursor, False)", REFUND),
    in_facet(
        "the rest is refunded early",
        "assert block.timestamp >= deals.final_deadline(deal)",
        "pass",
        REFUND,
    ),
    in_facet(
        "opened tasks are refunded again",
        "count: uint256 = deals.bot_size(deal) - cursor",
        "count: uint256 = deals.bot_size(deal)",
        REFUND,
    ),
)
