"""The four signed orders that a deal is made of, with the field names of the chain and of the market's JSON.

An `AppOrder` offers runs of an app, a `DatasetOrder` uses of a dataset, a `WorkerpoolOrder` tasks on a pool, and a
`RequestOrder` asks for tasks. Orders are values: normalised when made (addresses EIP-55, bytes32 lower case), never
changed afterwards. ``sign`` is ``"0x"`` while an order is not signed, or is presigned on chain.
Prices are nRLC a task; a restriction or resource of `ZERO_ADDRESS` means "any" or "none".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

from fairgrid.errors import OrderError
from fairgrid.protocol.hexes import MAX_UINT256, ZERO32, ZERO_ADDRESS, checksum, from_hex, hex32

__all__ = [
    "NULL_DATASET_ORDER",
    "AppOrder",
    "DatasetOrder",
    "Order",
    "RequestOrder",
    "WorkerpoolOrder",
]

_Self = TypeVar("_Self", bound="_OrderBase")


@dataclass(frozen=True, slots=True)
class _OrderBase:
    """What the four orders have in common; ``SOLIDITY_TYPES`` is the signed struct, in its order."""

    KIND: ClassVar[str] = ""
    SOLIDITY_TYPES: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __post_init__(self) -> None:
        for name, solidity_type in self.SOLIDITY_TYPES:
            object.__setattr__(self, name, _normalised(self.KIND, name, solidity_type, getattr(self, name)))
        object.__setattr__(self, "sign", _normalised(self.KIND, "sign", "bytes", self.sign))  # type: ignore[attr-defined]

    def to_wire(self) -> dict[str, Any]:
        """The market's JSON object: numbers as integers, all else as text, ``sign`` last."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_wire(cls: type[_Self], mapping: Mapping[str, Any]) -> _Self:
        """An order from JSON; numbers may also be decimal text, as published clients send them.

        Raises:
            OrderError: a field is missing, unknown or of the wrong form. ``sign`` may be absent.
        """
        if not isinstance(mapping, Mapping):
            raise OrderError(f"A {cls.KIND} order must be a JSON object, not {type(mapping).__name__}.")
        known = [name for name, _ in cls.SOLIDITY_TYPES]
        missing = [name for name in known if name not in mapping]
        unknown = sorted(str(name) for name in mapping if name not in (*known, "sign"))
        if missing:
            raise OrderError(f"The {cls.KIND} order lacks {', '.join(missing)}.")
        if unknown:
            raise OrderError(f"The {cls.KIND} order has unknown field(s) {', '.join(unknown)}: remove them.")
        return cls(**dict(mapping))

    def abi_tuple(self) -> tuple[Any, ...]:
        """The ABI tuple of the order with its signature last: bytes32 and ``sign`` as bytes, addresses as text."""
        return (*self.struct_values(), from_hex(self.sign))  # type: ignore[attr-defined]

    def struct_values(self) -> tuple[Any, ...]:
        """The signed fields in order, without the signature: bytes32 as bytes, addresses as text."""
        return tuple(
            bytes.fromhex(getattr(self, name)[2:]) if solidity_type == "bytes32" else getattr(self, name)
            for name, solidity_type in self.SOLIDITY_TYPES
        )

    def signed(self: _Self, sign: str) -> _Self:
        """The same order with ``sign`` (0x-hex) as its signature.

        Raises:
            OrderError: ``sign`` is not 0x-hex text.
        """
        return replace(self, sign=sign)  # type: ignore[call-arg]


def _normalised(kind: str, name: str, solidity_type: str, value: Any) -> Any:
    try:
        if solidity_type == "address":
            return checksum(value)
        if solidity_type == "bytes32":
            return hex32(value)
        if solidity_type == "bytes":
            return "0x" + from_hex(value).hex()
        if solidity_type == "string":
            return _text(value)
        return _number(value)
    except OrderError as error:
        raise OrderError(f"Field {name} of the {kind} order: {error}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise OrderError(f"{value!r} is not text.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise OrderError("the text has a lone surrogate and is not valid Unicode.") from None
    return value


def _number(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 78:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_UINT256:
        raise OrderError(f"{value!r} is not an unsigned 256-bit number.")
    return value


@dataclass(frozen=True, slots=True)
class AppOrder(_OrderBase):
    """An app owner's offer of ``volume`` runs."""

    KIND: ClassVar[str] = "app"
    SOLIDITY_TYPES: ClassVar[tuple[tuple[str, str], ...]] = (
        ("app", "address"),
        ("appprice", "uint256"),
        ("volume", "uint256"),
        ("tag", "bytes32"),
        ("datasetrestrict", "address"),
        ("workerpoolrestrict", "address"),
        ("requesterrestrict", "address"),
        ("salt", "bytes32"),
    )

    app: str
    appprice: int
    volume: int
    tag: str = ZERO32
    datasetrestrict: str = ZERO_ADDRESS
    workerpoolrestrict: str = ZERO_ADDRESS
    requesterrestrict: str = ZERO_ADDRESS
    salt: str = ZERO32
    sign: str = "0x"


@dataclass(frozen=True, slots=True)
class DatasetOrder(_OrderBase):
    """A dataset owner's offer of ``volume`` uses."""

    KIND: ClassVar[str] = "dataset"
    SOLIDITY_TYPES: ClassVar[tuple[tuple[str, str], ...]] = (
        ("dataset", "address"),
        ("datasetprice", "uint256"),
        ("volume", "uint256"),
        ("tag", "bytes32"),
        ("apprestrict", "address"),
        ("workerpoolrestrict", "address"),
        ("requesterrestrict", "address"),
        ("salt", "bytes32"),
    )

    dataset: str
    datasetprice: int
    volume: int
    tag: str = ZERO32
    apprestrict: str = ZERO_ADDRESS
    workerpoolrestrict: str = ZERO_ADDRESS
    requesterrestrict: str = ZERO_ADDRESS
    salt: str = ZERO32
    sign: str = "0x"


@dataclass(frozen=True, slots=True)
class WorkerpoolOrder(_OrderBase):
    """A pool owner's offer of ``volume`` tasks of one category, at up to ``trust``."""

    KIND: ClassVar[str] = "workerpool"
    SOLIDITY_TYPES: ClassVar[tuple[tuple[str, str], ...]] = (
        ("workerpool", "address"),
        ("workerpoolprice", "uint256"),
        ("volume", "uint256"),
        ("tag", "bytes32"),
        ("category", "uint256"),
        ("trust", "uint256"),
        ("apprestrict", "address"),
        ("datasetrestrict", "address"),
        ("requesterrestrict", "address"),
        ("salt", "bytes32"),
    )

    workerpool: str
    workerpoolprice: int
    volume: int
    tag: str = ZERO32
    category: int = 0
    trust: int = 0
    apprestrict: str = ZERO_ADDRESS
    datasetrestrict: str = ZERO_ADDRESS
    requesterrestrict: str = ZERO_ADDRESS
    salt: str = ZERO32
    sign: str = "0x"


@dataclass(frozen=True, slots=True)
class RequestOrder(_OrderBase):
    """A requester's wish for ``volume`` tasks; ``workerpool`` is a restriction, ``params`` is JSON text."""

    KIND: ClassVar[str] = "request"
    SOLIDITY_TYPES: ClassVar[tuple[tuple[str, str], ...]] = (
        ("app", "address"),
        ("appmaxprice", "uint256"),
        ("dataset", "address"),
        ("datasetmaxprice", "uint256"),
        ("workerpool", "address"),
        ("workerpoolmaxprice", "uint256"),
        ("requester", "address"),
        ("volume", "uint256"),
        ("tag", "bytes32"),
        ("category", "uint256"),
        ("trust", "uint256"),
        ("beneficiary", "address"),
        ("callback", "address"),
        ("params", "string"),
        ("salt", "bytes32"),
    )

    app: str
    appmaxprice: int
    dataset: str
    datasetmaxprice: int
    workerpool: str
    workerpoolmaxprice: int
    requester: str
    volume: int
    tag: str = ZERO32
    category: int = 0
    trust: int = 0
    beneficiary: str = ZERO_ADDRESS
    callback: str = ZERO_ADDRESS
    params: str = ""
    salt: str = ZERO32
    sign: str = "0x"


Order = AppOrder | DatasetOrder | WorkerpoolOrder | RequestOrder

NULL_DATASET_ORDER = DatasetOrder(dataset=ZERO_ADDRESS, datasetprice=0, volume=0)
"""The dataset order of a deal without a dataset; it needs no signature."""
