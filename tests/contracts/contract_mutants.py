"""Mutants of the contracts. See `tests.contracts.mutants`."""

from __future__ import annotations

from tests.contracts.mutant_runner import Mutant

__all__ = ["CONTRACTS"]

ON_TASKS = "tests/contracts/test_agreement_on_tasks.py::test_"
ON_ORDERS = "tests/contracts/test_agreement_on_orders.py::test_"
ON_BOOST = "tests/contracts/test_agreement_on_boost.py::test_"
HUB, ORDERS, ESCROW = "contracts/hub.vy", "contracts/hub_orders.vy", "contracts/lib/escrow.vy"
SURFACE, SETTLEMENT = "contracts/lib/erc20.vy", "contracts/lib/settlement.vy"
DEPOSITS = "contracts/hub_escrow.vy"
CONTRIBUTIONS = "contracts/lib/contributions.vy"
BOOST, MATCHING = "contracts/hub_boost.vy", "contracts/lib/matching.vy"
VIEWS, SCORES, SIGNATURES = "contracts/hub_views.vy", "contracts/lib/scores.vy", "contracts/lib/signatures.vy"


def in_hub(name: str, text: str, replacement: str, killer: str) -> Mutant:
    """A mistake in the life of a task."""
    return Mutant(f"hub: {name}", HUB, text, replacement, ON_TASKS + killer, ("hub",))


def in_orders(name: str, text: str, replacement: str, killer: str, file: str = ORDERS) -> Mutant:
    """A mistake in matching or managing orders."""
    return Mutant(f"hub_orders: {name}", file, text, replacement, ON_ORDERS + killer, ("hub_orders",))


def in_boost(name: str, text: str, replacement: str, killer: str) -> Mutant:
    """A mistake in the fast path."""
    return Mutant(f"hub_boost: {name}", BOOST, text, replacement, ON_BOOST + killer, ("hub_boost",))


def in_views(name: str, text: str, replacement: str, killer: str, file: str = VIEWS) -> Mutant:
    """A mistake in views and the token's surface."""
    return Mutant(f"hub_views: {name}", file, text, replacement, ON_ORDERS + killer, ("hub_views",))


def in_surface(name: str, text: str, replacement: str, killer: str) -> Mutant:
    """A mistake in the token's surface."""
    return Mutant(f"hub_escrow: {name}", SURFACE, text, replacement, ON_ORDERS + killer, ("hub_escrow",))


def in_deposits(name: str, text: str, replacement: str, killer: str) -> Mutant:
    """A mistake in what brings tokens in and out."""
    return Mutant(f"hub_escrow: {name}", DEPOSITS, text, replacement, ON_ORDERS + killer, ("hub_escrow",))


def in_library(name: str, file: str, text: str, replacement: str, killer: str) -> Mutant:
    """A mistake in what tasks stand on."""
    return Mutant(f"{file[14:-3]}: {name}", file, text, replacement, ON_TASKS + killer, ("hub",))


def in_settlement(name: str, text: str, replacement: str, killer: str) -> Mutant:
    """A mistake in who is paid."""
    return in_library(name, SETTLEMENT, text, replacement, killer)


DEADLINES = "deadlines_hold_to_the_second"
REOPENED = "a_silent_consensus_is_reopened"
HAPPY = "the_happy_path_pays_everybody_to_the_last_nrlc"
VETERANS = "veterans_weigh_more_earn_more_and_fall_by_a_third"
KITTY = "the_kitty_keeps_stakes_of_failed_pools_and_rewards_the_next"
RULES = "every_rule_of_matching_is_kept_and_in_order"
CLAIMS = "claims_start_at_the_final_deadline"

CONTRACTS = (
    # deadlines off by one
    in_hub(
        "contribution at its deadline",
        "assert block.timestamp < deals.contribution_deadline(deal)\n    position",
        "assert block.timestamp <= deals.contribution_deadline(deal)\n    position",
        DEADLINES,
    ),
    in_hub(
        "reveal at its deadline",
        "assert block.timestamp < task.reveal_deadline",
        "assert block.timestamp <= task.reveal_deadline",
        DEADLINES,
    ),
    in_settlement(
        "finalize at the final deadline",
        "assert block.timestamp < deals.final_deadline(deal)\n    assert task.revealed == task.winners",
        "assert block.timestamp <= deals.final_deadline(deal)\n    assert task.revealed == task.winners",
        DEADLINES,
    ),
    in_hub(
        "claim one second late",
        "assert block.timestamp >= deals.final_deadline(deal)",
        "assert block.timestamp > deals.final_deadline(deal)",
        CLAIMS,
    ),
    in_hub(
        "reopen one second late",
        "assert block.timestamp >= task.reveal_deadline\n",
        "assert block.timestamp > task.reveal_deadline\n",
        REOPENED,
    ),
    in_settlement(
        "finalize without any reveal",
        "task.revealed > 0 and block.timestamp >= task.reveal_deadline",
        "block.timestamp >= task.reveal_deadline",
        REOPENED,
    ),
    # who is paid, and what
    in_hub(
        "claim keeps the workers' stakes",
        "escrow.unlock(packing.contribution_worker(state.contributions[task_id][i]), worker_stake)",
        "pass",
        CLAIMS,
    ),
    in_settlement(
        "claim refunds the requester instead of the sponsor",
        "escrow.unlock(options.sponsor, self.price_of(deal, options) * units)",
        "escrow.unlock(deals.requester(deal), self.price_of(deal, options) * units)",
        "a_sponsor_pays_and_gets_the_refund",
    ),
    in_settlement(
        "the pool's stake stays locked",
        "escrow.unlock(pool_owner, deals.pool_stake(deal) * units)",
        "pass",
        HAPPY,
    ),
    in_settlement(
        "the app's price goes to the pool",
        "escrow.reward(deals.app_owner(deal), app_price * units, ref)",
        "escrow.reward(deals.pool_owner(deal), app_price * units, ref)",
        HAPPY,
    ),
    in_settlement(
        "shares are rounded up",
        "* scores.log2(packing.contribution_weight(word)) // total_weight",
        "* scores.log2(packing.contribution_weight(word)) // total_weight + 1",
        HAPPY,
    ),
    in_settlement(
        "seized stakes are not shared",
        "total_reward += stake",
        "total_reward += 0",
        HAPPY,
    ),
    in_settlement(
        "who did not prove keeps its stake locked",
        "escrow.seize(worker, stake, ref)",
        "pass",
        HAPPY,
    ),
    in_settlement(
        "the kitty gives less than one RLC",
        "min(max(kitty * types.KITTY_RATIO // 100, types.KITTY_MIN), kitty)",
        "kitty * types.KITTY_RATIO // 100",
        KITTY,
    ),
    in_settlement(
        "the kitty pays without paying",
        "escrow.seize(types.KITTY_ADDRESS, part, ref)",
        "pass",
        KITTY,
    ),
    # consensus
    in_hub(
        "the threshold is reached at equality",
        "group_weights[group] * trust > total * (trust - 1)",
        "group_weights[group] * trust >= total * (trust - 1)",
        "a_liar_raises_what_is_needed",
    ),
    in_hub(
        "weights add up instead of multiplying",
        "max(group_weights[other], 1) * packing.contribution_weight(word)",
        "group_weights[other] + packing.contribution_weight(word)",
        "consensus_needs_as_many_as_the_trust_says",
    ),
    in_hub(
        "rejected contributions still count",
        "if packing.contribution_status(word) == types.CONTRIBUTION_CONTRIBUTED:",
        "if packing.contribution_status(word) != types.CONTRIBUTION_UNSET:",
        "a_rejected_result_may_win_later_with_new_workers",
    ),
    # authorisation and commitments
    in_library(
        "anybody authorises",
        CONTRIBUTIONS,
        "authority, hashing.authorisation(msg.sender, task_id, challenge), authorisation_sign\n    )",
        "authority, hashing.authorisation(msg.sender, task_id, challenge), authorisation_sign\n    ) or True",
        "contributions_need_authorisation_and_happen_once",
    ),
    in_hub(
        "a worker contributes twice",
        "assert packing.contribution_worker(word) != msg.sender",
        "pass",
        "contributions_need_authorisation_and_happen_once",
    ),
    in_library(
        "an enclave is not asked for",
        CONTRIBUTIONS,
        "assert has_challenge or deals.low_tag(deal) & types.TAG_TEE == 0",
        "pass",
        "enclaves_sign_and_the_broker_authorises_them",
    ),
    in_hub(
        "a copied seal is revealed",
        "assert state.seals[_taskid][i] == hashing.result_seal(msg.sender, _taskid, _resultDigest)",
        "pass",
        "only_winners_reveal_what_they_committed_to",
    ),
    in_hub(
        "a loser reveals",
        "assert packing.contribution_group(word) == task.consensus_group",
        "pass",
        "a_good_seal_beside_another_hash_is_not_revealed",
    ),
    # scores
    in_settlement(
        "a score is earned alone", "if contributors > 1:", "if contributors > 0:", "alone_a_worker_earns_but_no_score"
    ),
    in_library("a fault costs a quarter", SCORES, "* 2 // 3", "* 3 // 4", VETERANS),
    in_library(
        "weights grow from the first point",
        SCORES,
        "max(self.score_of(worker) // 3, 3) - 1",
        "max(self.score_of(worker) // 3, 1) + 1",
        VETERANS,
    ),
    # escrow
    in_library(
        "a stake is taken but not locked",
        ESCROW,
        "        packing.account_frozen(word) + amount,\n        packing.account_score(word),",
        "        packing.account_frozen(word),\n        packing.account_score(word),",
        "a_contribution_locks_the_stake",
    ),
    # matching
    in_orders(
        "the pool's tag is not compared",
        "assert tag & ~pool_tag == 0",
        "assert tag & ~pool_tag & types.TAG_TEE == 0",
        RULES,
    ),
    in_orders(
        "the dataset's framework bits count",
        "(convert(dataset_order.tag, uint256) & ~types.TAG_FRAMEWORKS)",
        "convert(dataset_order.tag, uint256)",
        "terms_at_their_edges_match",
    ),
    in_orders(
        "the dataset's restriction to a requester is skipped",
        "dataset_order.requesterrestrict, request_order.requester",
        "dataset_order.requesterrestrict, dataset_order.requesterrestrict",
        RULES,
    ),
    in_orders(
        "the app order's signature is skipped",
        "terms.app.owner, hashes.app, app_order.sign\n    )",
        "terms.app.owner, hashes.app, app_order.sign\n    ) or True",
        "each_order_needs_its_own_owners_signature",
    ),
    in_orders(
        "the workerpool order is not consumed",
        "state.consumed[hashes.workerpool] += units",
        "pass",
        "orders_are_consumed_deal_by_deal",
        MATCHING,
    ),
    in_orders(
        "a request in slices is not consumed",
        "state.consumed[hashes.request] = request_consumed + units",
        "state.consumed[hashes.request] = units",
        "orders_are_consumed_deal_by_deal",
        MATCHING,
    ),
    in_orders(
        "the pool's stake is rounded for all tasks at once",
        "terms.workerpool.price * types.WORKERPOOL_STAKE_RATIO // 100 * volume",
        "terms.workerpool.price * types.WORKERPOOL_STAKE_RATIO * volume // 100",
        "stakes_are_rounded_down_task_by_task",
    ),
    in_orders(
        "anybody closes an order",
        "if msg.sender != order_owner:",
        "if msg.sender == empty(address):",
        "orders_are_presigned_and_closed",
    ),
    # boost
    in_boost(
        "the requester is charged for the sponsor's deal",
        "escrow.seize(options.sponsor,",
        "escrow.seize(deals.requester(deal),",
        "a_sponsor_is_charged_and_the_requesters_other_money_is_not",
    ),
    in_boost(
        "a claim names the deal instead of the task",
        "settlement.refund(task_id,",
        "settlement.refund(dealId,",
        "claims_start_where_pushes_end",
    ),
    in_boost(
        "a push at the deadline",
        "assert block.timestamp < deals.contribution_deadline(deal)",
        "assert block.timestamp <= deals.contribution_deadline(deal)",
        "claims_start_where_pushes_end",
    ),
    in_boost(
        "a claim one second late",
        "assert block.timestamp >= deals.contribution_deadline(deal)",
        "assert block.timestamp > deals.contribution_deadline(deal)",
        "claims_start_where_pushes_end",
    ),
    in_boost(
        "the dataset's framework bits are ignored",
        "app_tag | convert(dataset_order.tag, uint256) |",
        "app_tag | (convert(dataset_order.tag, uint256) & ~types.TAG_FRAMEWORKS) |",
        RULES,
    ),
    in_boost(
        "a price of 97 bits is no matter",
        "self._check_width(app_order.appprice, 96)",
        "self._check_width(app_order.appprice, 97)",
        "numbers_that_do_not_fit_are_named",
    ),
    in_boost(
        "anybody authorises",
        "authority, hashing.authorisation(msg.sender, task_id, enclaveChallenge), authorizationSign\n    )",
        "authority, hashing.authorisation(msg.sender, task_id, enclaveChallenge), authorizationSign\n    ) or True",
        "an_authorisation_is_for_one_worker_task_and_enclave",
    ),
    in_boost(
        "the enclave signs the results of a deal with a callback",
        "keccak256(resultsCallback) if has_callback else keccak256(results)",
        "keccak256(results)",
        "a_callback_needs_data_and_the_enclave_signs_it",
    ),
    in_boost(
        "a task ends twice",
        'assert state.tasks[task_id] == 0, "PocoBoost: Task status not unset"\n    assert block.timestamp <',
        "assert block.timestamp <",
        "conditions_of_a_push_are_named_in_their_order",
    ),
    in_boost(
        "the kitty's part stays with the hub",
        "- worker_reward + kitty_part,",
        "- worker_reward,",
        KITTY,
    ),
    # the token's surface
    in_deposits(
        "a deposit for several credits the caller",
        "self._deposit(msg.sender, amounts[i], targets[i])",
        "self._deposit(msg.sender, amounts[i], msg.sender)",
        "deposits_of_several_and_by_permit",
    ),
    in_deposits(
        "a spoilt permit is not forgiven",
        "revert_on_failure=False,\n    )\n    self._deposit(",
        "revert_on_failure=False,\n    )\n    assert permitted\n    self._deposit(",
        "deposits_of_several_and_by_permit",
    ),
    in_deposits(
        "anybody's request may be matched with a deposit",
        "if orders.request.requester != sender:",
        "if False:",
        "a_deposit_with_a_match",
    ),
    in_deposits(
        "a match that failed is taken for one that happened",
        "    if not success:\n        raw_revert(answer)\n    return True",
        "    return True",
        "a_deposit_with_a_match",
    ),
    in_surface(
        "an allowance is never used up",
        "self._approve(sender, msg.sender, state.allowances[sender][msg.sender] - amount)",
        "self._approve(sender, msg.sender, state.allowances[sender][msg.sender])",
        "transfers_and_allowances_inside",
    ),
    in_views(
        "a malleable signature holds",
        "if s > HALF_CURVE_ORDER:",
        "if s == 0:",
        "signatures_of_every_form",
        SIGNATURES,
    ),
)
