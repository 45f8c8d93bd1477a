"""What commands about money have in common: a network, an account, and nothing signed before it was said and agreed.

A command says what it is about to sign as `Act`s: a human sentence each, and the transaction if there is one. With
``--dry-run`` the sentences and their gas are shown and nothing is signed; without ``--yes`` a terminal is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from fairgrid.cli.completion import wallet_names
from fairgrid.cli.desk_command import DeskOption, desk_command
from fairgrid.cli.output import console, emit_json, rlc, run_async
from fairgrid.cli.role_accounts import RoleSigner, check_owner, through
from fairgrid.cli.shared_options import (
    DryRunOption,
    JsonOption,
    PasswordFileOption,
    PlaceOption,
    YesOption,
    read_address,
    signer_of,
)
from fairgrid.errors import FundsError, TransactionFailed, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.interface import Call, Receipt
    from fairgrid.chain.network_names import NetworkPlace
    from fairgrid.client.client import Client
    from fairgrid.wallet.keys import KeySigner
    from fairgrid.wallet.signer import Signer

__all__ = ["Act", "AmountArgument", "MoneyDesk", "Plan", "amount_of", "money_command"]

_Answer = TypeVar("_Answer")
_Command = TypeVar("_Command", bound=Callable[..., None])
_WEI_PER_COIN = 10**18
_LOCAL_CHAIN = 31337

_WalletOption = Annotated[
    str | None,
    typer.Option(
        "--wallet",
        "--key-folder",
        "--keystore",
        metavar="WALLET",
        autocompletion=wallet_names,
        help="Whose account: a wallet's name, a keystore file, or the folder of a key. Default: a local network's own "
        "requester; elsewhere the wallet in use.",
    ),
]
AmountArgument = Annotated[
    list[str], typer.Argument(metavar="AMOUNT", help="With its unit: `1.5 RLC`, `500 nRLC`; or `all`.")
]

_AsOption = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="ADDRESS",
        help="Act for this role account, which the wallet's key owns: its money, its orders; the key pays the gas.",
    ),
]

_LOOKING: tuple[DeskOption, ...] = (
    ("network", PlaceOption, None),
    ("wallet", _WalletOption, None),
    ("password_file", PasswordFileOption, None),
    ("as_json", JsonOption, False),
)
_SPENDING: tuple[DeskOption, ...] = (
    *_LOOKING[:3],
    ("yes", YesOption, False),
    ("dry_run", DryRunOption, False),
    _LOOKING[3],
)
_ACTING: DeskOption = ("acting_for", _AsOption, None)


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that is signed: what it does, in a sentence, and its transaction; None where only a document is."""

    sentence: str
    call: Call | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command is about to do. ``facts`` goes into the answer of ``--json``."""

    acts: Sequence[Act]
    facts: Mapping[str, Any] = field(default_factory=dict)
    then: Callable[[JsonRpcChain, Signer, list[Receipt]], Awaitable[Mapping[str, Any]]] | None = None
    """What follows when all transactions are mined; gives more facts. Its signer signs documents of the account."""
    done: Callable[[Mapping[str, Any]], str] | None = None
    """The last sentence for people, from all facts."""


@dataclass(kw_only=True)
class MoneyDesk:
    """Which network, which account, and for whom the answer is shown."""

    network: Path | None = None
    wallet: str | None = None
    acting_for: str | None = None
    """The role account whose owner the wallet's key is; None: the key acts for itself."""
    password_file: Path | None = None
    yes: bool = False
    dry_run: bool = False
    as_json: bool = False

    @cached_property
    def screen(self) -> Console:
        """Where people read."""
        return console()

    @cached_property
    def place(self) -> NetworkPlace:
        """The network.

        Raises:
            UsageError: there is none of that name.
        """
        from fairgrid.chain.network_names import find_network

        return find_network(self.network)

    @cached_property
    def signer(self) -> KeySigner:
        """The account's key.

        Raises:
            UsageError: there is none, or its password is wrong.
        """
        return signer_of(self.place, self.wallet, self.password_file)

    @cached_property
    def role_account(self) -> str | None:
        """The role account that is acted for, with its checksum.

        Raises:
            UsageError: it is no address.
        """
        return None if self.acting_for is None else read_address(self.acting_for)

    @property
    def address(self) -> str:
        """The account whose money and orders these are.

        Raises:
            UsageError: there is none.
        """
        return self.role_account or self.key_address

    @cached_property
    def key_address(self) -> str:
        """The address of the key that signs, without opening its wallet where that needs a password.

        Raises:
            UsageError: there is none.
        """
        from fairgrid.localnet.paths import own_key_folder
        from fairgrid.wallet.accounts import account_address

        a_file = self.wallet is not None and Path(self.wallet).expanduser().is_file()
        if a_file or self.password_file is not None or "signer" in vars(self):
            return self.signer.address
        return account_address(self.wallet, own=own_key_folder(self.place))

    @property
    def journal_folder(self) -> Path:
        """Where the account's deals are kept."""
        return self.place.folder / "deals" / self.address

    def ask(self, question: Callable[[JsonRpcChain], Awaitable[_Answer]]) -> _Answer:
        """What ``question`` gets of the chain, which is checked against the network first."""
        from fairgrid.chain.client import JsonRpcChain

        async def main() -> _Answer:
            async with await JsonRpcChain.connect(self.place.network) as chain:
                return await question(chain)

        return run_async(main)

    def show(self, document: Mapping[str, Any], people: Callable[[], None]) -> None:
        """With ``--json`` the document with network and account; otherwise ``people`` prints what people read."""
        if self.as_json:
            emit_json({"status": "ok", "network": self.place.name, **document})
        else:
            people()

    def client(self) -> AbstractAsyncContextManager[Client]:
        """A client of the network, with the account's key."""
        from fairgrid.client.client import Client
        from fairgrid.seams.tracing import start_tracing

        start_tracing("client")
        signer = self.signer
        return Client.connect(self.place.network, signer, journal_folder=self.place.folder / "deals" / signer.address)

    @property
    def has_play_money(self) -> bool:
        """Whether the network is a local one, whose coins and RLC are worth nothing."""
        return self.place.network.chain_id == _LOCAL_CHAIN

    async def transact(self, chain: JsonRpcChain, call: Call) -> Receipt:
        """Send a call as the account that is acted for.

        Raises:
            TransactionFailed: it would fail, or did.
        """
        return await chain.transact(self._as_sent(call), self.signer)

    def carry_out(self, plan: Callable[[JsonRpcChain], Awaitable[Plan]]) -> None:
        """Say what would be signed, with its gas; agree; sign, send, wait; and tell. A plan without acts is only told.

        Raises:
            UsageError: nobody agreed, or the account is not the key's.
            FundsError: the account has nothing to pay gas with.
            TransactionFailed: it would fail, or did.
        """
        made, gas, fee_wei = self.ask(lambda chain: self._foreseen(chain, plan))
        if not made.acts:
            self._tell("ok", made, made.facts, [])
            return
        self.say([act.sentence for act in made.acts], gas, fee_wei)
        if self.dry_run:
            self._tell("dry-run", made, made.facts, [])
            return
        self.agree()
        receipts, facts = self.ask(lambda chain: self._sent(chain, made))
        self._tell("ok", made, {**made.facts, **facts}, receipts)

    async def _foreseen(
        self, chain: JsonRpcChain, plan: Callable[[JsonRpcChain], Awaitable[Plan]]
    ) -> tuple[Plan, int, int]:
        if self.role_account is not None:
            await check_owner(chain, self.role_account, self.key_address)
        made = await plan(chain)
        wanted = [self._as_sent(act.call) for act in made.acts if act.call is not None]
        if not wanted:
            return made, 0, 0
        if await chain.balance_wei(self.key_address) == 0:
            raise FundsError(
                f"{self.key_address} has no coin of chain {chain.chain_id} to pay gas with. Nothing was signed. Send "
                f"it some."
            )
        estimated = await chain.estimate(wanted, self.key_address)
        for found in estimated:
            if isinstance(found, TransactionFailed):
                raise found
        market = await chain.fee_market()
        gas = sum(int(found) for found in estimated if not isinstance(found, TransactionFailed))
        return made, gas, gas * (market.base_fee_wei + market.tip_wei)

    def say(self, sentences: Sequence[str], gas: int | None = None, fee_wei: int = 0) -> None:
        """Tell people what is about to be signed, and what gas it costs, where that is known."""
        screen = self.screen
        who = self.key_address if self.role_account is None else f"{self.key_address}, for {self.role_account},"
        screen.print(f"On the network {self.place.name}, {who} signs:", style="bold", markup=False)
        for sentence in sentences:
            screen.print(f"  {sentence}", markup=False, soft_wrap=True)
        if gas:
            coins = f"{fee_wei / _WEI_PER_COIN:.9f}".rstrip("0").rstrip(".")
            cost = f", now {coins} coins of chain {self.place.network.chain_id}" if fee_wei else ""
            screen.print(f"  Gas: about {gas} units{cost}.")
        elif gas == 0:
            screen.print("  This costs no gas.")

    def agree(self) -> None:
        """Ask in a terminal, unless `--yes` agreed beforehand.

        Raises:
            UsageError: nobody agreed.
        """
        if self.yes:
            return
        if self.as_json or not sys.stdin.isatty():
            raise UsageError("Nothing was signed: nobody is here to be asked. Add --yes, or --dry-run to look only.")
        self.screen.print("Sign? [y/N] ", markup=False, end="")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise UsageError("You did not agree. Nothing was signed.")

    def _as_sent(self, call: Call) -> Call:
        return call if self.role_account is None else through(self.role_account, call)

    async def _sent(self, chain: JsonRpcChain, plan: Plan) -> tuple[list[Receipt], Mapping[str, Any]]:
        signer: Signer = self.signer
        if self.role_account is not None:
            signer = RoleSigner(self.role_account, self.signer)
        receipts = [await self.transact(chain, act.call) for act in plan.acts if act.call is not None]
        return receipts, {} if plan.then is None else await plan.then(chain, signer, receipts)

    def _tell(self, status: str, plan: Plan, facts: Mapping[str, Any], receipts: Sequence[Receipt]) -> None:
        if self.as_json:
            emit_json(
                {
                    "status": status,
                    "network": self.place.name,
                    "account": self.address,
                    "signs": [act.sentence for act in plan.acts],
                    **facts,
                    "transactions": [{"txHash": sent.tx_hash, "gasUsed": sent.gas_used} for sent in receipts],
                }
            )
            return
        screen = self.screen
        if status == "dry-run":
            screen.print("Nothing was signed (--dry-run).", markup=False)
            return
        for sent in receipts:
            screen.print(f"  mined: {sent.tx_hash}, {sent.gas_used} gas", markup=False)
        if plan.done is not None:
            screen.print(plan.done(facts), markup=False, soft_wrap=True)


def amount_of(words: Sequence[str], *, everything: int | None = None) -> int:
    """The nRLC of an amount on the command line; `all` means ``everything``, where there is such a thing.

    Raises:
        UsageError: it is none, or nothing.
    """
    from fairgrid.protocol.amounts import parse_rlc

    text = " ".join(words)
    if text == "all" and everything is not None:
        amount = everything
    else:
        amount = parse_rlc(text, "The amount")
    if not amount:
        raise UsageError(f"{rlc(amount)} is nothing to move. Nothing was signed.")
    return amount


def money_command(
    group: typer.Typer, name: str, *, spends: bool = False, for_roles: bool = True
) -> Callable[[_Command], _Command]:
    """Make a function the command ``name`` of ``group``; its parameter ``desk`` becomes the options of `MoneyDesk`.

    ``spends``: it signs something, so it has ``--dry-run``, ``--yes``, and ``--as`` unless ``for_roles`` is False.
    """
    options = (*_SPENDING, *([_ACTING] if for_roles else [])) if spends else _LOOKING
    return desk_command(group, name, MoneyDesk, options)
