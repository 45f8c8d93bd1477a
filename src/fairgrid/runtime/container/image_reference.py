"""A program that names an image in a registry: ``*.image.json``, by digest and never by tag alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from fairgrid.errors import ManifestError
from fairgrid.protocol.bounded_json import load_json
from fairgrid.runtime.container.settings import fault_of_registry

__all__ = ["MAX_REFERENCE_BYTES", "ImageReference", "parse_reference"]

MAX_REFERENCE_BYTES: Final = 16 << 10
_PATH: Final = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*", re.ASCII)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_MAX_WORDS: Final = 64
_MAX_WORD: Final = 4096


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image of a registry, and what of it to run."""

    registry: str
    repository: str
    digest: str
    """``sha256:…`` of its manifest, or of the list of manifests that holds it."""
    entrypoint: tuple[str, ...] = ()
    """What is run instead of the image's own entry point; empty: that."""

    @property
    def name(self) -> str:
        """As tools take it."""
        return f"{self.registry}/{self.repository}@{self.digest}"


def parse_reference(data: bytes) -> ImageReference:
    """Read the file.

    Raises:
        ManifestError: it is not such a file, names no registry, or has a tag in place of the digest.
    """
    if len(data) > MAX_REFERENCE_BYTES:
        raise _broken(f"it is larger than {MAX_REFERENCE_BYTES} bytes")
    try:
        document: Any = load_json(data)
    except ValueError as error:
        raise _broken(f"it is not JSON ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("image"), str):
        raise _broken('it is not an object with "image": "registry/name@sha256:…"')
    unknown = sorted(set(document) - {"image", "entrypoint"})
    if unknown:
        raise _broken(f"it has unknown keys: {', '.join(unknown)}; known are image and entrypoint")
    return _reference(document["image"], _entrypoint(document.get("entrypoint", [])))


def _reference(image: str, entrypoint: tuple[str, ...]) -> ImageReference:
    place, found, digest = image.partition("@")
    if not found:
        raise _broken(f"{image!r} has no digest; a tag can mean another image tomorrow, so write name@sha256:…")
    if _DIGEST.fullmatch(digest) is None:
        raise _broken(f"{digest!r} is not sha256: and 64 hexadecimal digits in lower case")
    registry, found, repository = place.partition("/")
    if not found:
        raise _broken(f"{place!r} names no registry; write it out, like docker.io/library/{place}")
    fault = fault_of_registry(registry)
    if fault is not None:
        raise _broken(f"{fault}; write the registry out, like docker.io/{place}")
    if len(repository) > 255 or _PATH.fullmatch(repository) is None:
        raise _broken(f"{repository!r} is not a repository's name; with a digest it takes no tag")
    return ImageReference(registry, repository, digest, entrypoint)


def _entrypoint(words: Any) -> tuple[str, ...]:
    if (
        not isinstance(words, list)
        or len(words) > _MAX_WORDS
        or not all(isinstance(word, str) and len(word) <= _MAX_WORD and "\0" not in word for word in words)
        or (words and not words[0])
    ):
        raise _broken(f"entrypoint is not a list of at most {_MAX_WORDS} texts")
    return tuple(words)


def _broken(why: str) -> ManifestError:
    return ManifestError(f"The image reference cannot be used: {why}. Nothing was fetched or run.")
