"""Calls of contracts as calls of the reference model, for the chain's twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairgrid.chain.abi import contract_abi, decode_values
from fairgrid.chain.interface import Call
from fairgrid.errors import UsageError
from fairgrid.protocol.hexes import to_hex
from fairgrid.protocol.model import Hub, Revert
from fairgrid.protocol.model_token import MatchedOrders
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.views import AppInfo, DatasetInfo

__all__ = ["run_call"]

_Handler = Callable[[Hub, str, Call, tuple[Any, ...]], object]


def run_call(hub: Hub, caller: str, call: Call) -> None:
    """Let ``caller`` make this call now.

    Raises:
        Revert: the contract would refuse it.
        UsageError: the model has no such function.
    """
    if not call.contract:
        return  # `calls.nothing`
    handler = _HANDLERS.get((call.contract, call.function))
    if handler is None:
        raise UsageError(f"The model of the chain has no {call.contract}.{call.function}.")
    arguments = contract_abi(call.contract).canonical_arguments(call.function, call.arguments)
    if call.value_wei or call.address != _address(hub, call):
        raise Revert  # nothing takes coins, and nothing of that kind is at another address
    handler(hub, caller, call, arguments)


def _address(hub: Hub, call: Call) -> str:
    return {
        "hub": hub.address,
        "rlc": hub.token.address,
        "app_registry": hub.registries.apps.address,
        "dataset_registry": hub.registries.datasets.address,
        "workerpool_registry": hub.registries.workerpools.address,
    }.get(call.contract, call.address)


def _order(kind: Callable[..., Order], values: tuple[Any, ...]) -> Any:
    return kind(*values[:-1], to_hex(values[-1]))


def _match(method: Callable[..., object]) -> _Handler:
    """A method of the hub that takes the four orders."""

    def handler(hub: Hub, caller: str, call: Call, arguments: tuple[Any, ...]) -> object:
        app, dataset, workerpool, request = arguments
        return method(
            hub,
            caller,
            _order(AppOrder, app),
            _order(DatasetOrder, dataset),
            _order(WorkerpoolOrder, workerpool),
            _order(RequestOrder, request),
        )

    return handler


def _manage(kind: Callable[..., Order]) -> _Handler:
    def handler(hub: Hub, caller: str, call: Call, arguments: tuple[Any, ...]) -> object:
        order, operation, sign = arguments[0]
        return hub.manage_order(caller, _order(kind, order), operation, to_hex(sign))

    return handler


def _contribute(hub: Hub, caller: str, call: Call, arguments: tuple[Any, ...]) -> object:
    task_id, result_hash, result_seal, challenge, enclave_sign, authorisation = arguments
    return hub.contribute(
        caller, task_id, result_hash, result_seal, challenge, to_hex(enclave_sign), to_hex(authorisation)
    )


def _contribute_and_finalize(hub: Hub, caller: str, call: Call, arguments: tuple[Any, ...]) -> object:
    task_id, digest, results, callback_data, challenge, enclave_sign, authorisation = arguments
    return hub.contribute_and_finalize(
        caller, task_id, digest, results, callback_data, challenge, to_hex(enclave_sign), to_hex(authorisation)
    )


def _settle_run(hub: Hub, caller: str, call: Call, arguments: tuple[Any, ...]) -> object:
    deal_id, count, root, results, challenge, enclave_sign, authorisation = arguments
    return hub.settle_run(caller, deal_id, count, root, results, challenge, to_hex(enclave_sign), to_hex(authorisation))


def _approve_and_call(hub: Hub, caller: str, call: Call, arguments: tuple[Any, ...]) -> object:
    spender, amount, data = arguments
    if spender != hub.address:
        raise Revert
    return hub.token.approve_and_call(caller, hub, amount, _embedded_orders(data) if data else None)


def _embedded_orders(data: bytes) -> MatchedOrders:
    """The orders of an encoded call of `matchOrders`."""
    match = contract_abi("hub").function("matchOrders")
    if data[:4] != match.selector:
        raise Revert(f"UnsupportedOperation({to_hex(data[:4])})" if len(data) >= len(match.selector) else None)
    try:
        app, dataset, workerpool, request = decode_values(match.inputs, data[4:], "matchOrders")
    except UsageError as error:
        raise Revert from error
    return (
        _order(AppOrder, app),
        _order(DatasetOrder, dataset),
        _order(WorkerpoolOrder, workerpool),
        _order(RequestOrder, request),
    )


def _create_app(hub: Hub, caller: str, call: Call, arguments: tuple[Any, ...]) -> object:
    return hub.registries.apps.create(AppInfo(*arguments))


def _create_dataset(hub: Hub, caller: str, call: Call, arguments: tuple[Any, ...]) -> object:
    return hub.registries.datasets.create(DatasetInfo(*arguments))


def _plain(method: Callable[..., object]) -> _Handler:
    """A method of the hub with the same arguments after the caller."""

    def handler(hub: Hub, caller: str, call: Call, arguments: tuple[Any, ...]) -> object:
        return method(hub, caller, *arguments)

    return handler


_HANDLERS: dict[tuple[str, str], _Handler] = {
    ("hub", "matchOrders"): _match(Hub.match_orders),
    ("hub", "matchOrdersBoost"): _match(Hub.match_orders_boost),
    ("hub", "manageAppOrder"): _manage(AppOrder),
    ("hub", "manageDatasetOrder"): _manage(DatasetOrder),
    ("hub", "manageWorkerpoolOrder"): _manage(WorkerpoolOrder),
    ("hub", "manageRequestOrder"): _manage(RequestOrder),
    ("hub", "initialize"): _plain(Hub.initialize),
    ("hub", "contribute"): _contribute,
    ("hub", "reveal"): _plain(Hub.reveal),
    ("hub", "reopen"): _plain(Hub.reopen),
    ("hub", "finalize"): _plain(Hub.finalize),
    ("hub", "claim"): _plain(Hub.claim),
    ("hub", "initializeArray"): _plain(Hub.initialize_array),
    ("hub", "claimArray"): _plain(Hub.claim_array),
    ("hub", "claimBoost"): _plain(Hub.claim_boost),
    ("hub", "initializeAndClaimArray"): _plain(Hub.initialize_and_claim_array),
    ("hub", "contributeAndFinalize"): _contribute_and_finalize,
    ("hub", "openRun"): _plain(Hub.open_run),
    ("hub", "splitRun"): _plain(Hub.split_run),
    ("hub", "finalizeRun"): _plain(Hub.finalize_run),
    ("hub", "settleRun"): _settle_run,
    ("hub", "materialise"): _plain(Hub.materialise),
    ("hub", "refundRest"): _plain(Hub.refund_rest),
    ("hub", "deposit"): _plain(Hub.deposit),
    ("hub", "depositFor"): _plain(Hub.deposit_for),
    ("hub", "depositForArray"): _plain(Hub.deposit_for_array),
    ("hub", "withdraw"): _plain(Hub.withdraw),
    ("hub", "withdrawTo"): _plain(Hub.withdraw_to),
    ("hub", "transfer"): _plain(Hub.transfer),
    ("hub", "transferFrom"): _plain(Hub.transfer_from),
    ("hub", "approve"): _plain(Hub.approve),
    ("hub", "createCategory"): _plain(Hub.create_category),
    ("hub", "setTeeBroker"): _plain(Hub.set_tee_broker),
    ("hub", "setCallbackGas"): _plain(Hub.set_callback_gas),
    ("hub", "transferOwnership"): _plain(Hub.transfer_ownership),
    ("rlc", "transfer"): lambda hub, caller, call, arguments: hub.token.transfer(caller, *arguments),
    ("rlc", "approve"): lambda hub, caller, call, arguments: hub.token.approve(caller, *arguments),
    ("rlc", "transferFrom"): lambda hub, caller, call, arguments: hub.token.transfer_from(caller, *arguments),
    ("rlc", "approveAndCall"): _approve_and_call,
    ("app_registry", "createApp"): _create_app,
    ("dataset_registry", "createDataset"): _create_dataset,
    ("workerpool_registry", "createWorkerpool"): lambda hub, caller, call, arguments: hub.registries.workerpools.create(
        *arguments
    ),
    ("workerpool", "changePolicy"): lambda hub, caller, call, arguments: hub.registries.workerpools.change_policy(
        caller, call.address, *arguments
    ),
}
