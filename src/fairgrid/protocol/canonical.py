"""Canonical forms of output files (decision 7): what an app declares to be the same is written the same before hashing.

Closeness is not transitive, so no digest can mean "close enough". A canonicaliser is a function of one file's bytes:
equal after it or not, and applying it again changes nothing. Rounding can still fall apart at an edge: two machines
whose numbers differ by d round a number to steps of u differently with chance d / u. The app's author states that rate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any, Final

import rfc8785

from fairgrid.errors import UsageError
from fairgrid.protocol.bounded_json import load_json

__all__ = [
    "MAX_CANONICAL_BYTES",
    "CanonicalRule",
    "NotCanonical",
    "canonical_bytes",
    "edge_failure_rate",
    "read_rule",
    "rule_from_wire",
    "rules_for",
]

MAX_CANONICAL_BYTES: Final = 64 << 20
"""A larger file has no canonical form."""
_MAX_EXPONENT: Final = 400
_KINDS: Final = ("json", "round", "rows")
_NUMBER = re.compile(rb"(?<![\w.+-])[+-]?(?:\d+\.\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)(?![\w.])")


class NotCanonical(UsageError):
    """The file has no canonical form of this kind; the text says why, the same on every machine."""


@dataclass(frozen=True, slots=True)
class CanonicalRule:
    """One rule: which files of the result, and what is done to them.

    ``json``: RFC 8785. ``rows``: lines in byte order below ``header`` lines that stay, each ended by one line feed and
    no carriage return.
    ``round``: every number with a point or an exponent is rounded to ``decimals`` decimals, or to ``digits``
    significant digits, half to even; whole numbers stay.
    """

    kind: str
    paths: tuple[str, ...]
    header: int = 0
    decimals: int | None = None
    digits: int | None = None
    edge_failures_per_million: int = 0
    """How often of a million results two honest machines differ all the same, as the app's author states it."""

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        wire: dict[str, Any] = {"kind": self.kind, "paths": list(self.paths)}
        if self.kind == "rows" and self.header:
            wire["header"] = self.header
        if self.kind == "round":
            wire["edgeFailuresPerMillion"] = self.edge_failures_per_million
            if self.digits is not None:
                wire["digits"] = self.digits
            else:
                wire["decimals"] = self.decimals or 0
        return wire


def rule_from_wire(wire: Mapping[str, Any]) -> CanonicalRule:
    """Read a rule that the manifest's schema took."""
    return CanonicalRule(
        kind=wire["kind"],
        paths=tuple(wire["paths"]),
        header=wire.get("header", 0),
        decimals=wire.get("decimals"),
        digits=wire.get("digits"),
        edge_failures_per_million=wire.get("edgeFailuresPerMillion", 0),
    )


def read_rule(text: str) -> CanonicalRule:
    """A rule as people write it: ``json:*.json``, ``rows:out.csv:header=1``, ``round:*.csv:decimals=6:edge=3``.

    Raises:
        UsageError: it is not one.
    """
    kind, _, rest = text.partition(":")
    path, *options = rest.split(":")
    example = "such as json:*.json, rows:out.csv:header=1 or round:*.csv:decimals=6:edge=3"
    if kind not in _KINDS or not path:
        raise UsageError(f"{text!r} is no canonical form; give a kind ({', '.join(_KINDS)}) and a file, {example}.")
    values: dict[str, int] = {}
    for option in options:
        name, _, value = option.partition("=")
        if not value.isascii() or not value.isdigit() or name in values:
            raise UsageError(f"{option!r} in {text!r} is no option with a whole number; give one {example}.")
        values[name] = int(value)
    known = {"json": set(), "rows": {"header"}, "round": {"decimals", "digits", "edge"}}[kind]
    if set(values) - known:
        raise UsageError(f"{kind} has no option {min(set(values) - known)!r}; it has {sorted(known) or 'none'}.")
    if kind == "round" and ("decimals" in values) == ("digits" in values):
        raise UsageError(f"{text!r} must say how far to round: decimals or digits, and edge failures per million.")
    if kind == "round" and "edge" not in values:
        raise UsageError(
            f"{text!r} must state its edge failures per million (edge=N): how often two honest machines differ anyway. "
            f"With noise d in a number and steps of u it is a million times d / u for each number."
        )
    return CanonicalRule(
        kind, (path,), values.get("header", 0), values.get("decimals"), values.get("digits"), values.get("edge", 0)
    )


def rules_for(path: str, rules: tuple[CanonicalRule, ...]) -> tuple[CanonicalRule, ...]:
    """The rules for a file of the result, in order. ``*`` in a path stands for any characters, ``/`` included."""
    return tuple(rule for rule in rules if any(fnmatchcase(path, pattern) for pattern in rule.paths))


def canonical_bytes(content: bytes, rule: CanonicalRule) -> bytes:
    """The canonical form of a file's content; applying it again changes nothing.

    Raises:
        NotCanonical: the content has none.
    """
    if len(content) > MAX_CANONICAL_BYTES:
        raise NotCanonical(f"it is larger than {MAX_CANONICAL_BYTES} bytes")
    if rule.kind == "json":
        return _json(content)
    if rule.kind == "rows":
        return _rows(content, rule.header)
    return _NUMBER.sub(lambda found: _rounded(found[0], rule), content)


def edge_failure_rate(noise: float, step: float, numbers: int) -> float:
    """How likely one of ``numbers`` values, that differ by ``noise`` between machines, rounds to another ``step``.

    1 - (1 - noise/step)^numbers, for values that lie anywhere between the steps.
    """
    return 1.0 - (1.0 - min(noise / step, 1.0)) ** numbers


def _json(content: bytes) -> bytes:
    try:
        return rfc8785.dumps(_exact(load_json(content)))
    except (ValueError, RecursionError, rfc8785.CanonicalizationError):
        # The library's words may change with its version; these are part of a result.
        raise NotCanonical("it is not JSON with numbers that every reader keeps") from None


def _exact(value: Any) -> Any:
    """The value with whole numbers beyond 2^53 as the floats that they are, or are printed as; others have no form."""
    if isinstance(value, dict):
        return {key: _exact(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_exact(inner) for inner in value]
    if isinstance(value, int) and abs(value) >= 1 << 53:
        nearest = float(value) if abs(value) < 1 << 1023 else 0.0
        if int(nearest) != value and rfc8785.dumps(nearest) != str(value).encode():
            raise ValueError
        return nearest
    return value


def _rows(content: bytes, header: int) -> bytes:
    lines = [line.rstrip(b"\r") for line in content.split(b"\n")]
    if lines and not lines[-1]:
        lines.pop()
    lines = lines[:header] + sorted(lines[header:])
    return b"".join(line + b"\n" for line in lines)


def _rounded(token: bytes, rule: CanonicalRule) -> bytes:
    try:
        value = Decimal(token.decode("ascii"))
    except InvalidOperation:
        return token
    if not value.is_finite() or (value and abs(value.adjusted()) > _MAX_EXPONENT):
        return token
    context = Context(prec=2 * _MAX_EXPONENT, rounding=ROUND_HALF_EVEN)
    if rule.digits is not None:
        rounded = Context(prec=rule.digits, rounding=ROUND_HALF_EVEN).plus(value)
        point = "." if rule.digits > 1 else ""
        zero = f"0{point}{'0' * (rule.digits - 1)}e+0"
        return (f"{rounded:.{rule.digits - 1}e}" if rounded else zero).encode("ascii")
    rounded = value.quantize(Decimal(1).scaleb(-(rule.decimals or 0)), context=context)
    return f"{rounded if rounded else abs(rounded):f}".encode("ascii")
