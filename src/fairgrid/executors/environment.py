"""Declared packages: pure Python wheels of a folder, or installed packages, which travel by content with a run's calls.

Nothing is fetched: what is not there is told, with the command that brings it.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path, PurePosixPath
from typing import Final

from packaging.markers import InvalidMarker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from fairgrid.errors import CannotTravel, UsageError
from fairgrid.executors.obstacles import COMPILED_SUFFIXES

__all__ = ["Environment", "Wheel", "resolve_environment", "wheel_of"]

_GUEST: Final = {
    "python_version": "3.12",
    "python_full_version": "3.12.0",
    "sys_platform": "wasi",
    "os_name": "posix",
    "platform_system": "wasi",
    "platform_machine": "wasm32",
    "implementation_name": "cpython",
    "extra": "",
}
"""What markers of requirements are answered with."""
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})(?=\s|$)")
_LEFT_OUT: Final = frozenset(("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"))
_WHAT: Final = "The environment"


@dataclass(frozen=True, slots=True)
class Wheel:
    """One package as a zip file that Python imports from. ``name`` is that of its file, by its content."""

    distribution: str
    version: str
    content: bytes
    packages: frozenset[str]
    """Top names of its modules."""

    @property
    def digest(self) -> str:
        """SHA-256 of its file, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def name(self) -> str:
        """Of its file among the inputs of a task."""
        return f"wheel-{self.digest}.whl"


@dataclass(frozen=True, slots=True)
class Environment:
    """What calls find besides the runtime."""

    wheels: tuple[Wheel, ...] = ()

    @property
    def packages(self) -> frozenset[str]:
        """Top names of all modules."""
        return frozenset().union(*(wheel.packages for wheel in self.wheels))

    @property
    def lock(self) -> str:
        """A requirements file that means exactly these wheels, one a line, in the order of their names."""
        return "".join(
            sorted(f"{wheel.distribution}=={wheel.version} --hash=sha256:{wheel.digest}\n" for wheel in self.wheels)
        )

    @property
    def lock_hash(self) -> str:
        """``sha256:`` and the SHA-256 of `lock`: the same for the same wheels anywhere; empty without wheels."""
        return f"sha256:{hashlib.sha256(self.lock.encode()).hexdigest()}" if self.wheels else ""

    @property
    def lock_name(self) -> str:
        """Of the lock's file among the inputs of a task: the manifest that lists it commits to the hash."""
        return f"environment-{self.lock_hash.removeprefix('sha256:')}.lock"

    def save(self, folder: str | Path) -> Path:
        """Write the wheels and their lock, ``environment.lock``, into a folder; gives the lock's path.

        On any machine ``Executor(environment=that lock, wheelhouse=folder)`` has the same environment.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        for wheel in self.wheels:
            (place / f"{wheel.distribution.replace('-', '_')}-{wheel.version}-py3-none-any.whl").write_bytes(
                wheel.content
            )
        lock = place / "environment.lock"
        lock.write_text(self.lock, encoding="utf-8")
        return lock


@dataclass(frozen=True, slots=True)
class _Wanted:
    requirement: Requirement
    hashes: frozenset[str]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)


def resolve_environment(
    declared: str | Path | Sequence[str], *, wheelhouse: str | Path | None = None, provided: Set[str] = frozenset()
) -> Environment:
    """The wheels of a requirements file, or of a list of its lines.

    Each is taken from the folder ``wheelhouse`` if one is given, else from the packages that are installed here, whose
    files must be those of their installation; it must have one of the hashes of its line, if there are any. An
    installed package has the hash that `Environment.lock` tells. ``provided`` are the packages that the runtime has:
    they need not be declared.

    Raises:
        UsageError: the file or a line cannot be read.
        CannotTravel: a package is missing, is not pure Python, was changed, or needs one that was not declared.
    """
    there = {canonicalize_name({"sklearn": "scikit-learn"}.get(name, name)) for name in provided}
    wanted = [one for one in _read(declared) if one.name not in there]
    names = there | {one.name for one in wanted}
    wheels = []
    for one in wanted:
        wheel = _from_folder(one, Path(wheelhouse)) if wheelhouse is not None else _from_installed(one)
        _check_metadata(wheel, one, names)
        wheels.append(wheel)
    return Environment(tuple(wheels))


def _read(declared: str | Path | Sequence[str]) -> Iterator[_Wanted]:
    if isinstance(declared, str | Path):
        try:
            text = Path(declared).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"The requirements {declared} cannot be read ({error}). Name a file, or give a list."
            ) from error
        lines: Iterable[str] = text.replace("\\\n", " ").splitlines()
    else:
        lines = declared
    for line in lines:
        plain = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not plain:
            continue
        hashes = frozenset(_HASH.findall(plain))
        try:
            requirement = Requirement(_HASH.sub("", plain).strip())
        except InvalidRequirement as error:
            raise UsageError(
                f"{plain!r:.200} is no requirement such as attrs==24.2.0 ({str(error).splitlines()[0]}). Options of "
                f"pip count for nothing here: nothing is fetched."
            ) from None
        if requirement.url is not None:
            raise UsageError(
                f"{plain!r:.200} names an address, and nothing is fetched. Put its wheel into a wheelhouse."
            )
        if requirement.marker is None or requirement.marker.evaluate(_GUEST):
            yield _Wanted(requirement, hashes)


def _from_folder(wanted: _Wanted, folder: Path) -> Wheel:
    found: list[tuple[Version, Path, bool]] = []
    for path in sorted(folder.glob("*.whl")):
        try:
            name, version, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if name == wanted.name and wanted.requirement.specifier.contains(version, prereleases=True):
            pure = any(tag.platform == "any" and tag.abi == "none" and tag.interpreter.startswith("py") for tag in tags)
            found.append((version, path, pure))
    if not found:
        raise CannotTravel(
            _WHAT,
            f"needs {wanted.requirement}, and {folder} has no wheel of it",
            f"Bring it: pip download --no-deps --only-binary=:all: -d {folder} '{wanted.requirement}'.",
        )
    pure_ones = [(version, path) for version, path, pure in found if pure]
    if not pure_ones:
        raise _compiled(wanted.name, found[0][1].name)
    version, path = max(pure_ones)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if wanted.hashes and digest not in wanted.hashes:
        raise CannotTravel(
            _WHAT, f"asks for another {path.name}: its SHA-256 is {digest}", "Get the right file, or correct the hash."
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise CannotTravel(_WHAT, f"cannot use {path.name}, which is no wheel ({error})", "Get it again.") from None
    if compiled := next((name for name in names if name.endswith(COMPILED_SUFFIXES)), None):
        raise _compiled(wanted.name, compiled)
    return Wheel(wanted.name, str(version), content, _top_names(names))


def _from_installed(wanted: _Wanted) -> Wheel:
    try:
        found = importlib.metadata.distribution(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        raise CannotTravel(
            _WHAT,
            f"needs {wanted.requirement}, which is not installed here",
            f"pip install '{wanted.requirement}', or give a folder of wheels with wheelhouse=.",
        ) from None
    if not wanted.requirement.specifier.contains(found.version, prereleases=True):
        raise CannotTravel(
            _WHAT,
            f"needs {wanted.requirement}, and {found.version} is installed here",
            f"pip install '{wanted.requirement}', or declare the version that you have.",
        )
    files: dict[str, bytes] = {}
    for file in found.files or ():
        name = file.as_posix()
        if ".." in file.parts or file.is_absolute() or "__pycache__" in file.parts or name.endswith((".pyc", ".pth")):
            continue
        if name.endswith(COMPILED_SUFFIXES):
            raise _compiled(wanted.name, name)
        if file.parent.suffix == ".dist-info" and file.name in _LEFT_OUT:
            continue
        files[name] = _content(found, file)
    names = _top_names(files)
    if not names:
        raise CannotTravel(
            _WHAT,
            f"names {wanted.name}, which is installed as editable",
            "Leave it out: its modules travel by themselves.",
        )
    wheel = Wheel(wanted.name, found.version, _zipped(files), names)
    if wanted.hashes and wheel.digest not in wanted.hashes:
        raise CannotTravel(
            _WHAT,
            f"gives hashes for {wanted.name}, and none is that of what is installed here, {wheel.digest}: of the file "
            f"that it was installed from nothing is left to compare",
            "Give a folder of wheels: pip download --no-deps --only-binary=:all: -d wheels -r FILE, then "
            "wheelhouse='wheels'.",
        )
    return wheel


def wheel_of(distribution: str, version: str, content: bytes) -> Wheel:
    """A wheel that was resolved before, from the bytes that were kept of it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return Wheel(distribution, version, content, _top_names(archive.namelist()))


def _content(found: importlib.metadata.Distribution, file: importlib.metadata.PackagePath) -> bytes:
    """The bytes of a file, as they were installed."""
    try:
        content = Path(str(found.locate_file(file))).read_bytes()
    except OSError as error:
        raise CannotTravel(
            _WHAT, f"cannot read {file} of {found.name} ({error.strerror})", "Install it anew."
        ) from None
    if file.hash is not None and file.hash.mode == "sha256":
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        if digest != file.hash.value:
            raise CannotTravel(
                _WHAT, f"cannot use {found.name}: {file} was changed after it was installed", "Install it anew."
            )
    return content


def _zipped(files: dict[str, bytes]) -> bytes:
    """The same bytes for the same files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    return content.getvalue()


def _top_names(names: Iterable[str]) -> frozenset[str]:
    tops = set()
    for path in map(PurePosixPath, names):
        if path.suffix == ".py" and not path.parts[0].endswith((".dist-info", ".data")):
            tops.add(path.parts[0].removesuffix(".py"))
    return frozenset(tops)


def _check_metadata(wheel: Wheel, wanted: _Wanted, names: Set[str]) -> None:
    """It must fit the interpreter, and what it needs must be declared, too."""
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
        place = next((name for name in archive.namelist() if name.endswith(".dist-info/METADATA")), None)
        metadata = message_from_string(archive.read(place).decode("utf-8", "replace") if place else "")
    try:
        if not SpecifierSet(metadata.get("Requires-Python", "")).contains("3.12.0"):
            raise CannotTravel(
                _WHAT,
                f"names {wheel.distribution} {wheel.version}, which is for Python {metadata['Requires-Python']}",
                "Declare a version for Python 3.12.",
            )
        extras = [{**_GUEST, "extra": extra} for extra in ("", *wanted.requirement.extras)]
        for text in metadata.get_all("Requires-Dist", ()):
            needed = Requirement(text)
            counts = needed.marker is None or any(needed.marker.evaluate(extra) for extra in extras)
            if counts and canonicalize_name(needed.name) not in names:
                raise CannotTravel(
                    _WHAT,
                    f"names {wheel.distribution}, which needs {needed.name}{needed.specifier}",
                    f"Declare {needed.name}, too.",
                )
    except (InvalidSpecifier, InvalidRequirement, InvalidMarker) as error:
        raise CannotTravel(_WHAT, f"cannot read what {wheel.distribution} needs ({error})", "Leave it out.") from None


def _compiled(name: str, where: str) -> CannotTravel:
    return CannotTravel(
        _WHAT,
        f"names {name}, which holds compiled code for this machine ({where})",
        "Only pure Python travels. runtime='science' has numpy, pandas, scipy and scikit-learn.",
    )
