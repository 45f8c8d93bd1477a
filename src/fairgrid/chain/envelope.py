"""Read a signed EIP-1559 transaction back, so that stored bytes alone are enough to replace it by a dearer one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairgrid.chain.fees import Fees
from fairgrid.errors import UsageError
from fairgrid.protocol.hexes import checksum, to_hex

__all__ = ["Envelope", "read_envelope"]

_Item = bytes | list["_Item"]


@dataclass(frozen=True, slots=True)
class Envelope:
    """The fields of a transaction; ``to`` is empty for one that creates a contract."""

    chain_id: int
    nonce: int
    fees: Fees
    gas: int
    to: str
    value_wei: int
    data: bytes

    def signable(self, fees: Fees) -> dict[str, Any]:
        """The fields for a signer, with other fees and everything else the same."""
        fields: dict[str, Any] = {
            "chainId": self.chain_id,
            "nonce": self.nonce,
            "gas": self.gas,
            "maxFeePerGas": fees.max_fee_wei,
            "maxPriorityFeePerGas": fees.tip_wei,
            "value": self.value_wei,
            "data": self.data,
        }
        return {**fields, "to": self.to} if self.to else fields


def read_envelope(raw: bytes) -> Envelope:
    """The fields of raw signed bytes.

    Raises:
        UsageError: they are no EIP-1559 transaction.
    """
    try:
        if raw[0] != 2:
            raise ValueError("its type is not 2")
        fields, rest = _decode(raw[1:])
        if rest or not isinstance(fields, list) or len(fields) != 12:
            raise ValueError("it has not twelve fields")
        chain_id, nonce, tip, fee, gas, to, value, data = (_bytes(field) for field in fields[:8])
        return Envelope(
            chain_id=_number(chain_id),
            nonce=_number(nonce),
            fees=Fees(_number(fee), _number(tip)),
            gas=_number(gas),
            to=checksum(to_hex(to)) if to else "",
            value_wei=_number(value),
            data=data,
        )
    except (ValueError, IndexError) as error:
        raise UsageError(
            f"These bytes are no signed EIP-1559 transaction ({error}); they cannot be replaced."
        ) from error


def _number(field: bytes) -> int:
    return int.from_bytes(field, "big")


def _bytes(field: _Item) -> bytes:
    if isinstance(field, list):
        raise ValueError("a field is a list")
    return field


def _decode(data: bytes) -> tuple[_Item, bytes]:
    """One item of a recursive length prefix encoding, and what follows it."""
    first = data[0]
    if first < 0x80:
        return data[:1], data[1:]
    offset = 0x80 if first < 0xC0 else 0xC0
    start, length = 1, first - offset
    if length > 55:
        start += length - 55
        length = int.from_bytes(data[1:start], "big")
    body, rest = data[start : start + length], data[start + length :]
    if len(body) != length:
        raise ValueError("it is cut short")
    if offset == 0x80:
        return body, rest
    items: list[_Item] = []
    while body:
        item, body = _decode(body)
        items.append(item)
    return items, rest
