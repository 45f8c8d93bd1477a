"""Frames of strangers: valid messages, broken in every way that a program or a mean person breaks them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

__all__ = ["hostile_frames"]

_SENSELESS: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**63,
    10**400,
    1e308,
    "",
    "\x00",
    "0x",
    "0x" + "00" * 31,
    "0X" + "00" * 32,
    "x" * 600,
    [],
    {},
    [[[[]]]],
    {"kind": "ready"},
    "\ud83d\ude00",
    "../../etc/passwd",
    "'; DROP TABLE pool_task; --",
)


def hostile_frames(valid: list[dict[str, Any]], rng: random.Random, count: int) -> list[str]:
    """``count`` frames, each made of one of the ``valid`` messages; some are still valid, and senseless."""
    return [rng.choice(_WAYS)(dict(rng.choice(valid)), rng) for _ in range(count)]


def _without_a_field(message: dict[str, Any], rng: random.Random) -> str:
    message.pop(rng.choice(sorted(message)))
    return json.dumps(message)


def _with_a_senseless_value(message: dict[str, Any], rng: random.Random) -> str:
    message[rng.choice(sorted(message))] = rng.choice(_SENSELESS)
    return json.dumps(message)


def _with_a_stranger_field(message: dict[str, Any], rng: random.Random) -> str:
    return json.dumps(message | {rng.choice(("admin", "__class__", "", "x" * 300)): rng.choice(_SENSELESS)})


def _of_another_kind(message: dict[str, Any], rng: random.Random) -> str:
    kinds = ("enrol", "ready", "heartbeat", "seal", "opening", "uploaded", "welcome", "challenge", "authorisation", "?")
    return json.dumps(message | {"kind": rng.choice(kinds)})


def _cut_short(message: dict[str, Any], rng: random.Random) -> str:
    text = json.dumps(message)
    return text[: rng.randrange(len(text))]


def _with_a_bad_character(message: dict[str, Any], rng: random.Random) -> str:
    text = json.dumps(message)
    place = rng.randrange(len(text))
    return text[:place] + rng.choice('{}[]",:\\0aé\u202e') + text[place + 1 :]


def _deep(_message: dict[str, Any], rng: random.Random) -> str:
    return "[" * rng.randint(200, 30_000)


def _twice_the_same_key(message: dict[str, Any], _rng: random.Random) -> str:
    return json.dumps(message)[:-1] + ', "kind": "heartbeat"}'


def _noise(_message: dict[str, Any], rng: random.Random) -> str:
    return "".join(chr(rng.randrange(1, 0xD7FF)) for _ in range(rng.randint(0, 2_000)))


def _as_it_is(message: dict[str, Any], _rng: random.Random) -> str:
    return json.dumps(message)


_WAYS: tuple[Callable[[dict[str, Any], random.Random], str], ...] = (
    _without_a_field,
    _with_a_senseless_value,
    _with_a_senseless_value,
    _with_a_stranger_field,
    _of_another_kind,
    _cut_short,
    _with_a_bad_character,
    _deep,
    _twice_the_same_key,
    _noise,
    _as_it_is,
)
