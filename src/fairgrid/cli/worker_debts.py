"""What a worker owes its sponsors, for `fairgrid worker status` and `earnings`; and `fairgrid worker repay`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from fairgrid.cli.output import console, emit_json, rlc, run_async
from fairgrid.cli.shared_options import JsonOption, NetworkOption, PasswordFileOption, read_address, read_password
from fairgrid.errors import FundsError, UsageError
from fairgrid.protocol.hexes import is_hex32

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.interface import Call
    from fairgrid.wallet.signer import Signer
    from fairgrid.worker.records.store import WorkerStore

__all__ = ["debts_of", "repay", "show_debts"]


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
        f"fairgrid worker repay --network FILE --keystore OWNER.json --account {worker} --sponsor {sponsor} "
        f"--deposit-tx {deposit_tx}"
    )


def repay(
    network: NetworkOption,
    keystore: Annotated[
        Path, typer.Option(metavar="FILE", help="Keystore (V3, JSON) of the owner, or of the worker itself.")
    ],
    sponsor: Annotated[str, typer.Option(metavar="ADDRESS", help="Who lent the stake: `fairgrid worker earnings`.")],
    deposit_tx: Annotated[
        str, typer.Option("--deposit-tx", metavar="TX", help="The transaction by which it was lent.")
    ],
    account: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="The role account that got it, of this owner. Default: the key's own account."
        ),
    ] = None,
    amount: Annotated[
        int | None, typer.Option(min=1, metavar="NRLC", help="Pay only so much. Default: all that is owed.")
    ] = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pay a sponsored stake back by hand: the owner of a role account must, other workers do it by themselves.

    The chain is asked first who gave how much and what came back: no more is paid, and run again it pays nothing twice.
    Stop the worker first if the key is its own.
    """
    from fairgrid.chain.network import load_network
    from fairgrid.wallet.keystore import load_keystore

    where, to = load_network(network), read_address(sponsor)
    if not is_hex32(deposit_tx):
        raise UsageError(f"{deposit_tx!r} is no transaction: give 0x and 64 hexadecimal digits.")
    payer = read_address(account) if account is not None else None
    signer = load_keystore(keystore, read_password(password_file))

    async def pay() -> dict[str, Any]:
        from fairgrid.chain.client import JsonRpcChain

        async with await JsonRpcChain.connect(where) as chain:
            return await _paid(chain, signer, payer, to, deposit_tx.lower(), amount)

    document = run_async(pay)
    if as_json:
        emit_json({"status": "ok", **document})
        return
    screen = console()
    if not document["paid"]:
        screen.print(f"Nothing is owed: {rlc(document['repaid'])} of {rlc(document['given'])} came back.", markup=False)
        return
    screen.print(
        f"Paid {rlc(document['paid'])} to {to}; {rlc(document['given'] - document['repaid'])} still owed.", markup=False
    )


async def _paid(
    chain: JsonRpcChain, signer: Signer, account: str | None, sponsor: str, deposit_tx: str, amount: int | None
) -> dict[str, Any]:
    from fairgrid.worker.core.debts import given_by

    worker = account or signer.address
    receipt = await chain.receipt(deposit_tx)
    if receipt is None:
        raise UsageError(f"The chain does not know the transaction {deposit_tx} (yet). Nothing was paid.")
    given = given_by(receipt, sponsor=sponsor, worker=worker, hub=chain.hub, rlc=chain.rlc)
    if not given:
        raise UsageError(f"By the transaction {deposit_tx} {sponsor} gave nothing to {worker}. Nothing was paid.")
    came = await chain.deposit_transfers(worker, sponsor, from_block=receipt.block.number)
    repaid = sum(event.arguments["value"] for event in came)
    left = given - repaid
    facts = {"worker": worker, "sponsor": sponsor, "given": given, "repaid": repaid, "paid": 0, "transaction": ""}
    if left <= 0:
        return facts
    if amount is not None and amount > left:
        raise UsageError(f"Only {left} nRLC of {given} are owed, not {amount}. Nothing was paid.")
    pays = amount or left
    free = (await chain.view_account(worker)).stake
    if free < pays:
        raise FundsError(
            f"{worker} has {free} nRLC free in the hub, and {pays} are to be paid. Deposit more, wait until tasks end, "
            f"or pay less with --amount. Nothing was paid."
        )
    key = signer.address
    if await chain.count_transactions(key, pending=True) > await chain.count_transactions(key):
        raise UsageError(
            f"A transaction of {key} waits to be mined: it may be this payment. Wait for it, and run this again."
        )
    mined = await chain.transact(await _call(chain, signer, account, sponsor, pays), signer)
    return {**facts, "repaid": repaid + pays, "paid": pays, "transaction": mined.tx_hash}


async def _call(chain: JsonRpcChain, signer: Signer, account: str | None, sponsor: str, nrlc: int) -> Call:
    """The payment; out of a role account by its owner's word."""
    from fairgrid.chain import calls
    from fairgrid.chain.bulk import call_data
    from fairgrid.chain.interface import Call

    pay = calls.transfer_deposit(chain.hub, sponsor, nrlc)
    if account is None:
        return pay
    found = await chain.view_role_account(account)
    if found is None:
        raise UsageError(f"There is no role account at {account}. Leave --account out if the key got the stake itself.")
    if found.owner != signer.address:
        raise UsageError(f"The role account {account} belongs to {found.owner}, not to {signer.address}.")
    return Call("role_account", account, "execute", (chain.hub, 0, call_data(pay)))
