"""The contracts and the reference model, driven by the same calls and compared after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from fairgrid.chain.abi import contract_abi
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.model import Event, Revert
from fairgrid.protocol.model_state import OVERFLOW
from fairgrid.protocol.model_token import MatchedOrders
from fairgrid.protocol.orders import Order
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.views import Account
from tests.contracts.permits import FOREVER, permit_hash, split
from tests.contracts.revm import RevmRevert
from tests.contracts.twin_base import Base
from tests.protocol.actors import Actor
from tests.protocol.scenario import People

__all__ = ["Outcome", "Twins"]

Orders = MatchedOrders

_MANAGE = {
    "app": "manageAppOrder",
    "dataset": "manageDatasetOrder",
    "workerpool": "manageWorkerpoolOrder",
    "request": "manageRequestOrder",
}


@dataclass(frozen=True)
class Outcome:
    """How a call ended on both sides."""

    value: Any = None
    revert: str | None = None
    reverted: bool = False

    @property
    def happened(self) -> bool:
        """True if the call was not refused."""
        return not self.reverted


@cache
def _account_call(address: str) -> bytes:
    return contract_abi("hub").encode_call("viewAccount", (address,))


@cache
def _balance_call(address: str) -> bytes:
    return contract_abi("rlc").encode_call("balanceOf", (address,))


def _match_call(orders: Orders | None) -> bytes:
    """The data of an approval; empty without orders."""
    if orders is None:
        return b""
    return contract_abi("hub").encode_call("matchOrders", tuple(order.abi_tuple() for order in orders))


def _embedded(call: Callable[[], Any], orders: Orders | None) -> Any:
    """What panics in an embedded match has no data on our chain, and so gets the text of a match without reason."""
    try:
        return call()
    except Revert as revert:
        if orders is not None and revert.text == OVERFLOW:
            raise Revert("OperationFailed()") from revert
        raise


_base: Base | None = None


class Twins:
    """Model and contracts in the same state. A method makes one call on both and asserts that they agree.

    Only one `Twins` may be in use at a time: they share one chain.
    """

    def __init__(self) -> None:
        global _base
        if _base is None:
            _base = Base()
        self.people: People = _base.people
        self.assets = _base.assets
        self.deployed = _base.deployed
        self.model = _base.restore()
        self.chain = _base.chain

    # --- money --------------------------------------------------------------------------------------------------

    def rlc_transfer(self, caller: str, to: str, amount: int) -> Outcome:
        """Pay RLC outside the escrow."""
        return self._rlc(caller, "transfer", self.model.token.transfer, to, amount)

    def rlc_approve(self, caller: str, spender: str, amount: int) -> Outcome:
        """Allow RLC to be taken."""
        return self._rlc(caller, "approve", self.model.token.approve, spender, amount)

    def rlc_transfer_from(self, caller: str, owner: str, to: str, amount: int) -> Outcome:
        """Take allowed RLC."""
        return self._rlc(caller, "transferFrom", self.model.token.transfer_from, owner, to, amount)

    def approve_and_deposit(self, caller: str, amount: int, orders: Orders | None = None) -> Outcome:
        """`approveAndCall` of RLC: a deposit, and a match of ``orders``."""
        return self._compare(
            lambda: _embedded(lambda: self.model.token.approve_and_call(caller, self.model, amount, orders), orders),
            lambda: self.chain.transact(
                "rlc", self.deployed.rlc, caller, "approveAndCall", self.deployed.hub, amount, _match_call(orders)
            ),
        )

    def receive_approval(
        self, caller: str, sender: str, amount: int, token: str, orders: Orders | None = None
    ) -> Outcome:
        """What RLC calls on the hub; anybody may."""
        return self._compare(
            lambda: _embedded(lambda: self.model.receive_approval(caller, sender, amount, token, orders), orders),
            lambda: self._hub_transact(caller, "receiveApproval", sender, amount, token, _match_call(orders)),
        )

    def deposit(self, caller: str, amount: int) -> Outcome:
        return self._hub(caller, "deposit", self.model.deposit, amount)

    def deposit_for(self, caller: str, amount: int, target: str) -> Outcome:
        return self._hub(caller, "depositFor", self.model.deposit_for, amount, target)

    def deposit_for_array(self, caller: str, amounts: tuple[int, ...], targets: tuple[str, ...]) -> Outcome:
        return self._hub(caller, "depositForArray", self.model.deposit_for_array, amounts, targets)

    def deposit_with_permit(self, caller: Actor, amount: int, *, spoilt: bool = False) -> Outcome:
        """Deposit with a permit that holds, or, if ``spoilt``, with one for another amount."""
        owner, hub, rlc = caller.address, self.deployed.hub, self.deployed.rlc
        nonce = int(self.chain.view("rlc", rlc, "nonces", owner))
        chain_id = self.model.domain.chain_id
        hash_ = permit_hash(rlc, chain_id, owner, hub, amount ^ 1 if spoilt else amount, nonce=nonce)
        on_model = self.model.deposit if spoilt else self.model.deposit_with_permit
        return self._compare(
            lambda: on_model(owner, amount),
            lambda: self._hub_transact(owner, "depositWithPermit", amount, FOREVER, *split(caller.sign_hash(hash_))),
        )

    def withdraw(self, caller: str, amount: int) -> Outcome:
        return self._hub(caller, "withdraw", self.model.withdraw, amount)

    def withdraw_to(self, caller: str, amount: int, target: str) -> Outcome:
        return self._hub(caller, "withdrawTo", self.model.withdraw_to, amount, target)

    def recover(self, caller: str) -> Outcome:
        return self._hub(caller, "recover", self.model.recover)

    def transfer(self, caller: str, to: str, amount: int) -> Outcome:
        return self._hub(caller, "transfer", self.model.transfer, to, amount)

    def transfer_from(self, caller: str, owner: str, to: str, amount: int) -> Outcome:
        return self._hub(caller, "transferFrom", self.model.transfer_from, owner, to, amount)

    def approve(self, caller: str, spender: str, amount: int) -> Outcome:
        return self._hub(caller, "approve", self.model.approve, spender, amount)

    def increase_allowance(self, caller: str, spender: str, amount: int) -> Outcome:
        return self._hub(caller, "increaseAllowance", self.model.increase_allowance, spender, amount)

    def decrease_allowance(self, caller: str, spender: str, amount: int) -> Outcome:
        return self._hub(caller, "decreaseAllowance", self.model.decrease_allowance, spender, amount)

    # --- administration -----------------------------------------------------------------------------------------

    def create_category(self, caller: str, name: str, description: str, timeref: int) -> Outcome:
        return self._hub(caller, "createCategory", self.model.create_category, name, description, timeref)

    def set_tee_broker(self, caller: str, broker: str) -> Outcome:
        return self._hub(caller, "setTeeBroker", self.model.set_tee_broker, broker)

    def set_callback_gas(self, caller: str, gas: int) -> Outcome:
        return self._hub(caller, "setCallbackGas", self.model.set_callback_gas, gas)

    def transfer_ownership(self, caller: str, new_owner: str) -> Outcome:
        return self._hub(caller, "transferOwnership", self.model.transfer_ownership, new_owner)

    def change_policy(self, caller: str, pool: str, stake_ratio: int, reward_ratio: int) -> Outcome:
        """A pool's owner changes its policy."""
        return self._compare(
            lambda: self.model.registries.workerpools.change_policy(caller, pool, stake_ratio, reward_ratio),
            lambda: self.chain.transact("workerpool", pool, caller, "changePolicy", stake_ratio, reward_ratio),
        )

    def transfer_app(self, caller: str, app: str, to: str) -> None:
        """An app gets another owner (the registry's own errors are not modelled, so this must be allowed)."""
        self.model.registries.apps.transfer(caller, app, to)
        registry = self.deployed.registries["app"]
        self.chain.transact("app_registry", registry, caller, "transferFrom", caller, to, int(app, 16))

    # --- orders and deals ---------------------------------------------------------------------------------------

    def manage_order(self, caller: str, order: Order, operation: int, sign: str) -> Outcome:
        return self._compare(
            lambda: self.model.manage_order(caller, order, operation, sign),
            lambda: self._hub_transact(
                caller, _MANAGE[order.KIND], (order.abi_tuple(), operation, bytes.fromhex(sign[2:]))
            ),
        )

    def match_orders(self, caller: str, orders: Orders, *, sponsored: bool = False) -> Outcome:
        """Match; the deal id. Both compute the same volume first."""
        tuples = [order.abi_tuple() for order in orders]
        self._compare(
            lambda: self.model.compute_deal_volume(*orders),
            lambda: (self.chain.view("hub", self.deployed.hub, "computeDealVolume", *tuples), []),
        )
        match = self.model.sponsor_match_orders if sponsored else self.model.match_orders
        function = "sponsorMatchOrders" if sponsored else "matchOrders"
        outcome = self._compare(lambda: match(caller, *orders), lambda: self._hub_transact(caller, function, *tuples))
        if outcome.happened:
            self.check_deal(outcome.value)
        return outcome

    # --- tasks --------------------------------------------------------------------------------------------------

    def initialize(self, caller: str, deal: str, index: int) -> Outcome:
        return self._hub(caller, "initialize", self.model.initialize, deal, index)

    def contribute(
        self,
        caller: str,
        task: str,
        result_hash: str,
        result_seal: str,
        challenge: str,
        enclave_sign: str,
        authorisation: str,
    ) -> Outcome:
        outcome = self._compare(
            lambda: self.model.contribute(
                caller, task, result_hash, result_seal, challenge, enclave_sign, authorisation
            ),
            lambda: self._hub_transact(
                caller,
                "contribute",
                task,
                result_hash,
                result_seal,
                challenge,
                bytes.fromhex(enclave_sign[2:]),
                bytes.fromhex(authorisation[2:]),
            ),
        )
        self.check_task(task)
        return outcome

    def reveal(self, caller: str, task: str, digest: str) -> Outcome:
        return self._task_step(task, self._hub(caller, "reveal", self.model.reveal, task, digest))

    def reopen(self, caller: str, task: str) -> Outcome:
        return self._task_step(task, self._hub(caller, "reopen", self.model.reopen, task))

    def finalize(self, caller: str, task: str, results: bytes, callback: bytes) -> Outcome:
        return self._task_step(task, self._hub(caller, "finalize", self.model.finalize, task, results, callback))

    def claim(self, caller: str, task: str) -> Outcome:
        return self._task_step(task, self._hub(caller, "claim", self.model.claim, task))

    @property
    def now(self) -> int:
        """Block time of both."""
        return self.model.now

    @now.setter
    def now(self, seconds: int) -> None:
        self.model.now = self.chain.now = seconds

    # --- comparing ----------------------------------------------------------------------------------------------

    def check_accounts(self) -> None:
        """Every account, inside and outside, and the sums."""
        model, rlc = self.model, self.deployed.rlc
        everybody = {actor.address for actor in self.people.all} | model.accounts | {KITTY_ADDRESS, self.deployed.hub}
        for address in sorted(everybody):
            shown = self.chain.raw_view(self.deployed.hub, _account_call(address))
            inside = Account(int.from_bytes(shown[:32], "big"), int.from_bytes(shown[32:], "big"))
            outside = int.from_bytes(self.chain.raw_view(rlc, _balance_call(address)), "big")
            assert inside == model.view_account(address), address
            assert outside == model.token.balance_of(address), address
        assert self._view("totalSupply") == model.total_supply

    def check_money_adds_up(self) -> None:
        """Σ balances = supply ≤ tokens held; Σ frozen = what the hub holds for others."""
        model = self.model
        assert sum(model.balance_of(account) for account in model.accounts) == model.total_supply
        assert model.total_supply <= model.token.balance_of(self.deployed.hub)
        assert sum(model.frozen_of(account) for account in model.accounts) == model.balance_of(self.deployed.hub)

    def check_deal(self, deal: str) -> None:
        """All that `viewDeal` shows."""
        modelled = self.model.view_deal(deal)
        shown = self._view("viewDeal", deal)
        resources = tuple((r.pointer, r.owner, r.price) for r in (modelled.app, modelled.dataset, modelled.workerpool))
        assert shown == (
            *resources,
            modelled.trust,
            modelled.category,
            modelled.tag,
            modelled.requester,
            modelled.beneficiary,
            modelled.callback,
            modelled.params,
            modelled.start_time,
            modelled.bot_first,
            modelled.bot_size,
            modelled.worker_stake,
            modelled.scheduler_reward_ratio,
            modelled.sponsor,
        )

    def check_task(self, task: str) -> None:
        """All that `viewTask`, `viewContribution` and `viewScore` show of a task and its contributors."""
        modelled = self.model.view_task(task)
        assert self._view("viewTask", task) == (
            int(modelled.status),
            modelled.deal_id,
            modelled.index,
            modelled.timeref,
            modelled.contribution_deadline,
            modelled.reveal_deadline,
            modelled.final_deadline,
            modelled.consensus_value,
            modelled.reveal_counter,
            modelled.winner_counter,
            modelled.contributors,
            modelled.result_digest,
            modelled.results,
            modelled.results_timestamp,
            modelled.results_callback,
        )
        for worker in modelled.contributors or (ZERO_ADDRESS,):
            contribution = self.model.view_contribution(task, worker)
            assert self._view("viewContribution", task, worker) == (
                int(contribution.status),
                contribution.result_hash,
                contribution.result_seal,
                contribution.enclave_challenge,
                contribution.weight,
            )
            assert self._view("viewScore", worker) == self.model.view_score(worker)
        self._compare(lambda: self.model.result_for(task), lambda: (self._view("resultFor", task), []))

    def check_order(self, hash_of_order: str) -> None:
        """Presigner and used units of an order."""
        assert self._view("viewPresigned", hash_of_order) == self.model.view_presigned(hash_of_order)
        assert self._view("viewConsumed", hash_of_order) == self.model.view_consumed(hash_of_order)

    def check_signature(self, signer: str, hash_: str, sign: str) -> Outcome:
        """The three signature views."""
        data = bytes.fromhex(sign[2:])
        self._compare(
            lambda: self.model.verify_presignature(signer, hash_),
            lambda: (self._view("verifyPresignature", signer, hash_), []),
        )
        self._compare(
            lambda: self.model.verify_presignature_or_signature(signer, hash_, sign),
            lambda: (self._view("verifyPresignatureOrSignature", signer, hash_, data), []),
        )
        return self._compare(
            lambda: self.model.verify_signature(signer, hash_, sign),
            lambda: (self._view("verifySignature", signer, hash_, data), []),
        )

    def check_allowance(self, owner: str, spender: str) -> None:
        """What one may take of another, inside and outside."""
        assert self._view("allowance", owner, spender) == self.model.allowance(owner, spender)
        outside = self.chain.view("rlc", self.deployed.rlc, "allowance", owner, spender)
        assert outside == self.model.token.allowance(owner, spender)

    # --- inside -------------------------------------------------------------------------------------------------

    def _view(self, function: str, *arguments: Any) -> Any:
        return self.chain.view("hub", self.deployed.hub, function, *arguments)

    def _hub_transact(self, caller: str, function: str, *arguments: Any) -> tuple[Any, list[Event]]:
        return self.chain.transact("hub", self.deployed.hub, caller, function, *arguments)

    def _hub(self, caller: str, function: str, method: Callable[..., Any], *arguments: Any) -> Outcome:
        return self._compare(
            lambda: method(caller, *arguments), lambda: self._hub_transact(caller, function, *arguments)
        )

    def _rlc(self, caller: str, function: str, method: Callable[..., Any], *arguments: Any) -> Outcome:
        return self._compare(
            lambda: method(caller, *arguments),
            lambda: self.chain.transact("rlc", self.deployed.rlc, caller, function, *arguments),
        )

    def _task_step(self, task: str, outcome: Outcome) -> Outcome:
        self.check_task(task)
        return outcome

    def _compare(self, on_model: Callable[[], Any], on_chain: Callable[[], tuple[Any, list[Event]]]) -> Outcome:
        mark = len(self.model.events)
        try:
            modelled = Outcome(value=on_model())
        except Revert as revert:
            # Vyper's arithmetic reverts without data where the specification's panics: a decided deviation
            panic = revert.text is not None and revert.text.startswith("Panic(")
            modelled = Outcome(revert=None if panic else revert.text, reverted=True)
        events: list[Event] = []
        try:
            value, events = on_chain()
            actual = Outcome(value=value)
        except RevmRevert as revert:
            actual = Outcome(revert=revert.reason, reverted=True)
        assert actual == modelled
        assert events == self.model.events[mark:]
        return actual
