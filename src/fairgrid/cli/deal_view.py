"""How a deal is shown by `fairgrid deal show`: to people, and with `--json`."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from fairgrid.cli.output import rlc
from fairgrid.cli.times import clock_time, in_chain_time
from fairgrid.client.boost import BoostState
from fairgrid.client.funds import DealState
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.terminal import sanitise_terminal

__all__ = ["boost_document", "counts_of", "deal_document", "print_boost", "print_deal"]


def counts_of(state: DealState | BoostState) -> dict[str, int]:
    """How its tasks ended, for ``--json``."""
    return {
        "total": state.deal.bot_size,
        "completed": state.completed,
        "refunded": state.refunded,
        "open": state.open_tasks,
    }


def deal_document(state: DealState) -> dict[str, Any]:
    """For ``--json``."""
    deal = state.deal
    parties = {
        name: {"address": part.pointer, "owner": part.owner, "priceNrlc": part.price}
        for name, part in (("app", deal.app), ("dataset", deal.dataset), ("workerpool", deal.workerpool))
    }
    return {
        "dealId": state.deal_id,
        **parties,
        "requester": deal.requester,
        "payer": deal.sponsor,
        "beneficiary": deal.beneficiary,
        "callback": deal.callback,
        "category": deal.category,
        "trust": deal.trust,
        "tag": deal.tag,
        "startTime": deal.start_time,
        "deadline": state.deadline,
        "chainTime": state.now,
        "overdue": state.is_overdue,
        "tasks": counts_of(state),
        "priceNrlc": state.price,
        "openNrlc": state.price * state.open_tasks,
        "params": deal.params,
    }


def print_deal(state: DealState, screen: Console) -> None:
    """For people."""
    deal = state.deal
    screen.print(f"Deal {state.deal_id}", style="bold", markup=False)
    for name, part in (("app", deal.app), ("dataset", deal.dataset), ("workerpool", deal.workerpool)):
        if part.pointer != ZERO_ADDRESS:
            screen.print(f"  {name:11} {part.pointer}, owner {part.owner}, {rlc(part.price)} a task", markup=False)
    screen.print(f"  {'requester':11} {deal.requester}", markup=False)
    if deal.sponsor != deal.requester:
        screen.print(f"  {'paid by':11} {deal.sponsor}", markup=False)
    screen.print(f"  {'terms':11} category {deal.category}, trust {deal.trust}, tag {deal.tag}", markup=False)
    screen.print(f"  {'params':11} {sanitise_terminal(deal.params)}", markup=False, soft_wrap=True)
    _print_open(state, screen)


def boost_document(state: BoostState) -> dict[str, Any]:
    """For ``--json``; keys as those of other deals, where there is such a thing."""
    deal = state.deal
    return {
        "dealId": state.deal_id,
        "boost": True,
        "app": {"owner": deal.app_owner, "priceNrlc": deal.app_price},
        "dataset": {"owner": deal.dataset_owner, "priceNrlc": deal.dataset_price},
        "workerpool": {"owner": deal.workerpool_owner, "priceNrlc": deal.workerpool_price},
        "requester": deal.requester,
        "payer": deal.sponsor,
        "callback": deal.callback,
        "deadline": state.deadline,
        "chainTime": state.now,
        "overdue": state.is_overdue,
        "tasks": counts_of(state),
        "priceNrlc": state.price,
        "openNrlc": state.price * state.open_tasks,
    }


def print_boost(state: BoostState, screen: Console) -> None:
    """For people."""
    deal = state.deal
    screen.print(f"Deal {state.deal_id}, of boost matching", style="bold", markup=False)
    for name, owner, price in (
        ("app", deal.app_owner, deal.app_price),
        ("dataset", deal.dataset_owner, deal.dataset_price),
        ("workerpool", deal.workerpool_owner, deal.workerpool_price),
    ):
        if owner != ZERO_ADDRESS:
            screen.print(f"  {name:11} of {owner}, {rlc(price)} a task", markup=False)
    screen.print(f"  {'requester':11} {deal.requester}", markup=False)
    if deal.sponsor != deal.requester:
        screen.print(f"  {'paid by':11} {deal.sponsor}", markup=False)
    _print_open(state, screen)


def _print_open(state: DealState | BoostState, screen: Console) -> None:
    counts = f"{state.deal.bot_size}: {state.completed} verified, {state.refunded} refunded, {state.open_tasks} open"
    screen.print(f"  {'tasks':11} {counts}", markup=False)
    screen.print(f"  {'locked':11} {rlc(state.price * state.open_tasks)} of the payer", markup=False)
    if not state.open_tasks:
        screen.print("  Nothing is open: it holds no money.", markup=False)
    elif state.is_overdue:
        screen.print(f"  Its deadline has passed: fairgrid deal claim {state.deal_id}", markup=False, soft_wrap=True)
    else:
        left = in_chain_time(state.deadline - state.now)
        screen.print(
            f"  Without results it can be claimed from {clock_time(state.deadline)} on ({left}).", markup=False
        )
