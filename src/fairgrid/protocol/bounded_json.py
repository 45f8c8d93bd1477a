"""JSON of strangers: the standard parser, but deep nesting is an error before it can exhaust the machine's stack."""

from __future__ import annotations

import json
import re

__all__ = ["MAX_DEPTH", "load_json"]

MAX_DEPTH = 64

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[{]|[\]}]")


def load_json(data: bytes) -> object:
    """The value of UTF-8 JSON text.

    Raises:
        ValueError: it is not JSON, not UTF-8, or nested deeper than `MAX_DEPTH`.
    """
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", data)):
        # A program that raised the interpreter's recursion limit would crash here instead of raising RecursionError.
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    return json.loads(data.decode())
