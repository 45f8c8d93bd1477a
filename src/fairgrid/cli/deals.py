"""`fairgrid deal` and `fairgrid funds`: deals as the chain has them, and where locked money is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fairgrid.cli.deal_make import add_make
from fairgrid.cli.deal_view import boost_document, counts_of, deal_document, print_boost, print_deal
from fairgrid.cli.money_desk import Act, MoneyDesk, Plan, money_command
from fairgrid.cli.output import console, rlc
from fairgrid.cli.shared_options import read_address
from fairgrid.cli.times import clock_time, in_chain_time
from fairgrid.client.boost import BoostState
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.client.funds import DealState, Funds
    from fairgrid.client.journal import DealRecord

__all__ = ["deal_app", "funds_app"]

deal_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Deals as the chain has them.")
funds_app = typer.Typer(no_args_is_help=False, add_completion=False, help="Where locked money is.")

_LOCAL_CHAIN = 31337

_Deal = Annotated[
    str, typer.Argument(metavar="DEAL", help="A deal's id; of your own also its beginning, a task's, or `last`.")
]
_FromBlock = Annotated[
    int | None,
    typer.Option(
        "--from-block",
        min=0,
        metavar="N",
        help="Read the hub's events from this block on. Default: on a local chain all, elsewhere those of your own "
        "deals in the batch lane.",
    ),
]


@deal_app.callback()
def _deals() -> None:
    """Deals as the chain has them: who is in them, what they lock, until when, and taking money back."""


add_make(deal_app)


@money_command(deal_app, "list")
def list_deals(desk: MoneyDesk) -> None:
    """List the account's deals on this network that were made here. Example: `fairgrid deal list`."""
    records = _journal(desk).all()
    rows = desk.ask(lambda chain: _rows(chain, records)) if records else []

    def people() -> None:
        table = Table("deal", "job", "made", "tasks", "verified", "refunded", "locked", box=None, pad_edge=False)
        for row in rows:
            state = row["tasks"] if row["mined"] else {"completed": "", "refunded": ""}
            table.add_row(
                row["dealId"],
                row["jobName"].replace("[", r"\["),
                clock_time(row["startedAt"]),
                str(row["taskCount"]),
                str(state["completed"]),
                str(state["refunded"]),
                rlc(row["openNrlc"]) if row["mined"] else "not mined",
            )
        console().print(table if rows else "No deal of this account was made here.")

    desk.show({"account": desk.address, "deals": rows}, people)


@money_command(deal_app, "show")
def show_deal(desk: MoneyDesk, deal: _Deal, from_block: _FromBlock = None) -> None:
    """Show a deal of anybody: its parties, prices, tasks, what is open, and when it can be claimed.

    Example: `fairgrid deal show last`.
    """
    deal_id, since = _found(desk, deal, from_block)
    state = desk.ask(lambda chain: _read(chain, deal_id, since))
    if isinstance(state, BoostState):
        desk.show({"deal": boost_document(state)}, lambda: print_boost(state, desk.screen))
        return
    desk.show({"deal": deal_document(state)}, lambda: print_deal(state, desk.screen))


@money_command(deal_app, "claim", spends=True)
def claim_deal(desk: MoneyDesk, deal: _Deal, from_block: _FromBlock = None) -> None:
    """Take back what a deal of anybody still locks, when its deadline has passed without results.

    Every party gets its own: the payer the price, workers their stakes; the pool loses its own. Anybody may, for the
    gas. Example: `fairgrid deal claim last --dry-run`.
    """
    deal_id, since = _found(desk, deal, from_block)

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.client.deal_desk import claim_of

        state = await _read(chain, deal_id, since)
        transactions = claim_of(chain.hub, state)
        amount = state.open_tasks * state.price
        text = f"{state.open_tasks} task(s) of deal {deal_id}: {rlc(amount)} go back to {state.deal.sponsor}"
        acts = [Act(f"Claim {text}.", transactions[0])]
        acts += [Act("Claim more of them.", call) for call in transactions[1:]]
        facts = {"dealId": deal_id, "payer": state.deal.sponsor, "tasks": state.open_tasks, "amountNrlc": amount}
        return Plan(acts, facts, done=lambda _: f"Claimed: {text}.")

    desk.carry_out(plan)


@money_command(funds_app, "funds")
def funds(
    desk: MoneyDesk,
    of: Annotated[
        str | None, typer.Option("--of", metavar="ADDRESS", help="Anybody's account; no key is needed for it.")
    ] = None,
    from_block: _FromBlock = None,
) -> None:
    """Say where every locked nRLC of an account is: in which deal, until when, what frees it, and the command for it.

    The account's own deals are known here; deals of others that hold its stake, as a worker's or a pool's, are found
    with --from-block. Example: `fairgrid funds`.
    """
    address = read_address(of) if of is not None else desk.address
    records = _journal(desk, address).all()
    since = _since(desk, from_block)

    async def ask(chain: JsonRpcChain) -> Funds:
        from fairgrid.client.funds import explain_funds

        return await explain_funds(chain, address, records, scan_from=since)

    found = desk.ask(ask)
    locks = [
        {
            "role": lock.role.value,
            "dealId": lock.deal_id,
            "amountNrlc": lock.amount,
            "tasks": lock.tasks,
            "until": lock.until,
            "overdue": lock.overdue,
            "frees": lock.frees,
            "command": lock.command,
        }
        for lock in found.locks
    ]
    document = {"stakeNrlc": found.stake, "lockedNrlc": found.locked, "unexplainedNrlc": found.unexplained}
    desk.show(
        {"account": address, **document, "chainTime": found.now, "locks": locks}, lambda: _print_funds(address, found)
    )


def _print_funds(address: str, found: Funds) -> None:
    screen = console()
    screen.print(f"{address}: {rlc(found.stake)} free in escrow, {rlc(found.locked)} locked.", markup=False)
    for lock in found.locks:
        wait = lock.until - found.now
        when = (
            "its deadline has passed"
            if lock.overdue
            else f"until {clock_time(lock.until)} at most ({in_chain_time(wait)})"
        )
        screen.print(f"  {rlc(lock.amount)} as {lock.role} in deal {lock.deal_id}, {lock.tasks} task(s), {when}")
        screen.print(f"    freed by {lock.frees}", markup=False, soft_wrap=True)
        screen.print(f"    {lock.command}", markup=False, soft_wrap=True)
    if found.unexplained > 0:
        screen.print(
            f"  {rlc(found.unexplained)} are locked by deals that are not known here: as a worker's or a pool's stake, "
            f"or by deals that were made elsewhere. --from-block 0 looks for them.",
            style="yellow",
            markup=False,
        )


async def _rows(chain: JsonRpcChain, records: list[DealRecord]) -> list[dict[str, Any]]:
    from fairgrid.client.deal_desk import deals_known

    return [
        {
            "dealId": known.record.deal_id,
            "jobName": known.record.job_name,
            "startedAt": known.record.started_at,
            "taskCount": known.record.tasks,
            "priceNrlc": known.record.price,
            "trust": known.record.trust,
            "mined": known.record.mined,
            "tasks": known.state and counts_of(known.state),
            "openNrlc": known.state and known.state.open_tasks * known.state.price,
        }
        for known in await deals_known(chain, records)
    ]


async def _read(chain: JsonRpcChain, deal_id: str, since: int | None) -> DealState | BoostState:
    from fairgrid.client.deal_desk import read_any_deal

    return await read_any_deal(chain, deal_id, since)


def _journal(desk: MoneyDesk, address: str | None = None) -> Any:
    from fairgrid.client.journal import Journal

    return Journal(desk.place.folder / "deals" / address if address is not None else desk.journal_folder)


def _found(desk: MoneyDesk, text: str, from_block: int | None) -> tuple[str, int | None]:
    """A deal's id, and the block from which on its events are."""
    from fairgrid.protocol.hexes import hex32, is_hex32

    since = _since(desk, from_block)
    if is_hex32(text):
        records = [record for record in _known(desk) if text.lower() in (record.deal_id, *record.task_ids)]
        if not records:
            return hex32(text), since
        return records[0].deal_id, since if since is not None else records[0].block_number
    record = _journal(desk).find(text)
    return record.deal_id, since if from_block is not None else record.block_number


def _known(desk: MoneyDesk) -> list[DealRecord]:
    try:
        records: list[DealRecord] = _journal(desk).all()
    except UsageError:
        return []  # Without an account of one's own, deals of others can be looked at all the same.
    return records


def _since(desk: MoneyDesk, from_block: int | None) -> int | None:
    if from_block is not None:
        return from_block
    return 0 if desk.place.network.chain_id == _LOCAL_CHAIN else None
