"""What a node may answer to each question: anything else is a node that does not work, and is asked again later.

A node is a stranger, or a machine of one's own with a full disk. An answer of another shape must end nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["MAX_ANSWER_BYTES", "has_shape"]

MAX_ANSWER_BYTES: Final = 64 << 20
"""The largest answer that is read; the events of a full range of blocks are far below."""

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def has_shape(method: str, result: Any) -> bool:
    """True if ``result`` is what this method gives; of methods that are not known everything is."""
    check = _SHAPES.get(method)
    return check is None or check(result)


def _text(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


_quantity, _data, _hash, _address = _text(_QUANTITY), _text(_DATA), _text(_HASH), _text(_ADDRESS)


def _all_of(checks: Mapping[str, Callable[[Any], bool]], value: Any) -> bool:
    return isinstance(value, dict) and all(name in value and check(value[name]) for name, check in checks.items())


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _block(value: Any) -> bool:
    return _all_of({"number": _quantity, "hash": _hash, "parentHash": _hash, "timestamp": _quantity}, value)


def _topics(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 4 and all(_hash(topic) for topic in value)


def _log(value: Any) -> bool:
    return _all_of(
        {
            "address": _address,
            "topics": _topics,
            "data": _data,
            "blockNumber": _quantity,
            "blockHash": _hash,
            "logIndex": _quantity,
            "transactionHash": _hash,
        },
        value,
    )


def _logs(value: Any) -> bool:
    return isinstance(value, list) and all(_log(log) for log in value)


def _receipt(value: Any) -> bool:
    return _all_of(
        {"status": _quantity, "blockNumber": _quantity, "blockHash": _hash, "gasUsed": _quantity, "logs": _logs}, value
    )


_SHAPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "eth_blockNumber": _quantity,
    "eth_call": _data,
    "eth_chainId": _quantity,
    "eth_estimateGas": _quantity,
    "eth_getBalance": _quantity,
    "eth_getBlockByHash": _or_none(_block),
    "eth_getBlockByNumber": _or_none(_block),
    "eth_getCode": _data,
    "eth_getLogs": _logs,
    "eth_getTransactionCount": _quantity,
    "eth_getTransactionReceipt": _or_none(_receipt),
    "eth_maxPriorityFeePerGas": _quantity,
    "eth_sendRawTransaction": _hash,
}
