"""What a worker owes its sponsors, for `fairgrid worker status` and `earnings`; and `fairgrid worker repay`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from fairgrid.cli.money_desk import Act, MoneyDesk, Plan, amount_of, money_command
from fairgrid.cli.output import rlc
from fairgrid.cli.shared_options import read_address
from fairgrid.errors import FundsError, UsageError
from fairgrid.protocol.hexes import is_hex32

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.interface import Receipt
    from fairgrid.wallet.signer import Signer
    from fairgrid.worker.records.store import WorkerStore

__all__ = ["add_repay", "debts_of", "show_debts"]


def debts_of(store: WorkerStore, *, worker: str, key: str) -> list[dict[str, Any]]:
    """What is owed, as JSON values; amounts in nRLC. Blocking."""
    from fairgrid.worker.records.debts import DebtStore

    debts = DebtStore(store)
    return [
        {
            "workerpool": debt.workerpool,
            "sponsor": debt.sponsor,
            "depositTx": debt.deposit_tx,
            "given": debt.given_nrlc,
            "repaid": debt.repaid_nrlc,
            "owed": debt.owed_nrlc,
            "underWay": [
                payment.nrlc for payment in debts.repayments(debt.workerpool) if payment.state.value == "open"
            ],
            "poolCounts": debt.pool_counts_nrlc,
            "refusal": debt.refusal,
            "command": _command(worker, debt.sponsor, debt.deposit_tx) if worker != key and debt.owed_nrlc else "",
        }
        for debt in debts.debts()
        if debt.sponsor or debt.refusal
    ]


def show_debts(screen: Console, document: dict[str, Any]) -> None:
    """Print what `debts_of` gave under ``debts``, and what is in the way of a running worker."""
    for debt in document["debts"]:
        if debt["refusal"]:
            screen.print(debt["refusal"], style="yellow", markup=False)
        elif not debt["given"]:
            screen.print(f"The pool says that {debt['depositTx']} gives it a stake; it is not there yet.", markup=False)
        else:
            screen.print(
                f"Lent by {debt['sponsor']}: {rlc(debt['given'])}; repaid {rlc(debt['repaid'])}, owed "
                f"{rlc(debt['owed'])}.",
                markup=False,
            )
        if debt["command"]:
            screen.print("Only the owner can pay that; where the owner's key lies:", markup=False)
            screen.print(f"  {debt['command']}", markup=False, soft_wrap=True)
    running = document.get("running") or {}
    for line in running.get("notRepaying", ()):
        screen.print(f"It cannot repay now: {line['reason']}", style="yellow", markup=False)


def _command(worker: str, sponsor: str, deposit_tx: str) -> str:
    return (
        f"fairgrid worker repay --network FILE --wallet OWNER.json --as {worker} --sponsor {sponsor} "
        f"--deposit-tx {deposit_tx}"
    )


def add_repay(group: typer.Typer) -> None:
    """Put `repay` into the group of workers."""
    money_command(group, "repay", spends=True)(repay)


def repay(
    desk: MoneyDesk,
    sponsor: Annotated[str, typer.Option(metavar="ADDRESS", help="Who lent the stake: `fairgrid worker earnings`.")],
    deposit_tx: Annotated[
        str, typer.Option("--deposit-tx", metavar="TX", help="The transaction by which it was lent.")
    ],
    amount: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Pay only so much, e.g. '0.5 RLC'. Default: all that is owed.")
    ] = None,
) -> None:
    """Pay a sponsored stake back by hand: the owner of a role account must, other workers do it by themselves.

    The chain is asked first who gave how much and what came back: no more is paid, and run again it pays nothing twice.
    Stop the worker first if the key is its own. `fairgrid worker earnings` prints the whole command. Example:

    fairgrid worker repay --wallet cold.json --as 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --sponsor
    0x8dF2aCE5b0D9a7Cd4a0A1cD6D1b0d4e2F3a4b5C6 --deposit-tx 0x… --dry-run
    """
    to = read_address(sponsor)
    if not is_hex32(deposit_tx):
        raise UsageError(f"{deposit_tx!r} is no transaction: give 0x and 64 hexadecimal digits.")
    wanted = None if amount is None else amount_of([amount])

    async def plan(chain: JsonRpcChain) -> Plan:
        return await _plan(chain, desk, to, deposit_tx.lower(), wanted)

    desk.carry_out(plan)


async def _plan(chain: JsonRpcChain, desk: MoneyDesk, sponsor: str, deposit_tx: str, amount: int | None) -> Plan:
    from fairgrid.chain import calls
    from fairgrid.worker.core.debts import given_by

    worker = desk.address
    receipt = await chain.receipt(deposit_tx)
    if receipt is None:
        raise UsageError(f"The chain does not know the transaction {deposit_tx} (yet). Nothing was paid.")
    given = given_by(receipt, sponsor=sponsor, worker=worker, hub=chain.hub, rlc=chain.rlc)
    if not given:
        raise UsageError(f"By the transaction {deposit_tx} {sponsor} gave nothing to {worker}. Nothing was paid.")
    came = await chain.deposit_transfers(worker, sponsor, from_block=receipt.block.number)
    repaid = sum(event.arguments["value"] for event in came)
    left = given - repaid
    facts = {"worker": worker, "sponsor": sponsor, "givenNrlc": given, "repaidNrlc": repaid, "paidNrlc": 0}
    if left <= 0:
        nothing = f"Nothing is owed: {rlc(repaid)} of {rlc(given)} came back."
        return Plan([], facts, done=lambda _: nothing)
    if amount is not None and amount > left:
        raise UsageError(f"Only {rlc(left)} of {rlc(given)} are owed, not {rlc(amount)}. Nothing was paid.")
    pays = amount or left
    free = (await chain.view_account(worker)).stake
    if free < pays:
        raise FundsError(
            f"{worker} has {rlc(free)} free in the hub, and {rlc(pays)} are to be paid. Deposit more, wait until tasks "
            f"end, or pay less with --amount. Nothing was paid."
        )
    key = desk.key_address
    if await chain.count_transactions(key, pending=True) > await chain.count_transactions(key):
        raise UsageError(
            f"A transaction of {key} waits to be mined: it may be this payment. Wait for it, and run this again."
        )
    sentence = (
        f"Pay {rlc(pays)} of the stake that {sponsor} lent back, from the escrow of {worker} into its own. "
        f"{rlc(left - pays)} are still owed then."
    )

    async def then(chain: JsonRpcChain, signer: Signer, receipts: list[Receipt]) -> dict[str, Any]:
        return {"repaidNrlc": repaid + pays, "paidNrlc": pays}

    text = f"Paid {rlc(pays)} to {sponsor}; {rlc(left - pays)} still owed."
    return Plan([Act(sentence, calls.transfer_deposit(chain.hub, sponsor, pays))], facts, then, lambda _: text)
