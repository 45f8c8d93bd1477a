"""EIP-712: the documents that wallets sign, and their hashes, computed here without a detour through JSON.

The domain is ``iExecODB`` version ``5.0.0`` on one chain and one hub, so that published clients' signatures hold.
Fairgrid's own documents (worker enrolment) have the domain ``Fairgrid`` version ``1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from fairgrid.errors import OrderError
from fairgrid.protocol.hexes import address_bytes, checksum, from_hex, keccak, to_hex32, uint256_bytes
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder

__all__ = [
    "CLOSE",
    "SIGN",
    "Domain",
    "domain_separator",
    "enrolment_hash",
    "enrolment_typed_data",
    "operation_hash",
    "operation_typed_data",
    "order_hash",
    "order_typed_data",
    "struct_hash",
    "type_hash",
    "typed_data_hash",
]

SIGN: Final = 0
CLOSE: Final = 1

ORDER_DOMAIN_NAME: Final = "iExecODB"
ORDER_DOMAIN_VERSION: Final = "5.0.0"
OWN_DOMAIN_NAME: Final = "Fairgrid"
OWN_DOMAIN_VERSION: Final = "1"

Fields = Sequence[tuple[str, str]]

_DOMAIN_FIELDS: Final[Fields] = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
)
_PRIMARY: Final[dict[type[Any], str]] = {
    AppOrder: "AppOrder",
    DatasetOrder: "DatasetOrder",
    WorkerpoolOrder: "WorkerpoolOrder",
    RequestOrder: "RequestOrder",
}
_ENROLMENT_FIELDS: Final[Fields] = (("owner", "address"), ("worker", "address"), ("workerpool", "address"))


@dataclass(frozen=True, slots=True)
class Domain:
    """The chain and the hub that a signature is good for."""

    chain_id: int
    verifying_contract: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "verifying_contract", checksum(self.verifying_contract))


def _type_string(name: str, members: Fields) -> str:
    return f"{name}({','.join(f'{solidity_type} {member}' for member, solidity_type in members)})"


def _encoded(solidity_type: str, value: Any) -> bytes:
    if solidity_type == "address":
        return bytes(12) + address_bytes(value)
    if solidity_type.startswith("uint"):
        return uint256_bytes(value)
    if solidity_type == "bytes32":
        data = value if isinstance(value, bytes) else from_hex(value)
        return from_hex(to_hex32(data))
    if solidity_type == "string":
        return keccak(value.encode("utf-8"))
    if solidity_type == "bytes":
        return keccak(value if isinstance(value, bytes) else from_hex(value))
    raise OrderError(f"Type {solidity_type!r} is not supported in a typed-data document of Fairgrid.")


@lru_cache(maxsize=256)
def _type_hash(type_string: str) -> bytes:
    return keccak(type_string.encode("ascii"))


@lru_cache(maxsize=256)
def _domain_separator(name: str, version: str, chain_id: int, verifying_contract: str) -> bytes:
    values = (name, version, chain_id, verifying_contract)
    encoded = b"".join(_encoded(kind, value) for (_, kind), value in zip(_DOMAIN_FIELDS, values, strict=True))
    return keccak(_type_hash(_type_string("EIP712Domain", _DOMAIN_FIELDS)) + encoded)


def _order_domain(domain: Domain) -> bytes:
    return _domain_separator(ORDER_DOMAIN_NAME, ORDER_DOMAIN_VERSION, domain.chain_id, domain.verifying_contract)


def _order_type(order: Order) -> str:
    return _type_string(_PRIMARY[type(order)], order.SOLIDITY_TYPES)


def _order_struct(order: Order) -> bytes:
    encoded = b"".join(_encoded(kind, getattr(order, member)) for member, kind in order.SOLIDITY_TYPES)
    return keccak(_type_hash(_order_type(order)) + encoded)


def _operation_type(order: Order) -> str:
    return f"{_PRIMARY[type(order)]}Operation({_PRIMARY[type(order)]} order,uint256 operation){_order_type(order)}"


def type_hash(order_class: type[Order], *, operation: bool = False) -> str:
    """The EIP-712 type hash of an order, or of the operation that presigns or closes it."""
    name = _PRIMARY[order_class]
    type_string = _type_string(name, order_class.SOLIDITY_TYPES)
    if operation:
        type_string = f"{name}Operation({name} order,uint256 operation){type_string}"
    return to_hex32(_type_hash(type_string))


def struct_hash(order: Order) -> str:
    """The EIP-712 struct hash of an order, before the domain is mixed in."""
    return to_hex32(_order_struct(order))


def domain_separator(domain: Domain) -> str:
    """What `eip712domain_separator()` of that hub returns."""
    return to_hex32(_order_domain(domain))


def order_hash(order: Order, domain: Domain) -> str:
    """The order's identity on chain: its EIP-712 hash; the signature is not part of it."""
    return to_hex32(keccak(b"\x19\x01" + _order_domain(domain) + _order_struct(order)))


def operation_hash(order: Order, operation: int, domain: Domain) -> str:
    """The hash that an owner signs so that somebody else may presign (`SIGN`) or close (`CLOSE`) its order."""
    struct = keccak(_type_hash(_operation_type(order)) + _order_struct(order) + uint256_bytes(operation))
    return to_hex32(keccak(b"\x19\x01" + _order_domain(domain) + struct))


def order_typed_data(order: Order, domain: Domain) -> dict[str, Any]:
    """The full EIP-712 document of an order, ready for any wallet; its hash is `order_hash`."""
    name = _PRIMARY[type(order)]
    return {
        "types": {"EIP712Domain": _described(_DOMAIN_FIELDS), name: _described(order.SOLIDITY_TYPES)},
        "primaryType": name,
        "domain": _order_domain_document(domain),
        "message": _message(order),
    }


def operation_typed_data(order: Order, operation: int, domain: Domain) -> dict[str, Any]:
    """The full EIP-712 document of presigning or closing an order; its hash is `operation_hash`."""
    name = _PRIMARY[type(order)]
    primary = f"{name}Operation"
    return {
        "types": {
            "EIP712Domain": _described(_DOMAIN_FIELDS),
            primary: _described((("order", name), ("operation", "uint256"))),
            name: _described(order.SOLIDITY_TYPES),
        },
        "primaryType": primary,
        "domain": _order_domain_document(domain),
        "message": {"order": _message(order), "operation": operation},
    }


def enrolment_typed_data(owner: str, worker: str, workerpool: str, domain: Domain) -> dict[str, Any]:
    """The document by which ``owner`` says that ``worker`` works for ``workerpool`` in its name (decision 49)."""
    return {
        "types": {"EIP712Domain": _described(_DOMAIN_FIELDS), "Enrolment": _described(_ENROLMENT_FIELDS)},
        "primaryType": "Enrolment",
        "domain": {
            "name": OWN_DOMAIN_NAME,
            "version": OWN_DOMAIN_VERSION,
            "chainId": domain.chain_id,
            "verifyingContract": domain.verifying_contract,
        },
        "message": {"owner": checksum(owner), "worker": checksum(worker), "workerpool": checksum(workerpool)},
    }


def enrolment_hash(owner: str, worker: str, workerpool: str, domain: Domain) -> str:
    """The EIP-712 hash of `enrolment_typed_data`."""
    return typed_data_hash(enrolment_typed_data(owner, worker, workerpool, domain))


def typed_data_hash(document: dict[str, Any]) -> str:
    """The EIP-712 hash of a document made by this module (structs may nest, arrays are not supported).

    Raises:
        OrderError: the document lacks a part, or uses a type that Fairgrid's documents do not have.
    """
    try:
        types: dict[str, list[dict[str, str]]] = document["types"]
        domain_hash = _document_struct("EIP712Domain", types, document["domain"])
        message_hash = _document_struct(document["primaryType"], types, document["message"])
    except (KeyError, TypeError, AttributeError) as error:
        raise OrderError(f"The typed-data document is incomplete or malformed ({error!r}).") from None
    return to_hex32(keccak(b"\x19\x01" + domain_hash + message_hash))


def _document_struct(name: str, types: dict[str, list[dict[str, str]]], values: dict[str, Any]) -> bytes:
    encoded = [_type_hash(_document_type(name, types))]
    for member in types[name]:
        value = values[member["name"]]
        nested = member["type"] in types
        encoded.append(
            _document_struct(member["type"], types, value)
            if nested
            else _encoded(member["type"], _plain(member, value))
        )
    return keccak(b"".join(encoded))


def _plain(member: dict[str, str], value: Any) -> Any:
    return int(value) if member["type"].startswith("uint") and isinstance(value, str) else value


def _document_type(name: str, types: dict[str, list[dict[str, str]]]) -> str:
    used: set[str] = set()
    pending = [name]
    while pending:
        current = pending.pop()
        if current in types and current not in used:
            used.add(current)
            pending.extend(member["type"] for member in types[current])
    return "".join(
        _type_string(current, [(member["name"], member["type"]) for member in types[current]])
        for current in (name, *sorted(used - {name}))
    )


def _described(members: Fields) -> list[dict[str, str]]:
    return [{"name": member, "type": solidity_type} for member, solidity_type in members]


def _order_domain_document(domain: Domain) -> dict[str, Any]:
    return {
        "name": ORDER_DOMAIN_NAME,
        "version": ORDER_DOMAIN_VERSION,
        "chainId": domain.chain_id,
        "verifyingContract": domain.verifying_contract,
    }


def _message(order: Order) -> dict[str, Any]:
    return {member: getattr(order, member) for member, _ in order.SOLIDITY_TYPES}
