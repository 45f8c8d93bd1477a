"""The ``encryption`` of a manifest that is not ``none``: for which pool and app, and the run's data key, sealed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from fairgrid.errors import ManifestError
from fairgrid.protocol.hexes import checksum

__all__ = ["SCHEME", "Hides", "SealedPart", "sealed_part_from_wire"]

SCHEME: Final = "sealed/1"


class Hides(StrEnum):
    """What of a job is encrypted."""

    EVERYTHING = "everything"
    """Program, inputs, names, arguments, secrets and results: the manifest's script is the private document."""
    SECRETS = "secrets"
    """The requester's secrets only."""


@dataclass(frozen=True, slots=True)
class SealedPart:
    """How a job is encrypted. ``pool`` and ``app`` are the only ones that its key may be used for (decision 33)."""

    pool: str
    app: str
    hides: Hides
    key_for_pool: bytes = b""
    """The data key, sealed for the pool's encryption key."""
    key_for_requester: bytes = b""
    """The data key, sealed for the requester's own encryption key."""
    secrets: bytes = b""
    """Where only they are hidden: the requester's secrets, encrypted with the data key."""

    def without_keys(self) -> SealedPart:
        """The same, before anything was sealed: sealed keys are bound to it."""
        return replace(self, key_for_pool=b"", key_for_requester=b"")

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        wire = {
            "scheme": SCHEME,
            "pool": self.pool,
            "app": self.app,
            "hides": self.hides.value,
            "keyForPool": _text(self.key_for_pool),
            "keyForRequester": _text(self.key_for_requester),
        }
        return wire | {"secrets": _text(self.secrets)} if self.secrets else wire


def sealed_part_from_wire(wire: Mapping[str, Any]) -> SealedPart:
    """Read an ``encryption`` object that the manifest's schema took.

    Raises:
        ManifestError: something in it is not written in the one way.
    """
    part = SealedPart(
        pool=wire["pool"],
        app=wire["app"],
        hides=Hides(wire["hides"]),
        key_for_pool=_bytes(wire["keyForPool"]),
        key_for_requester=_bytes(wire["keyForRequester"]),
        secrets=_bytes(wire.get("secrets", "")),
    )
    if (part.pool, part.app) != (checksum(part.pool), checksum(part.app)):
        raise ManifestError("Pool and app of the manifest's encryption must be written with their checksums.")
    if bool(part.secrets) is not (part.hides is Hides.SECRETS):
        raise ManifestError("A manifest holds encrypted secrets if and only if it hides nothing else.")
    return part


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        data = b""
    if _text(data) != text:
        raise ManifestError("A sealed key in the manifest is not base64.")
    return data
