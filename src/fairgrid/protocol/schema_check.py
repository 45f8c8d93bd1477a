"""A part of a JSON Schema as one function that says yes soon: for documents with thousands of parts that are alike.

It never says yes where the schema says no. Where it says no the schema itself is asked, which can say why: so it may be
stricter (a float that is a whole number is none here), and it knows only the words that such parts use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["Check", "compile_check"]

Check = Callable[[Any], bool]
"""True only for values that the schema accepts."""

_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset(("additionalProperties", "minProperties", "properties", "required")),
    "array": frozenset(("items", "maxItems", "minItems")),
    "string": frozenset(("maxLength", "minLength", "pattern")),
    "integer": frozenset(("maximum", "minimum")),
}


def compile_check(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Check:
    """The check of a schema; ``definitions`` are its document's ``$defs``, which may not hold themselves.

    Raises:
        ValueError: it says something with a word that this module does not know.
    """
    words = schema.keys() - {"description"}
    if "$ref" in words:
        if words != {"$ref"}:
            raise ValueError(f"a reference with more beside it: {sorted(words)}")
        return compile_check(definitions[str(schema["$ref"]).removeprefix("#/$defs/")], definitions)
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in _WORDS or words - {"type"} - _WORDS[kind]:
        raise ValueError(f"words of a schema that are not known here: {sorted(words)}")
    if kind == "object":
        parts = {name: compile_check(part, definitions) for name, part in schema["properties"].items()}
        return _object(schema, parts)
    if kind == "array":
        return _array(schema, compile_check(schema["items"], definitions))
    return _string(schema) if kind == "string" else _integer(schema)


def _object(schema: Mapping[str, Any], parts: Mapping[str, Check]) -> Check:
    if schema.get("additionalProperties") is not False:
        raise ValueError("an object that is open")
    required = frozenset(schema.get("required", ()))
    least = schema.get("minProperties", 0)

    def check(value: Any) -> bool:
        if type(value) is not dict or len(value) < least or not required <= value.keys():
            return False
        for name, part in value.items():
            known = parts.get(name)
            if known is None or not known(part):
                return False
        return True

    return check


def _array(schema: Mapping[str, Any], part: Check) -> Check:
    least, most = schema.get("minItems", 0), schema.get("maxItems")

    def check(value: Any) -> bool:
        return (
            type(value) is list
            and len(value) >= least
            and (most is None or len(value) <= most)
            and all(map(part, value))
        )

    return check


def _string(schema: Mapping[str, Any]) -> Check:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    found = re.compile(schema.get("pattern", "")).search

    def check(value: Any) -> bool:
        return (
            type(value) is str
            and len(value) >= least
            and (most is None or len(value) <= most)
            and found(value) is not None
        )

    return check


def _integer(schema: Mapping[str, Any]) -> Check:
    least, most = schema.get("minimum"), schema.get("maximum")

    def check(value: Any) -> bool:
        return type(value) is int and (least is None or value >= least) and (most is None or value <= most)

    return check
