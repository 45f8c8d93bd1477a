"""ABI of our contracts: encode calls, decode answers and logs, in the text forms that this package uses.

bytes32 is lower-case 0x-hex text, addresses are EIP-55 text, `bytes` are bytes, integers are ints, tuples are tuples.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError

from fairgrid.chain.artifacts import NAMES, artifact
from fairgrid.errors import FairgridError, UsageError
from fairgrid.protocol.hexes import checksum, from_hex, keccak, to_hex

__all__ = ["CONTRACTS", "Abi", "Entry", "contract_abi"]

CONTRACTS = (
    "hub",
    "app_registry",
    "dataset_registry",
    "workerpool_registry",
    "app",
    "dataset",
    "workerpool",
    "rlc",
    "role_account",
    "role_accounts",
    "deposit_address",
    "deposit_addresses",
    "group",
    "groups",
)
"""Contracts by the name that `Call.contract` uses, the hub first."""

_ARRAY = re.compile(r"(.*)\[\d*\]$")


@dataclass(frozen=True, slots=True)
class Entry:
    """A function, event or error of an ABI."""

    name: str
    signature: str
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...] = ()

    @property
    def topic(self) -> str:
        """keccak256 of the signature: an event's first topic."""
        return to_hex(keccak(self.signature.encode()))

    @property
    def selector(self) -> bytes:
        """The first four bytes of it: how a function or an error is called."""
        return keccak(self.signature.encode())[:4]

    @property
    def indexed(self) -> int:
        """How many arguments of an event are topics."""
        return sum(1 for parameter in self.inputs if parameter.get("indexed"))


class Abi:
    """One contract's ABI."""

    def __init__(self, contract: str, entries: Iterable[dict[str, Any]]) -> None:
        self.contract = contract
        self.functions: dict[str, Entry] = {}
        self.events: dict[tuple[str, int], Entry] = {}
        self.errors: dict[bytes, Entry] = {}
        for description in entries:
            kind = description.get("type", "function")
            if kind not in ("function", "event", "error"):
                continue
            inputs = tuple(description.get("inputs", ()))
            signature = f"{description['name']}({','.join(_type_of(parameter) for parameter in inputs)})"
            entry = Entry(description["name"], signature, inputs, tuple(description.get("outputs", ())))
            if kind == "function":
                self.functions.setdefault(entry.name, entry)
                self.functions[signature] = entry
            elif kind == "event":
                self.events[entry.topic, entry.indexed] = entry
            else:
                self.errors[entry.selector] = entry

    def function(self, name: str) -> Entry:
        """A function by name, or by signature where it is overloaded.

        Raises:
            UsageError: the contract has no such function.
        """
        try:
            return self.functions[name]
        except KeyError:
            raise UsageError(f"The contract {self.contract} has no function {name}.") from None

    def encode_call(self, name: str, arguments: Sequence[Any]) -> bytes:
        """Selector and arguments.

        Raises:
            UsageError: no such function, or an argument does not fit its type.
        """
        function = self.function(name)
        if len(arguments) != len(function.inputs):
            raise UsageError(f"{name} takes {len(function.inputs)} argument(s), not {len(arguments)}.")
        try:
            values = [_to_abi(_type_of(p), p, value) for p, value in zip(function.inputs, arguments, strict=True)]
            return function.selector + encode([_type_of(parameter) for parameter in function.inputs], values)
        except (EncodingError, FairgridError, TypeError, ValueError) as error:
            raise UsageError(f"The arguments of {function.signature} do not fit: {error}") from error

    def canonical_arguments(self, name: str, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments as the contract gets them, in this package's forms.

        Raises:
            UsageError: as `encode_call`.
        """
        data = self.encode_call(name, arguments)
        return decode_values(self.function(name).inputs, data[4:], f"the arguments of {name}")

    def decode_answer(self, name: str, data: bytes) -> tuple[Any, ...]:
        """What a call of ``name`` answered, one value an output.

        Raises:
            UsageError: it is not an answer of this function.
        """
        function = self.function(name)
        return decode_values(function.outputs, data, f"the answer of {self.contract}.{name}")


def decode_values(parameters: Sequence[dict[str, Any]], data: bytes, what: str) -> tuple[Any, ...]:
    """ABI-encoded ``data`` as values in this package's forms.

    Raises:
        UsageError: it does not fit; ``what`` names it in the message.
    """
    try:
        values = decode([_type_of(parameter) for parameter in parameters], data)
    except (DecodingError, OverflowError, ValueError) as error:
        raise UsageError(f"Cannot read {what} ({error}). Is another contract at that address?") from error
    return tuple(_from_abi(_type_of(p), p, value) for p, value in zip(parameters, values, strict=True))


@cache
def contract_abi(name: str) -> Abi:
    """The ABI of a contract by its name in the artifacts.

    Raises:
        UsageError: there is no such contract.
    """
    try:
        return Abi(name, artifact(name).abi)
    except KeyError:
        raise UsageError(f"There is no contract {name}: its name is one of {', '.join(NAMES)}.") from None


def _type_of(parameter: dict[str, Any]) -> str:
    kind: str = parameter["type"]
    if kind.startswith("tuple"):
        inner = ",".join(_type_of(component) for component in parameter["components"])
        return f"({inner}){kind.removeprefix('tuple')}"
    return kind


def _to_abi(kind: str, parameter: dict[str, Any], value: Any) -> Any:
    array = _ARRAY.match(kind)
    if array is not None:
        return [_to_abi(array.group(1), _element(parameter), item) for item in value]
    if kind.startswith("("):
        components = parameter["components"]
        if len(value) != len(components):
            raise ValueError(f"{parameter.get('name')} has {len(components)} fields, not {len(value)}")
        return tuple(_to_abi(_type_of(c), c, item) for c, item in zip(components, value, strict=True))
    if kind.startswith("bytes"):
        data = from_hex(value) if isinstance(value, str) else bytes(value)
        if kind != "bytes" and len(data) != int(kind.removeprefix("bytes")):
            raise ValueError(f"{parameter.get('name')} is {kind}, not {len(data)} bytes")  # the codec would fill it up
        return data
    if kind == "address":
        return checksum(value)
    if kind.startswith(("uint", "int")):
        return int(value)
    return value


def _from_abi(kind: str, parameter: dict[str, Any], value: Any) -> Any:
    array = _ARRAY.match(kind)
    if array is not None:
        return tuple(_from_abi(array.group(1), _element(parameter), item) for item in value)
    if kind.startswith("("):
        return tuple(_from_abi(_type_of(c), c, item) for c, item in zip(parameter["components"], value, strict=True))
    if kind.startswith("bytes") and kind != "bytes":
        return to_hex(value)
    if kind == "address":
        return checksum(value)
    return value


def _element(parameter: dict[str, Any]) -> dict[str, Any]:
    """The description of an array's elements."""
    return {**parameter, "type": parameter["type"].rpartition("[")[0]}
