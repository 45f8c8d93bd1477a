"""`pool.toml`: what the processes of a pool are started with, what the pool offers, and its policy, in one file."""

from __future__ import annotations

import ast
import inspect
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Final

from fairgrid.errors import OrderError, UsageError
from fairgrid.pool.core.policy import Policy, changed_policy
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum

__all__ = ["POOL_FILE", "Offer", "PoolFile", "Start", "load_pool_file", "policy_keys", "pool_toml"]

POOL_FILE: Final = "pool.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a process of the pool is started with; the flags of `fairgrid pool start` win."""

    network: str = ""
    """The network file, or a folder with network.json; relative to this file."""
    host: str = "127.0.0.1"
    """Address to listen on. 127.0.0.1 is reachable from this machine only, 0.0.0.0 is for all."""
    port: int = 0
    """Port to listen on; 0 takes a free one."""
    public_url: str = ""
    """The URL under which workers, clients and other processes reach this one; empty: host and port."""
    database: str = ""
    """postgresql://USER@HOST/NAME, or a path for SQLite; empty: pool.db beside this file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the pool sells: an order that is kept on the market while the pool runs and is not drained."""

    price_nrlc: int
    """Price of one task, in nRLC (1 RLC is 1,000,000,000)."""
    category: int = 0
    """Category of the hub: how long a task may take."""
    trust: int = 1_000_000
    """The highest trust that a deal may ask."""
    volume: int = 1_000
    """Tasks of one order; the owner's deposit must cover 30 % of price times volume. A used one is followed by the
    next."""
    app: str = ZERO_ADDRESS
    """Only this app, or the apps of this group; the zero address: any."""
    dataset: str = ZERO_ADDRESS
    """Only this data set, or those of this group."""
    requester: str = ZERO_ADDRESS
    """Only this requester, or the members of this group (ERC-734): a private pool."""
    batch_lane: bool = True
    """Take bags in the batch lane, too."""

    def __post_init__(self) -> None:
        for name in ("price_nrlc", "category", "trust"):
            if getattr(self, name) < 0:
                raise UsageError(f"The offer's {name} is {getattr(self, name)}; it cannot be negative.")
        if self.volume < 1:
            raise UsageError("The offer's volume must be at least 1.")


@dataclass(frozen=True, slots=True)
class PoolFile:
    """The whole file. ``offer`` None: nothing is put on the market by the pool itself."""

    start: Start
    offer: Offer | None
    policy: Policy


def load_pool_file(path: Path) -> PoolFile:
    """Read a `pool.toml`; paths in it become absolute.

    Raises:
        UsageError: it is not there, cannot be read, or a key of it is unknown or cannot be.
    """
    document = _document(path)
    for name in document:
        if name not in ("start", "offer", "policy"):
            raise UsageError(f"{path} has an unknown table {name!r}. There are [start], [offer] and [policy].")
    start = Start(**_values(Start, document.get("start", {}), f"[start] of {path}"))
    places = {
        name: str((path.parent / value).resolve())
        for name in ("network", "database")
        if (value := getattr(start, name)) and "://" not in value
    }
    offer = None
    if "offer" in document:
        given = _values(Offer, document["offer"], f"[offer] of {path}")
        if "price_nrlc" not in given:
            raise UsageError(f"[offer] of {path} lacks price_nrlc. Name a price, or take the table away.")
        offer = Offer(**given)
    policy = changed_policy(Policy(), policy_keys(path), source=f"[policy] of {path}")
    return PoolFile(_with(start, places), offer, policy)


def policy_keys(path: Path) -> dict[str, Any]:
    """The keys of a policy file, or of the ``[policy]`` of a `pool.toml`; they are not checked.

    Raises:
        UsageError: it cannot be read, or is not TOML.
    """
    document = _document(path)
    keys = document.get("policy", {}) if {"start", "offer", "policy"} & set(document) else document
    if not isinstance(keys, dict):
        raise UsageError(f"In {path}, policy must be a table: write [policy] above its keys.")
    return keys


def pool_toml(start: Mapping[str, Any], offer: Mapping[str, Any]) -> str:
    """A new `pool.toml`: what is given, and every other key with its default and what it means, as a comment.

    An empty ``offer`` leaves the whole table a comment.
    """
    lines = [
        "# A pool of Fairgrid. `fairgrid pool start --dir FOLDER` reads it at each start; `fairgrid pool policy check`",
        "# checks it. A line that begins with # is a default. Flags of `pool start` win over [start]; what operators",
        "# set while the pool runs (`fairgrid pool policy set`) wins over [policy], until it is unset.",
        "",
        "[start]",
        *_table(Start, start),
        "",
        "# What the pool sells. The price counts for deals that are made from then on.",
        "[offer]" if offer else "# [offer]",
        *_table(Offer, offer),
        "",
        "# How the pool works. `fairgrid pool policy set KEY=VALUE` changes a key without a restart.",
        "[policy]",
        *_table(Policy, {}),
    ]
    return "\n".join(lines) + "\n"


def _table(kind: type[Any], given: Mapping[str, Any]) -> list[str]:
    help_of = _explained(kind)
    lines: list[str] = []
    for field in fields(kind):
        lines.append("")
        lines += textwrap.wrap(
            help_of[field.name], 118, initial_indent="# ", subsequent_indent="# ", break_long_words=False
        )
        if field.name in given:
            lines.append(f"{field.name} = {_toml(given[field.name])}")
        elif field.name == "app_labels":
            lines.append('# app_labels = { "0xAPP" = ["gpu", "lab-2"] }')
        else:
            default = 0 if field.default is MISSING else field.default
            lines.append(f"# {field.name} = {_toml(default)}")
    return lines


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)


def _explained(kind: type[Any]) -> dict[str, str]:
    """What each field of a dataclass means: the text below it in the source."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        name = ""
        for node in body.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
                found.setdefault(name, "")
            elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                found[name] = " ".join(str(node.value.value).replace("``", "").split())
                name = ""
    return found


def _values(kind: type[Any], table: object, source: str) -> dict[str, Any]:
    known = {field.name: field for field in fields(kind)}
    if not isinstance(table, dict):
        raise UsageError(f"{source} must be a table.")
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name not in known:
            raise UsageError(f"{source} has an unknown key {name!r}. Known keys: {', '.join(known)}.")
        wanted = {"str": str, "int": int, "bool": bool}[str(known[name].type)]
        if type(value) is not wanted:
            word = {str: "a text in quotes", int: "a whole number", bool: "true or false"}[wanted]
            raise UsageError(f"In {source}, {name} must be {word}.")
        if name in ("app", "dataset", "requester"):
            try:
                value = checksum(str(value))
            except OrderError as error:
                raise UsageError(f"In {source}, {name} names no address: {error}") from error
        found[name] = value
    return found


def _with(start: Start, changes: Mapping[str, str]) -> Start:
    return Start(**{field.name: changes.get(field.name, getattr(start, field.name)) for field in fields(Start)})


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}. `fairgrid pool init` writes a pool.toml.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}). Mend it; it is TOML.") from error
