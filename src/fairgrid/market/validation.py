"""Query parameters and bodies of the market, with the texts that published clients show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairgrid.errors import OrderError
from fairgrid.market.kinds import APP, DATASET, MAX_NUMBER, REQUEST, WORKERPOOL, Kind
from fairgrid.market.refusals import Invalid
from fairgrid.market.store import Query, Restriction
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum, from_hex, hex32
from fairgrid.protocol.orders import Order
from fairgrid.seams.http import parse_json

__all__ = [
    "Page",
    "parse_address",
    "parse_body",
    "parse_chain_id",
    "parse_hash",
    "parse_number",
    "parse_order",
    "parse_page",
    "parse_query",
]

_LEGACY_PAGE_SIZE = 20


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted."""

    skip: int
    limit: int


def parse_chain_id(query: Mapping[str, str], chain_id: int) -> str:
    """The chain id as the client wrote it.

    Raises:
        Invalid: it is missing, or of another chain.
    """
    text = query.get("chainId")
    if not text:
        raise Invalid("chainId is a required field")
    if text != str(chain_id):
        raise Invalid(f"chainId {_shown(text)} is not supported")
    return text


def parse_address(name: str, value: Any) -> str:
    """A checksummed address.

    Raises:
        Invalid: it is not one.
    """
    if value is None or value == "":
        raise Invalid(f"{name} is a required field")
    try:
        return checksum(value)
    except OrderError:
        raise Invalid(f"{name} is not a valid ethereum address") from None


def parse_hash(name: str, value: Any) -> str:
    """A lower-case bytes32.

    Raises:
        Invalid: it is not one.
    """
    if value is None or value == "":
        raise Invalid(f"{name} is a required field")
    try:
        return hex32(value)
    except OrderError:
        raise Invalid(f"{name} must be a bytes32 hexstring") from None


def parse_number(name: str, value: Any, *, least: int = 0, most: int = MAX_NUMBER) -> int:
    """An integer from ``least`` to ``most``, given as a number or as decimal text.

    Raises:
        Invalid: it is not one.
    """
    if value is None or value == "":
        raise Invalid(f"{name} is a required field")
    digits = value.removeprefix("-") if isinstance(value, str) else ""
    if isinstance(value, str) and digits.isascii() and digits.isdigit() and len(digits) <= 400:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, float):
        raise Invalid(f"{name} must be an integer")
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(
            f"{name} must be a `number` type, but the final value was: `NaN` (cast from the value `{_quoted(value)}`)."
        )
    if value < least:
        raise Invalid(f"{name} must be greater than or equal to {least}")
    if value > most:
        raise Invalid(f"{name} must be less than or equal to {most}")
    return value


def parse_page(query: Mapping[str, str]) -> Page:
    """Page index and size; or the older ``page``, a number of entries to skip.

    Raises:
        Invalid: a number is out of bounds.
    """
    if "pageIndex" not in query and "pageSize" not in query and "page" in query:
        return Page(skip=parse_number("page", query["page"]), limit=_LEGACY_PAGE_SIZE)
    size = parse_number("pageSize", query.get("pageSize", "20"), least=10, most=1000)
    index = parse_number("pageIndex", query.get("pageIndex", "0"), most=MAX_NUMBER // 1000)
    return Page(skip=index * size, limit=size)


def parse_query(kind: Kind, query: Mapping[str, str]) -> Query:
    """The filters of a list of orders.

    Raises:
        Invalid: a parameter is missing or has the wrong form.
    """
    owner = None
    if kind is not REQUEST:
        owner = _address_or_none(f"{kind.name}Owner", query)
        if kind is not WORKERPOOL and not query.get(kind.name) and owner is None:
            raise Invalid(f"{kind.name} or {kind.name}Owner is required")
    exact_columns, restricted_columns = _COLUMNS[kind.name]
    exact = []
    for column in exact_columns:
        address = _address_or_any(column, query)
        if address is not None:
            exact.append((column, address))
    restrictions = []
    for column in restricted_columns:
        restriction = _restriction(column, query)
        if restriction is not None:
            restrictions.append((column, restriction))
    return Query(
        kind=kind,
        exact=tuple(exact),
        restrictions=tuple(restrictions),
        owner=owner,
        category=_number_or_none("category", query) if kind in (WORKERPOOL, REQUEST) else None,
        min_tag=_tag("minTag", query) or 0,
        max_tag=_tag("maxTag", query),
        min_trust=_number_or_none("minTrust", query) if kind is WORKERPOOL else None,
        max_trust=_number_or_none("maxTrust", query) if kind is REQUEST else None,
        min_volume=parse_number("minVolume", query.get("minVolume") or "1", least=1),
        bulk_only=_truth("bulkOnly", query) if kind is DATASET else False,
    )


_COLUMNS = {
    APP.name: (("app",), ("dataset", "workerpool", "requester")),
    DATASET.name: (("dataset",), ("app", "workerpool", "requester")),
    WORKERPOOL.name: (("workerpool",), ("app", "dataset", "requester")),
    REQUEST.name: (("app", "dataset", "requester", "beneficiary"), ("workerpool",)),
}


def parse_body(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        Invalid: it is none.
    """
    try:
        document = parse_json(body)
    except ValueError:
        raise Invalid("The body is not JSON") from None
    if not isinstance(document, dict):
        raise Invalid("The body is not a JSON object")
    return document


def parse_order(kind: Kind, body: Mapping[str, Any]) -> Order:
    """The signed order of a publication.

    Raises:
        Invalid: it lacks a field, has one too many, or one has the wrong form.
    """
    raw = body.get("order")
    if raw is None:
        raise Invalid("order is a required field")
    if not isinstance(raw, dict):
        raise Invalid("order must be a JSON object")
    values: dict[str, Any] = {}
    for name, solidity_type in kind.order_class.SOLIDITY_TYPES:
        label = f"order.{name}"
        value = raw.get(name)
        if solidity_type == "address":
            values[name] = parse_address(label, value)
        elif solidity_type == "bytes32":
            values[name] = parse_hash(label, value)
        elif solidity_type == "uint256":
            values[name] = parse_number(label, value)
        elif not isinstance(value, str):
            raise Invalid(f"{label} is a required field" if value is None else f"{label} must be a string")
        else:
            values[name] = value
    if raw.get("sign") is None:
        raise Invalid("order.sign is a required field")
    try:
        from_hex(raw["sign"])
    except OrderError:
        raise Invalid("order.sign must be a hexstring") from None
    unknown = sorted(str(name) for name in raw if name not in values and name != "sign")
    if unknown:
        raise Invalid(f"order has unknown keys: {_shown(', '.join(unknown))}")
    try:
        return kind.order_class.from_wire({**values, "sign": raw["sign"]})
    except OrderError as error:
        raise Invalid(str(error)) from None


def _address_or_none(name: str, query: Mapping[str, str]) -> str | None:
    return parse_address(name, query[name]) if query.get(name) else None


def _address_or_any(name: str, query: Mapping[str, str]) -> str | None:
    value = query.get(name)
    if not value or value == "any":
        return None
    try:
        return checksum(value)
    except OrderError:
        raise Invalid(f'{name} is neither "any" nor a valid ethereum address') from None


def _restriction(name: str, query: Mapping[str, str]) -> Restriction | None:
    strict = _truth(f"is{name.capitalize()}Strict", query)
    value = query.get(name)
    if not value:
        return Restriction(ZERO_ADDRESS)
    address = _address_or_any(name, query)
    return None if address is None else Restriction(address, strict=strict)


def _number_or_none(name: str, query: Mapping[str, str]) -> int | None:
    return parse_number(name, query[name]) if query.get(name) else None


def _tag(name: str, query: Mapping[str, str]) -> int | None:
    return int(parse_hash(name, query[name]), 16) if query.get(name) else None


def _truth(name: str, query: Mapping[str, str]) -> bool:
    value = query.get(name, "false")
    if value.lower() in ("true", "1"):
        return True
    if value.lower() in ("false", "0", ""):
        return False
    raise Invalid(f"{name} must be a `boolean` type, but the final value was: `{_quoted(value)}`.")


def _shown(text: str) -> str:
    return text if len(text) <= 80 else text[:80] + "…"


def _quoted(value: Any) -> str:
    return _shown(json.dumps(value))
