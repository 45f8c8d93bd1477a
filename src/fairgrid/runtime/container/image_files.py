"""Where the parts of an image come from: an OCI archive, or a folder that a registry's image was copied to."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Protocol

from fairgrid.errors import ManifestError
from fairgrid.protocol.bounded_json import load_json

__all__ = ["MAX_JSON_BYTES", "ArchiveFiles", "CopiedFiles", "ImageFiles", "broken", "json_object"]

MAX_JSON_BYTES: Final = 4 << 20
"""Most bytes of an index, a manifest or a configuration."""
_MAX_MEMBERS: Final = 2_000
_BLOB: Final = re.compile(r"blobs/sha256/([0-9a-f]{64})", re.ASCII)


class ImageFiles(Protocol):
    """The parts of one image, none of them trusted."""

    def manifest(self) -> tuple[str, bytes]:
        """The digest that the manifest is said to have, and its bytes."""
        ...

    def open_blob(self, digest: str) -> IO[bytes]:
        """A part, by the digest that it is said to have.

        Raises:
            ManifestError: there is none.
        """
        ...


class ArchiveFiles:
    """An OCI archive: a plain tar of an image layout with one image."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._blobs: dict[str, tarfile.TarInfo] = {}
        self._index: bytes | None = None
        self._has_layout = False
        for number, member in enumerate(_members(archive)):
            if number >= _MAX_MEMBERS:
                raise broken(f"the archive has more than {_MAX_MEMBERS} members")
            self._take(member)
        if self._index is None or not self._has_layout:
            raise broken("it is a tar without oci-layout and index.json; `fairgrid app build` makes OCI archives")

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[ArchiveFiles]:
        """The archive at ``path``.

        Raises:
            ManifestError: it is no OCI archive.
        """
        try:
            archive = tarfile.open(path, "r:")
        except tarfile.TarError as error:
            raise broken(f"it is not an uncompressed tar ({error})") from None
        with archive:
            yield cls(archive)

    def manifest(self) -> tuple[str, bytes]:
        """See `ImageFiles`."""
        assert self._index is not None
        manifests = json_object(self._index, "index.json").get("manifests")
        if not isinstance(manifests, list) or len(manifests) != 1 or not isinstance(manifests[0], dict):
            raise broken("its index.json does not list exactly one image")
        digest = str(manifests[0].get("digest"))
        with self.open_blob(digest) as file:
            return digest, file.read(MAX_JSON_BYTES + 1)

    def open_blob(self, digest: str) -> IO[bytes]:
        """See `ImageFiles`."""
        member = self._blobs.get(digest)
        file = self._archive.extractfile(member) if member is not None else None
        if file is None:
            raise broken(f"it does not hold its part {digest}")
        return file

    def _take(self, member: tarfile.TarInfo) -> None:
        name = member.name.removeprefix("./")
        if member.isdir():
            return
        if not member.isreg() or member.issparse():
            raise broken(f"{name!r} in the archive is not a plain file")
        blob = _BLOB.fullmatch(name)
        if blob is not None:
            if f"sha256:{blob[1]}" in self._blobs:
                raise broken(f"{name!r} is in the archive twice")
            self._blobs[f"sha256:{blob[1]}"] = member
        elif name == "index.json":
            if self._index is not None or member.size > MAX_JSON_BYTES:
                raise broken("index.json is in the archive twice, or too large")
            file = self._archive.extractfile(member)
            assert file is not None
            self._index = file.read()
        elif name == "oci-layout":
            self._has_layout = True
        # Anything else (a manifest.json for older tools) is never looked at.


class CopiedFiles:
    """What ``skopeo copy … dir:FOLDER`` left. ``digest`` is what the manifest must have."""

    def __init__(self, folder: Path, digest: str) -> None:
        self._folder = folder
        self._digest = digest

    def manifest(self) -> tuple[str, bytes]:
        """See `ImageFiles`."""
        with (self._folder / "manifest.json").open("rb") as file:
            return self._digest, file.read(MAX_JSON_BYTES + 1)

    def open_blob(self, digest: str) -> IO[bytes]:
        """See `ImageFiles`."""
        algorithm, _, name = digest.partition(":")
        path = self._folder / name
        if algorithm != "sha256" or re.fullmatch(r"[0-9a-f]{64}", name, re.ASCII) is None or not path.is_file():
            raise broken(f"the registry gave no part {digest}")
        return path.open("rb")


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object of an image.

    Raises:
        ManifestError: it is something else, or too large.
    """
    if len(data) > MAX_JSON_BYTES:
        raise broken(f"its {what} is larger than {MAX_JSON_BYTES} bytes")
    try:
        document = load_json(data)
    except ValueError as error:
        raise broken(f"its {what} is not JSON ({error})") from None
    if not isinstance(document, dict):
        raise broken(f"its {what} is not a JSON object")
    return document


def broken(why: str) -> ManifestError:
    """The error of an image that is refused."""
    return ManifestError(f"The image is refused: {why}. Nothing of it was run.")


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    try:
        yield from archive
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise broken(f"its tar is damaged ({error})") from None
