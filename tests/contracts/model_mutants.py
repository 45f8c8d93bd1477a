"""Mutants of the protocol's arithmetic and of the reference model. See `tests.contracts.mutants`."""

from __future__ import annotations

from tests.contracts.mutant_runner import Mutant

__all__ = ["MODELS"]

MODEL = "tests/protocol/test_"
PROTOCOL = "src/fairgrid/protocol/"


def in_model(name: str, module: str, text: str, replacement: str, killer: str) -> Mutant:
    """A mistake in the protocol's arithmetic or in the reference model."""
    return Mutant(f"{module}: {name}", f"{PROTOCOL}{module}.py", text, replacement, MODEL + killer)


MODELS = (
    in_model(
        "eight time references to contribute",
        "deadlines",
        "CONTRIBUTION_DEADLINE_RATIO: Final = 7",
        "CONTRIBUTION_DEADLINE_RATIO: Final = 8",
        "deadlines.py::test_deadlines_are_seven_two_and_ten_time_references",
    ),
    in_model(
        "contribution at its deadline",
        "model_tasks",
        "self.world.now < task.contribution_deadline",
        "self.world.now <= task.contribution_deadline",
        "model_tasks.py::test_contributions_end_at_the_deadline",
    ),
    in_model(
        "claim one second late",
        "model_tasks",
        "require(self.world.now >= task.final_deadline)",
        "require(self.world.now > task.final_deadline)",
        "model_tasks.py::test_a_claim_waits_for_the_final_deadline_and_happens_once",
    ),
    in_model(
        "claim keeps the workers' stakes",
        "model_tasks",
        "        for worker in task.contributors:\n            self._unlock(worker, deal.worker_stake * units)\n",
        "",
        "model_tasks.py::test_an_unfinished_task_gives_everybody_their_money_back_but_the_pool",
    ),
    in_model(
        "the app's price goes to the pool",
        "model_tasks",
        "self._reward(deal.app.owner, deal.app.price * units, task_id)",
        "self._reward(deal.workerpool.owner, deal.app.price * units, task_id)",
        "model_tasks.py::test_everybody_is_paid_to_the_last_nrlc",
    ),
    in_model(
        "a seal is not compared",
        "model_tasks",
        "require(contribution.result_seal == ids.result_seal(caller, task_id, result_digest))",
        "require(True)",
        "model_tasks.py::test_a_copied_hash_cannot_be_revealed",
    ),
    in_model(
        "unlocked money stays frozen",
        "model_escrow",
        'self._frozen[account] = checked(self._frozen[account] - amount)\n        self.world.emit(self.address, "Unl',
        'self.world.emit(self.address, "Unl',
        "model_tasks.py::test_everybody_is_paid_to_the_last_nrlc",
    ),
    in_model(
        "a withdrawal burns nothing",
        "model_escrow",
        "        self._burn(caller, amount)\n",
        "",
        "model_escrow.py::test_a_withdrawal_burns_and_pays_out",
    ),
    in_model(
        "orders are not consumed",
        "model_deals",
        "checked(self._consumed[hash_] + volume)",
        "checked(self._consumed[hash_])",
        "model_deals.py::test_an_order_is_consumed_deal_by_deal",
    ),
    in_model(
        "anybody manages an order",
        "model_orders",
        "if caller != owner:",
        "if False:",
        "model_orders.py::test_a_stranger_needs_the_owners_signature_of_that_very_operation",
    ),
    in_model(
        "a revert undoes nothing",
        "model_state",
        "self._undo.pop()()",
        "self._undo.pop()",
        "model_state.py::test_a_call_that_reverts_changes_nothing",
    ),
    in_model(
        "the restriction of an app to a requester is skipped",
        "matching",
        "authorised(app.requesterrestrict, request.requester, facts)",
        "True",
        "matching.py::test_orders_that_break_one_rule_get_its_code",
    ),
    in_model(
        "the tags are compared the other way round",
        "matching",
        "covers(workerpool.tag, tag)",
        "covers(tag, workerpool.tag)",
        "matching.py::test_orders_that_break_one_rule_get_its_code",
    ),
    in_model(
        "the dataset's framework bits count",
        "tags",
        "(_number(dataset) & ~FRAMEWORK_MASK)",
        "_number(dataset)",
        "tags.py::test_framework_bits_of_the_dataset_are_ignored_and_of_the_others_not",
    ),
    in_model(
        "the threshold is reached at equality",
        "trust",
        "return group * required > total * (required - 1)",
        "return group * required >= total * (required - 1)",
        "trust.py::test_fresh_workers_reach_two_to_their_number",
    ),
    in_model(
        "a newcomer weighs three",
        "trust",
        "max(score // SCORE_DIVISOR, 3) - 1",
        "max(score // SCORE_DIVISOR, 3)",
        "trust.py::test_weight_grows_every_three_points_from_twelve_on",
    ),
    in_model(
        "confidence is rounded down",
        "trust",
        "math.ceil(1 / (1 - Fraction(exact)))",
        "math.floor(1 / (1 - Fraction(exact)))",
        "trust.py::test_confidence_becomes_the_smallest_trust_that_gives_it",
    ),
    in_model(
        "one worker fewer is enough",
        "trust",
        "return 1 + math.prod(highest) * missing",
        "return math.prod(highest) * missing",
        "trust.py::test_trust_for_workers_needs_that_many_whoever_they_are",
    ),
    in_model(
        "weights add up instead of multiplying",
        "consensus",
        "delta = max(group, 1) * weight - group",
        "delta = weight",
        "consensus.py::test_groups_are_products_and_the_total_is_one_more_than_their_sum",
    ),
    in_model(
        "shares are rounded up",
        "rewards",
        "workers_pot * weight // total_weight",
        "-(-workers_pot * weight // total_weight)",
        "rewards.py::test_honest_workers_share_by_weight_and_the_scheduler_takes_rest_and_rounding",
    ),
    in_model(
        "a fault costs a quarter",
        "rewards",
        "return score * 2 // 3",
        "return score * 3 // 4",
        "rewards.py::test_a_fault_takes_a_third_of_the_score",
    ),
    in_model(
        "the kitty gives less than one RLC",
        "rewards",
        "min(max(kitty * KITTY_RATIO // 100, KITTY_MIN_NRLC), kitty)",
        "kitty * KITTY_RATIO // 100",
        "rewards.py::test_the_kitty_gives_a_tenth_but_at_least_one_rlc_and_at_most_all",
    ),
    in_model(
        "a malleable signature holds",
        "seals",
        "<= _HALF_ORDER:",
        "< _ORDER:",
        "seals.py::test_a_malleable_signature_recovers_to_nobody",
    ),
    in_model(
        "a seal has no salt",
        "seals",
        "{digest[2:]}{salt[2:]}",
        "{digest[2:]}{digest[2:]}",
        "seals.py::test_every_part_changes_the_seal",
    ),
    in_model(
        "an operation is not signed",
        "typed_data",
        "_order_struct(order) + uint256_bytes(operation))",
        "_order_struct(order) + uint256_bytes(0))",
        "typed_data.py::test_the_recorded_operation_hashes_as_real_signers_hashed_it",
    ),
    in_model(
        "the units of a run are not counted",
        "model_tasks",
        "return max(self._run_counts[task_id], 1)",
        "return 1",
        "model_batch_endings.py::test_a_run_pays_everybody_for_all_its_tasks_to_the_last_nrlc",
    ),
    in_model(
        "anybody opens single tasks of the batch lane",
        "model_tasks",
        "require(caller == deal.workerpool.owner or self.world.now >= task.final_deadline)",
        "require(True)",
        "model_batch.py::test_single_tasks_open_only_at_the_frontier_and_only_by_the_pool_until_all_is_late",
    ),
    in_model(
        "a run is finalized like a task",
        "model_tasks",
        "require(task_id not in self._run_counts)",
        "require(True)",
        "model_batch.py::test_a_run_is_not_finalized_like_a_task",
    ),
    in_model(
        "the pool alone chooses the lane",
        "model_deals",
        "in_batch_lane=has_lane(request.tag) and has_lane(workerpool.tag)",
        "in_batch_lane=has_lane(workerpool.tag)",
        "model_batch.py::test_a_deal_is_in_the_batch_lane_only_if_request_and_pool_say_so",
    ),
    in_model(
        "a lone worker replaces those who contributed",
        "model_fast",
        "require(not task.contributors)",
        "require(True)",
        "model_fast.py::test_a_task_is_settled_alone_only_once_and_only_if_nobody_contributed",
    ),
    in_model(
        "a lone worker is enough at any trust",
        "model_fast",
        "require(deal.trust == 1)",
        "require(True)",
        "model_fast.py::test_only_a_deal_of_trust_one_is_settled_alone",
    ),
    in_model(
        "a run is opened beyond the deal",
        "model_batch",
        "min(runs.MAX_RUN_TASKS, record.deal.bot_size - record.batch_cursor)",
        "min(runs.MAX_RUN_TASKS, record.deal.bot_size)",
        "model_batch.py::test_a_run_opens_at_the_frontier",
    ),
    in_model(
        "the frontier stands still",
        "model_batch",
        "batch_cursor=record.batch_cursor + count",
        "batch_cursor=record.batch_cursor",
        "model_batch.py::test_a_run_opens_at_the_frontier",
    ),
    in_model(
        "who did not reveal gets its stake back when a run is split",
        "model_batch",
        "if contribution.status == ContributionStatus.CONTRIBUTED:",
        "if True:",
        "model_batch.py::test_who_did_not_reveal_is_slashed_when_its_run_is_split",
    ),
    in_model(
        "a run that agrees is split",
        "model_batch",
        "require(not (agree and all_stand))",
        "require(True)",
        "model_batch.py::test_a_run_is_split_if_nobody_came_or_some_disagree_but_not_while_all_agree",
    ),
    in_model(
        "a run is finalized with whatever the pool says",
        "model_batch",
        "require(runs.run_digest(root, results) == task.result_digest)",
        "require(True)",
        "model_batch_endings.py::test_a_run_is_finalized_by_the_pools_owner_once_revealed_in_time_and_with_what_was_agreed_on",
    ),
    in_model(
        "a task is materialised twice",
        "model_batch",
        "require(self._tasks[task_id].status == TaskStatus.UNSET)",
        "require(True)",
        "model_batch_endings.py::test_a_task_of_a_completed_run_is_proved_once_and_then_looks_like_a_task",
    ),
    in_model(
        "the rest is refunded twice",
        "model_batch",
        "self._deals[deal_id] = replace(record, batch_refunded=True)",
        "pass",
        "model_batch.py::test_what_was_never_opened_is_refunded_at_once_and_once",
    ),
    in_model(
        "a longer proof holds",
        "runs",
        "return not rest and to_hex32(node) == hex32(root)",
        "return to_hex32(node) == hex32(root)",
        "runs.py::test_each_digest_is_proved_at_its_position_and_nowhere_else",
    ),
    in_model(
        "leaves are nodes",
        "runs",
        '_LEAF, _NODE = b"\\x10", b"\\x11"',
        '_LEAF, _NODE = b"\\x11", b"\\x11"',
        "runs.py::test_the_tree_promotes_odd_nodes",
    ),
)
