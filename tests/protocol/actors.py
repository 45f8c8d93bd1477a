"""People with keys for tests: each signs orders, operations and authorisations."""

from __future__ import annotations

from typing import TypeVar, cast

import coincurve

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum, from_hex, keccak, to_hex
from fairgrid.protocol.orders import Order
from fairgrid.protocol.seals import message_hash
from fairgrid.protocol.typed_data import Domain, operation_hash, order_hash

AnyOrder = TypeVar("AnyOrder", bound=Order)


class Actor:
    """A key that follows from a name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.secret = keccak(b"fairgrid/test-actor/" + name.encode())
        self._key = coincurve.PrivateKey(self.secret)
        self.address = checksum(to_hex(keccak(self._key.public_key.format(compressed=False)[1:])[12:]))

    def __repr__(self) -> str:
        return self.name

    def sign_hash(self, hash_: bytes) -> str:
        """65-byte signature of a 32-byte hash."""
        raw = self._key.sign_recoverable(hash_, hasher=None)
        return to_hex(raw[:64] + bytes([27 + raw[64]]))

    def sign_message(self, message32: bytes) -> str:
        """EIP-191 signature."""
        return self.sign_hash(message_hash(message32))

    def sign_order(self, order: AnyOrder, domain: Domain) -> AnyOrder:
        """The order with this actor's signature."""
        return cast(AnyOrder, order.signed(self.sign_hash(from_hex(order_hash(order, domain)))))

    def sign_operation(self, order: Order, operation: int, domain: Domain) -> str:
        """Signature that lets somebody else presign or close the order."""
        return self.sign_hash(from_hex(operation_hash(order, operation, domain)))

    def authorise(self, worker: str, task_id: str, challenge: str = ZERO_ADDRESS) -> str:
        """The scheduler's signature that lets ``worker`` contribute."""
        return self.sign_message(ids.authorisation_message(worker, task_id, challenge))


def compact(signature: str) -> str:
    """The 64-byte form (EIP-2098) of a 65-byte signature."""
    raw = from_hex(signature)
    return to_hex(raw[:32] + bytes([raw[32] | (raw[64] - 27) << 7]) + raw[33:64])


def malleable(signature: str) -> str:
    """The other valid signature of the same key and hash, with a high s."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    raw = from_hex(signature)
    high = order - int.from_bytes(raw[32:64], "big")
    return to_hex(raw[:32] + high.to_bytes(32, "big") + bytes([27 + 28 - raw[64]]))
