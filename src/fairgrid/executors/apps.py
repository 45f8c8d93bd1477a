"""Published apps as functions of an executor: texts and files go in, the files of a verified result come back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fairgrid.errors import CannotTravel, OrderError, UsageError
from fairgrid.executors.backend import AppProgram
from fairgrid.executors.guest.values import File
from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.paths import path_fault
from fairgrid.protocol.terminal import sanitise_terminal

if TYPE_CHECKING:
    from fairgrid.executors.calls import Call

__all__ = ["App", "AppCall", "AppResult", "AppResults", "name_clash", "read_app_call", "write_app_call"]

_STDOUT: Final = "stdout.txt"


class App:
    """A published app, for any executor on its network: ``executor.submit(App("0x…"), "--gap", 5, File("a.fasta"))``.

    Texts and numbers are arguments of the program, in their order; a `File` or a path is an input of its name, and no
    argument. Lists and tuples of these count as what they hold. One call is one task, which costs the app's price and
    the pool's, and its result is an `AppResult`. ``seconds`` is about how long one call computes, for quotes.

    Raises:
        UsageError: this is no address, or no time.
    """

    def __init__(self, address: str, *, seconds: float = 0.0) -> None:
        try:
            self.address = checksum(address)
        except OrderError as error:
            raise UsageError(f"{address!r} is no address of an app: {error}") from error
        if seconds < 0:
            raise UsageError(f"A call cannot take {seconds} seconds. Give 0 or more.")
        self.__fairgrid_seconds__ = seconds
        self.__name__ = self.__qualname__ = f"App({self.address!r})"

    def __call__(self, *arguments: Any) -> AppResult:
        """It cannot be called here.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"The app {self.address} runs on the network that it is published on: give it to the submit or map of a "
            f"fairgrid.Executor there. `fairgrid run --app` does the same from a shell."
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, App) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return self.__name__


class AppResult(Mapping[str, File]):
    """The verified files of one task by their paths in ``folder``: ``result["words.csv"].read_text()``.

    They lie in the run's folder: `save` what you keep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        self._files = {path.relative_to(folder).as_posix(): path for path in found}

    def __getitem__(self, name: str) -> File:
        try:
            return File(self._files[name])
        except KeyError:
            raise KeyError(f"{name!r} is no file of this result; it has {', '.join(self._files) or 'none'}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AppResult) and other.folder == self.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    def __repr__(self) -> str:
        return f"AppResult({', '.join(self._files)})"

    @property
    def stdout(self) -> str:
        """What the program printed, without what commands a terminal."""
        file = self._files.get(_STDOUT)
        return "" if file is None else sanitise_terminal(file.read_bytes().decode("utf-8", "replace"))

    def save(self, place: str | os.PathLike[str]) -> Path:
        """Copy all files into a folder, which is made if need be, under their paths; gives the folder."""
        target = Path(place)
        target.mkdir(parents=True, exist_ok=True)
        for name in self:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            self[name].save(target / name)
        return target


class AppResults:
    """The result of one task of an app, in ``folder``; as `fairgrid.executors.results.TaskResults` for Python calls."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, count: int) -> list[bytes]:
        """Its files say all."""
        return [b""] * count

    def ending(self, line: bytes, call: Call) -> tuple[Any, BaseException | None]:
        """The files."""
        return AppResult(self._folder), None


@dataclass(frozen=True, slots=True)
class AppCall:
    """One call of an app, as its line says it."""

    arguments: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    """The name that the program sees, and the name by which the content is kept."""


def write_app_call(
    app: App,
    arguments: Iterable[Any],
    keywords: Mapping[str, Any],
    keep: Callable[[File, str], tuple[str, int]],
) -> tuple[str, dict[str, int]]:
    """A call as JSON, and the size of each file that it needs by the name of its content.

    Raises:
        CannotTravel: something in it is neither text nor file, or two files have one name.
        NotAValue: a file cannot be kept.
    """
    if keywords:
        raise CannotTravel(
            f"The argument {next(iter(keywords))!r} of {app}",
            "has a name, and a program has none",
            "Give '--name', value.",
        )
    texts: list[str] = []
    files: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for number, value in enumerate(_flat(arguments), 1):
        what = f"argument {number}"
        if isinstance(value, os.PathLike):
            file = value if isinstance(value, File) else File(value)
            fault = path_fault(file.name) or ("another file has it, too" if file.name in files else None)
            if fault is not None or "/" in file.name:
                raise CannotTravel(f"The file {file.name!r} of {app}", f"cannot have this name: {fault}", "Rename it.")
            content, size = keep(file, what)
            files[file.name], sizes[content] = content, size
        elif isinstance(value, str | int | float | Decimal) and not isinstance(value, bool) and "\0" not in str(value):
            texts.append(str(value))
        else:
            raise CannotTravel(
                f"{what.capitalize()} of {app}, {value!r:.60},",
                "is no text, number or file",
                "Give what the program reads: texts, numbers, fairgrid.File.",
            )
    document = {"app": app.address, "bundle": "", "arguments": texts, "files": sorted(files.items())}
    return json.dumps(document, separators=(",", ":")), sizes


def read_app_call(line: str) -> AppCall:
    """A call by its line."""
    document: Any = json.loads(line.split("\t", 1)[1])
    return AppCall(tuple(document["arguments"]), tuple((name, content) for name, content in document["files"]))


def name_clash(call: Call, program: AppProgram) -> UsageError | None:
    """The error of a call that brings a file under the name of one of the app's own; None if it brings none."""
    own = {path.name for path in program.inputs}
    taken = next((name for name, _ in read_app_call(call.line).files if name in own), None)
    if taken is None:
        return None
    return UsageError(
        f"The app {program.address} has a file {taken} of its own, and this call brings another of that name. Nothing "
        f"was signed for it. Give fairgrid.File(path, 'another name')."
    )


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value
