"""Builders of `Call`: every function of hub, token and registries that changes something, under a Python name.

The first argument is the address of the contract that is called. Money is nRLC. bytes32 and signatures are 0x-hex.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairgrid.chain.interface import Call
from fairgrid.errors import OrderError
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder

__all__ = [
    "CLOSE",
    "SIGN",
    "add_members",
    "approve",
    "approve_and_call",
    "change_policy",
    "claim",
    "claim_array",
    "claim_boost",
    "contribute",
    "contribute_and_finalize",
    "create_app",
    "create_category",
    "create_dataset",
    "create_group",
    "create_workerpool",
    "deposit",
    "deposit_for",
    "finalize",
    "finalize_run",
    "initialize",
    "initialize_and_claim_array",
    "initialize_array",
    "manage_order",
    "match_orders",
    "materialise",
    "nothing",
    "open_run",
    "refund_rest",
    "remove_members",
    "reopen",
    "reveal",
    "send_coins",
    "settle_run",
    "split_run",
    "transfer",
    "transfer_deposit",
    "withdraw",
    "withdraw_to",
]

SIGN = 0
"""Operation of `manage_order`: the order counts as signed."""
CLOSE = 1
"""Operation of `manage_order`: the order can be used no more. There is no way back."""


# --- orders and deals -------------------------------------------------------------------------------------------


def match_orders(
    hub: str, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
) -> Call:
    """Make a deal; the money of the requester is locked."""
    orders = (app.abi_tuple(), dataset.abi_tuple(), workerpool.abi_tuple(), request.abi_tuple())
    return Call("hub", hub, "matchOrders", orders)


def manage_order(hub: str, order: Order, operation: int, sign: str = "0x") -> Call:
    """Sign (`SIGN`) or close (`CLOSE`) an order on chain; ``sign`` is needed unless the owner itself sends it.

    Raises:
        OrderError: there is no such operation.
    """
    if operation not in (SIGN, CLOSE):
        raise OrderError(f"There is no operation {operation} on orders: 0 signs, 1 closes.")
    function = {
        AppOrder: "manageAppOrder",
        DatasetOrder: "manageDatasetOrder",
        WorkerpoolOrder: "manageWorkerpoolOrder",
        RequestOrder: "manageRequestOrder",
    }[type(order)]
    return Call("hub", hub, function, ((order.abi_tuple(), operation, sign),))


# --- tasks ------------------------------------------------------------------------------------------------------


def initialize(hub: str, deal_id: str, index: int) -> Call:
    """Begin task ``index`` of a deal; anybody may."""
    return Call("hub", hub, "initialize", (deal_id, index))


def contribute(
    hub: str,
    task_id: str,
    result_hash: str,
    result_seal: str,
    authorisation: str,
    *,
    enclave_challenge: str = ZERO_ADDRESS,
    enclave_sign: str = "0x",
) -> Call:
    """The worker commits to its result and its stake is locked; ``authorisation`` is the scheduler's signature."""
    arguments = (task_id, result_hash, result_seal, enclave_challenge, enclave_sign, authorisation)
    return Call("hub", hub, "contribute", arguments)


def reveal(hub: str, task_id: str, digest: str) -> Call:
    """The worker opens its contribution after consensus."""
    return Call("hub", hub, "reveal", (task_id, digest))


def reopen(hub: str, task_id: str) -> Call:
    """The scheduler takes a consensus back that nobody revealed."""
    return Call("hub", hub, "reopen", (task_id,))


def finalize(hub: str, task_id: str, results: bytes, callback_data: bytes = b"") -> Call:
    """The scheduler ends a task: workers are paid, liars lose their stake."""
    return Call("hub", hub, "finalize", (task_id, results, callback_data))


def claim(hub: str, task_id: str) -> Call:
    """After the final deadline: the task fails and everybody gets back what was locked; anybody may."""
    return Call("hub", hub, "claim", (task_id,))


def initialize_array(hub: str, tasks: Sequence[tuple[str, int]]) -> Call:
    """Begin several tasks, given as deal and index: all, or none if one of them cannot begin."""
    return Call("hub", hub, "initializeArray", (tuple(deal for deal, _ in tasks), tuple(index for _, index in tasks)))


def claim_array(hub: str, task_ids: Sequence[str]) -> Call:
    """`claim` of several tasks: all, or none."""
    return Call("hub", hub, "claimArray", (tuple(task_ids),))


def claim_boost(hub: str, deal_id: str, index: int) -> Call:
    """After the deadline of a deal of boost: a task whose result was not pushed is refunded; anybody may."""
    return Call("hub", hub, "claimBoost", (deal_id, index))


def initialize_and_claim_array(hub: str, tasks: Sequence[tuple[str, int]]) -> Call:
    """After the final deadline: refund tasks that nobody ever began, given as deal and index: all, or none."""
    return Call(
        "hub", hub, "initializeAndClaimArray", (tuple(deal for deal, _ in tasks), tuple(index for _, index in tasks))
    )


def contribute_and_finalize(
    hub: str,
    task_id: str,
    digest: str,
    results: bytes,
    callback_data: bytes,
    authorisation: str,
    *,
    enclave_challenge: str = ZERO_ADDRESS,
    enclave_sign: str = "0x",
) -> Call:
    """The only worker of a task of trust 1 delivers its result, and everybody is paid."""
    return Call(
        "hub",
        hub,
        "contributeAndFinalize",
        (task_id, digest, results, callback_data, enclave_challenge, enclave_sign, authorisation),
    )


def nothing(sender: str) -> Call:
    """Do nothing, at the price of the least transaction: it takes a nonce that nothing else will use."""
    return Call("", sender, "nothing")


def send_coins(recipient: str, wei: int) -> Call:
    """Send coins of the chain, for gas."""
    return Call("", recipient, "send", value_wei=wei)


# --- runs of the batch lane -------------------------------------------------------------------------------------


def open_run(hub: str, deal_id: str, count: int) -> Call:
    """The scheduler opens the next ``count`` tasks of a batch-lane deal as one run."""
    return Call("hub", hub, "openRun", (deal_id, count))


def split_run(hub: str, run_id: str, left: int) -> Call:
    """The scheduler replaces a run without agreement by two, of ``left`` tasks and of the rest."""
    return Call("hub", hub, "splitRun", (run_id, left))


def finalize_run(hub: str, run_id: str, root: str, results: bytes) -> Call:
    """The scheduler ends a run: workers are paid for each of its tasks, liars lose their stake."""
    return Call("hub", hub, "finalizeRun", (run_id, root, results))


def settle_run(
    hub: str,
    deal_id: str,
    count: int,
    root: str,
    results: bytes,
    authorisation: str,
    *,
    enclave_challenge: str = ZERO_ADDRESS,
    enclave_sign: str = "0x",
) -> Call:
    """The only worker of a run of a deal of trust 1 opens and ends it in one transaction."""
    return Call(
        "hub", hub, "settleRun", (deal_id, count, root, results, enclave_challenge, enclave_sign, authorisation)
    )


def materialise(
    hub: str,
    run_id: str,
    index: int,
    digest: str,
    proof: Sequence[str],
    root: str,
    results_hash: str,
    callback_data: bytes = b"",
) -> Call:
    """Give one task of a completed run a place of its own on chain, and its callback; anybody may, once."""
    arguments = (run_id, index, digest, tuple(proof), root, results_hash, callback_data)
    return Call("hub", hub, "materialise", arguments)


def refund_rest(hub: str, deal_id: str) -> Call:
    """After the final deadline: refund all tasks of a batch-lane deal that were never opened; anybody may."""
    return Call("hub", hub, "refundRest", (deal_id,))


# --- escrow and token -------------------------------------------------------------------------------------------


def deposit(hub: str, amount: int) -> Call:
    """Move RLC of the sender into its account; the hub must be allowed to take it (`approve`)."""
    return Call("hub", hub, "deposit", (amount,))


def deposit_for(hub: str, amount: int, target: str) -> Call:
    """Move RLC of the sender into the account of ``target``."""
    return Call("hub", hub, "depositFor", (amount, target))


def withdraw(hub: str, amount: int) -> Call:
    """Take RLC out of the sender's account."""
    return Call("hub", hub, "withdraw", (amount,))


def withdraw_to(hub: str, amount: int, target: str) -> Call:
    """Take RLC out of the sender's account and pay it to ``target``."""
    return Call("hub", hub, "withdrawTo", (amount, target))


def approve(rlc: str, spender: str, amount: int) -> Call:
    """Let ``spender`` take up to ``amount`` RLC of the sender."""
    return Call("rlc", rlc, "approve", (spender, amount))


def approve_and_call(rlc: str, hub: str, amount: int) -> Call:
    """Approve and deposit in one transaction."""
    return Call("rlc", rlc, "approveAndCall", (hub, amount, b""))


def transfer(rlc: str, recipient: str, amount: int) -> Call:
    """Pay RLC that lies outside the escrow."""
    return Call("rlc", rlc, "transfer", (recipient, amount))


def transfer_deposit(hub: str, recipient: str, amount: int) -> Call:
    """Pay out of the sender's account in the escrow into that of ``recipient``."""
    return Call("hub", hub, "transfer", (recipient, amount))


def create_category(hub: str, name: str, description: str, timeref: int) -> Call:
    """Add a category of tasks (owner of the hub only); ``timeref`` is in seconds."""
    return Call("hub", hub, "createCategory", (name, description, timeref))


# --- registries -------------------------------------------------------------------------------------------------


def create_app(
    registry: str, owner: str, name: str, kind: str, multiaddr: bytes, checksum: str, mrenclave: bytes = b""
) -> Call:
    """Register an app; its address is that of the token in the receipt's ``Transfer`` event."""
    return Call("app_registry", registry, "createApp", (owner, name, kind, multiaddr, checksum, mrenclave))


def create_dataset(registry: str, owner: str, name: str, multiaddr: bytes, checksum: str) -> Call:
    """Register a dataset."""
    return Call("dataset_registry", registry, "createDataset", (owner, name, multiaddr, checksum))


def create_workerpool(registry: str, owner: str, description: str) -> Call:
    """Register a workerpool."""
    return Call("workerpool_registry", registry, "createWorkerpool", (owner, description))


def create_group(groups: str, name: str) -> Call:
    """Make a group that the caller owns (`groups.create`)."""
    return Call("groups", groups, "create", (name,))


def add_members(group: str, accounts: Sequence[str]) -> Call:
    """Let accounts into a group of the caller's, at most 256."""
    return Call("group", group, "addMembers", (list(accounts),))


def remove_members(group: str, accounts: Sequence[str]) -> Call:
    """Put accounts out of a group of the caller's, at most 256."""
    return Call("group", group, "removeMembers", (list(accounts),))


def change_policy(workerpool: str, *, stake_ratio: int, scheduler_ratio: int) -> Call:
    """Set a workerpool's terms for later deals, in percent: the stake of workers, the scheduler's share."""
    return Call("workerpool", workerpool, "changePolicy", (stake_ratio, scheduler_ratio))
