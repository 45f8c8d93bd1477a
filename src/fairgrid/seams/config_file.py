"""The user's one config file: networks and wallets by name. Comments in it stay, and a reader never sees half of it.

::

    network = "test"            # the network of commands that name none; without it `local`
    wallet = "alice"            # the wallet of commands that name none

    [networks.test]             # the keys of a network file
    name = "test"
    chainId = 134
    …

    [wallets.alice]             # only if its password is not asked for
    password_file = "/secure/alice"

Secrets are never in it: a keystore is a file of its own, its password is asked for, in a file, or in the system's
keyring.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs

from fairgrid.errors import UsageError

__all__ = [
    "Config",
    "check_name",
    "config_file",
    "config_folder",
    "edit_config",
    "is_name",
    "local_directory",
    "read_config",
    "state_folder",
    "with_key",
    "with_table",
    "without_key",
    "without_table",
]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_HEADER: Final = re.compile(r"\s*\[")
_KINDS: Final = ("networks", "wallets")
_FIRST_LINES: Final = "# Networks and wallets of Fairgrid, by name, as `fairgrid network` and `wallet` keep them.\n"


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says. Tables are as written: what they mean is checked where they are used."""

    network: str | None = None
    wallet: str | None = None
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    wallets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def config_folder() -> Path:
    """Where ``config.toml`` and the wallets lie: ``$FAIRGRID_HOME``, or the system's folder for settings."""
    return Path(os.environ.get("FAIRGRID_HOME") or platformdirs.user_config_path("fairgrid"))


def config_file() -> Path:
    """``config.toml`` in `config_folder`; it need not exist."""
    return config_folder() / "config.toml"


def state_folder(network: str) -> Path:
    """Where deals and runs on a named network are kept: below ``$FAIRGRID_HOME``, or the system's folder for data."""
    base = os.environ.get("FAIRGRID_HOME") or platformdirs.user_data_path("fairgrid")
    return Path(base) / "networks" / network


def local_directory() -> Path:
    """The folder of the network `local`: ``$FAIRGRID_DIR`` or ``~/.fairgrid/local``."""
    return Path(os.environ.get("FAIRGRID_DIR") or Path.home() / ".fairgrid" / "local")


def is_name(text: str) -> bool:
    """True if it has the form of a name: lower-case letters, digits and ``-``, at most 40. A path never has, with a
    dot or a slash."""
    return _NAME.fullmatch(text) is not None


def check_name(text: str, what: str, *, taken: Sequence[str] = ()) -> str:
    """``text``, if it can name a ``what``.

    Raises:
        UsageError: it has not the form of a name, or is one of ``taken``, which mean something else.
    """
    if text in taken:
        raise UsageError(f"{text!r} cannot name a {what}: it means something else already. Choose another name.")
    if not is_name(text):
        raise UsageError(
            f"{text!r} cannot name a {what}. A name has lower-case letters, digits and '-', begins with a letter or "
            f"digit, and has at most 40 of them."
        )
    return text


def read_config(path: Path | None = None) -> Config:
    """The config file; a file that is not there says nothing.

    Raises:
        UsageError: it cannot be read, is not TOML, or has something of another form than described above.
    """
    file = path or config_file()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Config()
    except (OSError, ValueError) as error:
        raise UsageError(f"The config file {file} cannot be read ({error}).") from error
    return _config_of(_parsed(text, file), file)


def edit_config(edit: Callable[[str], str], path: Path | None = None) -> Config:
    """Change the file's text, in one step and with nobody else writing; gives what it says then.

    Raises:
        UsageError: it cannot be written, or the changed text would not be a config file: it stays as it was.
    """
    file = path or config_file()
    with _alone(file):
        try:
            old = file.read_text(encoding="utf-8") if file.exists() else _FIRST_LINES
            new = edit(old)
            config = _config_of(_parsed(new, file), file)
            descriptor, partial = tempfile.mkstemp(prefix=".config.", dir=file.parent)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                    opened.write(new)
                    opened.flush()
                    os.fsync(opened.fileno())
                os.replace(partial, file)
            except BaseException:
                os.unlink(partial)
                raise
        except OSError as error:
            raise UsageError(f"The config file {file} cannot be written ({error}).") from error
    return config


def with_table(text: str, kind: str, name: str, values: Mapping[str, Any]) -> str:
    """``text`` with the table ``[kind.name]`` saying ``values``; its old lines are replaced, all others stay.

    Raises:
        UsageError: the text says it in a way that cannot be changed line by line.
    """
    body = "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())
    lines = text.splitlines(keepends=True)
    found = _block(lines, kind, name)
    if found is None:
        before = text if not text or text.endswith("\n") else text + "\n"
        new = f"{before}{'' if not before else chr(10)}[{kind}.{name}]\n{body}"
    else:
        first, end = found
        new = "".join([*lines[: first + 1], body, *lines[end:]])
    return _as_wanted(text, new, lambda document: document.setdefault(kind, {}).update({name: dict(values)}))


def without_table(text: str, kind: str, name: str) -> str:
    """``text`` without the table ``[kind.name]``; comments above it and below it stay.

    Raises:
        UsageError: as `with_table`.
    """

    def remove(document: dict[str, Any]) -> None:
        document.get(kind, {}).pop(name, None)
        if not document.get(kind, {"": ""}):
            document.pop(kind)

    lines = text.splitlines(keepends=True)
    found = _block(lines, kind, name)
    new = text if found is None else "".join(lines[: found[0]] + lines[found[1] :])
    return _as_wanted(text, new, remove)


def with_key(text: str, key: str, value: str) -> str:
    """``text`` with ``key = "value"`` above all tables.

    Raises:
        UsageError: as `with_table`.
    """
    lines = text.splitlines(keepends=True)
    head = next((number for number, line in enumerate(lines) if _HEADER.match(line)), len(lines))
    line = f"{key} = {_toml(value)}\n"
    for number in range(head):
        if re.match(rf"\s*{re.escape(key)}\s*=", lines[number]):
            lines[number] = line
            break
    else:
        lines.insert(_after_comments(lines, head), line)
    return _as_wanted(text, "".join(lines), lambda document: document.update({key: value}))


def without_key(text: str, key: str) -> str:
    """``text`` without ``key`` above all tables.

    Raises:
        UsageError: as `with_table`.
    """
    lines = text.splitlines(keepends=True)
    head = next((number for number, line in enumerate(lines) if _HEADER.match(line)), len(lines))
    kept = [line for line in lines[:head] if not re.match(rf"\s*{re.escape(key)}\s*=", line)]
    return _as_wanted(text, "".join(kept + lines[head:]), lambda document: document.pop(key, None))


def _after_comments(lines: Sequence[str], head: int) -> int:
    """Where a first key goes: after the comment that the file begins with."""
    place = 0
    while place < head and lines[place].lstrip().startswith("#"):
        place += 1
    return place


def _block(lines: Sequence[str], kind: str, name: str) -> tuple[int, int] | None:
    """First line and end of a table. Blank lines and comments before the next table belong to that one."""
    header = re.compile(rf'\s*\[\s*{kind}\s*\.\s*(?:{re.escape(name)}|"{re.escape(name)}")\s*\]\s*(?:#.*)?\s*')
    first = next((number for number, line in enumerate(lines) if header.fullmatch(line)), None)
    if first is None:
        return None
    end = next((number for number in range(first + 1, len(lines)) if _HEADER.match(lines[number])), len(lines))
    while end > first + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return first, end


def _as_wanted(old: str, new: str, change: Callable[[dict[str, Any]], object]) -> str:
    """``new``, if it says what ``old`` says with ``change``: lines are replaced, and TOML is more than lines."""
    try:
        wanted, found = tomllib.loads(old), tomllib.loads(new)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The config file {config_file()} is not TOML ({error}). Correct it by hand.") from error
    change(wanted)
    if wanted != found:
        raise UsageError(
            f"The config file {config_file()} says this in a way that cannot be changed here. Write each network and "
            f"wallet as a table of its own, as in [networks.NAME]."
        )
    return new


def _toml(value: Any) -> str:
    """A value as TOML: text, whole numbers, truth, lists of them."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value)


def _parsed(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The config file {file} is not TOML ({error}). Correct it, or move it away.") from error


def _config_of(document: dict[str, Any], file: Path) -> Config:
    unknown = sorted(document.keys() - {"network", "wallet", *_KINDS})
    if unknown:
        raise UsageError(f"The config file {file} has an unknown key {unknown[0]!r}. It has network, wallet, networks.")
    for key in ("network", "wallet"):
        if not isinstance(document.get(key, ""), str):
            raise UsageError(f"In the config file {file}, {key} must be a name in quotes.")
    for kind in _KINDS:
        tables = document.get(kind, {})
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            raise UsageError(f"In the config file {file}, {kind} must be tables [{kind}.NAME].")
    return Config(
        document.get("network"), document.get("wallet"), document.get("networks", {}), document.get("wallets", {})
    )


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Nobody else edits ``file`` for the time of the block."""
    import fcntl

    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (file.parent / ".config.lock").open("a")
    except OSError as error:
        raise UsageError(f"The config file {file} cannot be written ({error}).") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
