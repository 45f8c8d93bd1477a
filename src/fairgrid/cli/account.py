"""`fairgrid account`: what an account has on a network, and moving it."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.money_desk import Act, AmountArgument, MoneyDesk, Plan, amount_of, money_command
from fairgrid.cli.output import console, rlc
from fairgrid.cli.shared_options import read_address
from fairgrid.errors import FundsError, UsageError

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="What an account has, and moving it.")

_WEI_PER_COIN = 10**18


class Purse(StrEnum):
    """Where money is taken from."""

    ESCROW = "escrow"
    WALLET = "wallet"


_ToOption = Annotated[
    str | None, typer.Option("--to", metavar="ADDRESS", help="Another account than your own gets it.")
]


@app.callback()
def _account() -> None:
    """What an account has on a network, and moving it. Deals are paid from the escrow in the hub, gas in coins."""


@money_command(app, "show")
def show(
    desk: MoneyDesk,
    of: Annotated[
        str | None, typer.Option("--of", metavar="ADDRESS", help="Anybody's account; no key is needed for it.")
    ] = None,
) -> None:
    """Show what an account has: RLC in its wallet, free and locked in escrow, and coins for gas.

    `fairgrid funds` says what every locked nRLC waits for. Example: `fairgrid account show`.
    """
    address = read_address(of) if of is not None else desk.address
    document: dict[str, Any] = {"account": address, **desk.ask(lambda chain: _balances(chain, address))}

    def people() -> None:
        screen = console()
        screen.print(f"{address} on {desk.place.name}", style="bold", markup=False)
        for name, key in (("wallet", "walletNrlc"), ("escrow, free", "stakeNrlc"), ("escrow, locked", "lockedNrlc")):
            screen.print(f"  {name:15} {rlc(document[key])}", markup=False)
        screen.print(f"  {'gas':15} {document['gasWei'] / _WEI_PER_COIN:g} coins", markup=False)

    desk.show(document, people)


@money_command(app, "deposit", spends=True)
def deposit(desk: MoneyDesk, amount: AmountArgument, to: _ToOption = None) -> None:
    """Move RLC from the wallet into the escrow, where deals and stakes are paid from. Approval is part of it.

    Example: `fairgrid account deposit 1.5 RLC`.
    """
    other = read_address(to) if to is not None else None

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.chain import calls

        if chain.rlc == chain.hub:
            raise UsageError(
                f"The hub of {desk.place.name} escrows the chain's own coin: send coins to {chain.hub} with any "
                f"wallet, and they are in your escrow. Nothing was signed."
            )
        has = await chain.rlc_balance(desk.address)
        nrlc = amount_of(amount, everything=has)
        if has < nrlc:
            raise FundsError(
                f"{desk.address} has {rlc(has)} in its wallet, and {rlc(nrlc)} were to be deposited. Nothing was "
                f"signed. Send it RLC, or deposit less."
            )
        if other is None:
            acts = [
                Act(
                    f"Move {rlc(nrlc)} from your wallet into your escrow in the hub {chain.hub}. They stay yours: "
                    f"withdraw what no deal locks at any time.",
                    calls.approve_and_call(chain.rlc, chain.hub, nrlc),
                )
            ]
            return Plan(acts, {"amountNrlc": nrlc, "to": desk.address}, _after(desk.address), _stands)
        await _check_receiver(chain, other)
        # The deposit fails while the approval is not mined, so it can only be looked at with one that stands.
        acts = [
            Act(f"Let the hub {chain.hub} take {rlc(nrlc)} of your wallet.", calls.approve(chain.rlc, chain.hub, nrlc))
        ]
        later = calls.deposit_for(chain.hub, nrlc, other)
        sentence = f"Put these {rlc(nrlc)} into the escrow of {other}: they are its own from then on."

        async def then(chain: JsonRpcChain, signer: Any, receipts: Any) -> dict[str, Any]:
            receipts.append(await desk.transact(chain, later))
            return await _balances(chain, desk.address)

        return Plan([*acts, Act(sentence)], {"amountNrlc": nrlc, "to": other}, then, _stands)

    desk.carry_out(plan)


@money_command(app, "withdraw", spends=True)
def withdraw(desk: MoneyDesk, amount: AmountArgument, to: _ToOption = None) -> None:
    """Take RLC out of the escrow into the wallet; what deals lock stays. Example: `fairgrid account withdraw all`."""
    other = read_address(to) if to is not None else None

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.chain import calls

        nrlc = await _free(chain, desk.address, amount)
        if other is None:
            act = Act(f"Take {rlc(nrlc)} out of your escrow into your wallet.", calls.withdraw(chain.hub, nrlc))
        else:
            await _check_receiver(chain, other)
            sentence = (
                f"Take {rlc(nrlc)} out of your escrow and pay them to the wallet of {other}: they are its own then."
            )
            act = Act(sentence, calls.withdraw_to(chain.hub, nrlc, other))
        return Plan([act], {"amountNrlc": nrlc, "to": other or desk.address}, _after(desk.address), _stands)

    desk.carry_out(plan)


@money_command(app, "transfer", spends=True)
def transfer(
    desk: MoneyDesk,
    to: Annotated[str, typer.Argument(metavar="TO", help="Whom to pay.")],
    amount: AmountArgument,
    source: Annotated[
        Purse, typer.Option("--from", help="Out of your escrow into theirs, or from your wallet to theirs.")
    ] = Purse.ESCROW,
) -> None:
    """Pay somebody. It cannot be taken back.

    Example: `fairgrid account transfer 0x8dF2aCE5b0D9a7Cd4a0A1cD6D1b0d4e2F3a4b5C6 2 RLC`.
    """
    other = read_address(to)

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.chain import calls

        await _check_receiver(chain, other)
        if other == desk.address:
            raise UsageError(f"{other} is this account itself. Nothing was signed.")
        if source is Purse.ESCROW:
            nrlc = await _free(chain, desk.address, amount)
            call = calls.transfer_deposit(chain.hub, other, nrlc)
        else:
            has = await chain.rlc_balance(desk.address)
            nrlc = amount_of(amount, everything=has)
            if has < nrlc:
                raise FundsError(
                    f"{desk.address} has {rlc(has)} in its wallet, and {rlc(nrlc)} were to be paid. Nothing was signed."
                )
            call = calls.transfer(chain.rlc, other, nrlc)
        act = Act(f"Pay {rlc(nrlc)} from your {source} into the {source} of {other}. It cannot be taken back.", call)
        return Plan([act], {"amountNrlc": nrlc, "to": other}, _after(desk.address), _stands)

    desk.carry_out(plan)


async def _balances(chain: JsonRpcChain, address: str) -> dict[str, int]:
    wallet, account, coins = await asyncio.gather(
        chain.rlc_balance(address), chain.view_account(address), chain.balance_wei(address)
    )
    return {"walletNrlc": wallet, "stakeNrlc": account.stake, "lockedNrlc": account.locked, "gasWei": coins}


async def _free(chain: JsonRpcChain, address: str, words: list[str]) -> int:
    account = await chain.view_account(address)
    nrlc = amount_of(words, everything=account.stake)
    if account.stake < nrlc:
        raise FundsError(
            f"{address} has {rlc(account.stake)} free in escrow and {rlc(account.locked)} locked, and {rlc(nrlc)} "
            f"were to be moved. Nothing was signed. `fairgrid funds` says when what is locked comes free."
        )
    return nrlc


async def _check_receiver(chain: JsonRpcChain, address: str) -> None:
    from fairgrid.protocol.hexes import ZERO_ADDRESS

    if address in (ZERO_ADDRESS, chain.hub, chain.rlc):
        raise UsageError(f"What is paid to {address} is lost: it is no account. Nothing was signed.")


def _after(address: str) -> Any:
    async def then(chain: JsonRpcChain, signer: Any, receipts: Any) -> dict[str, int]:
        return await _balances(chain, address)

    return then


def _stands(facts: Any) -> str:
    return (
        f"Now: {rlc(facts['walletNrlc'])} in the wallet, {rlc(facts['stakeNrlc'])} free in escrow, "
        f"{rlc(facts['lockedNrlc'])} locked."
    )
