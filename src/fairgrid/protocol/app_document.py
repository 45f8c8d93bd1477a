"""What a published app is: a program by content, and the runtime that it needs.

The app's entry on chain names this document (``/ipfs/<CID>``, and its SHA-256 as the checksum), the document names the
program. A job of the app is a manifest like any other, with exactly this program; workers compare the two, so an app's
owner is paid for this program, and a data owner who restricts an order to the app knows what will read the data.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Final

import rfc8785

from fairgrid.errors import ManifestError, UsageError
from fairgrid.protocol.bounded_json import load_json
from fairgrid.protocol.cid import cid_of, is_cid
from fairgrid.protocol.manifest import FileRef, Manifest
from fairgrid.protocol.network import destination
from fairgrid.protocol.paths import path_fault
from fairgrid.protocol.views import AppInfo

__all__ = ["MAX_DOCUMENT_BYTES", "AppDocument", "document_cid", "name_fault", "parse_document", "program_fault"]

MAX_DOCUMENT_BYTES: Final = 64 << 10
_VERSION: Final = "app/1"
_MAX_INPUTS: Final = 200
_MAX_DESCRIPTION: Final = 2_000
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_KEYS: Final = frozenset({"description", "fairgrid", "inputs", "memoryBytes", "name", "program", "runtime"})
_MAX_HOSTS: Final = 16


@dataclass(frozen=True, slots=True)
class AppDocument:
    """One app. Build one, then `to_bytes`, which refuses what no worker would take."""

    name: str
    runtime: str
    """Id of the runtime that the program needs."""
    program: FileRef
    inputs: tuple[FileRef, ...] = ()
    """Files that every job of the app has."""
    description: str = ""
    memory_bytes: int = 1 << 30
    """Limit of memory that its developer advises."""
    reach: tuple[str, ...] = ()
    """Hosts that every job of it connects to, and no others (`fairgrid.protocol.network`); empty: it says nothing."""

    def to_bytes(self) -> bytes:
        """The canonical bytes.

        Raises:
            ManifestError: something in it breaks a limit.
        """
        wire: dict[str, Any] = {
            "description": self.description,
            "fairgrid": _VERSION,
            "inputs": [reference.to_wire() for reference in sorted(self.inputs, key=lambda entry: entry.name)],
            "memoryBytes": self.memory_bytes,
            "name": self.name,
            "program": self.program.to_wire(),
            "runtime": self.runtime,
        }
        if self.reach:
            # Left out where it is empty: who does not know it reads those apps as before.
            wire["reach"] = sorted(set(self.reach))
        data = rfc8785.dumps(wire)
        parse_document(data)
        return data

    def cid(self) -> str:
        """The CID of `to_bytes`, which the app's multiaddr names."""
        return cid_of(self.to_bytes())

    def checksum(self) -> str:
        """SHA-256 of `to_bytes`, 0x-hex: the app's checksum on chain."""
        return "0x" + hashlib.sha256(self.to_bytes()).hexdigest()


def name_fault(name: str) -> str | None:
    """Why this cannot be a published app's name; None when it can. Runtimes' ids hold a ``/``, so no name is one."""
    if _NAME.fullmatch(name):
        return None
    return "use 1 to 64 lower-case letters, digits, '.', '_' and '-', and begin with a letter or digit"


def document_cid(app: AppInfo) -> str | None:
    """The CID of the document that an app's multiaddr names; None if it names none."""
    text = app.multiaddr.decode("ascii", "replace")
    cid = text.removeprefix("/ipfs/")
    return cid if text.startswith("/ipfs/") and is_cid(cid) else None


def parse_document(data: bytes, app: AppInfo | None = None) -> AppDocument:
    """Read a document; with ``app``, only if it is the one that the chain names.

    Raises:
        ManifestError: it is not canonical, too large, has an unknown or missing key, breaks a limit, or is another.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ManifestError(f"The app's document has {len(data)} bytes; at most {MAX_DOCUMENT_BYTES} are read.")
    if app is not None and "0x" + hashlib.sha256(data).hexdigest() != app.checksum:
        raise ManifestError("The app's document is not the one whose checksum is on chain.")
    try:
        wire: Any = load_json(data)
        if not isinstance(wire, dict) or set(wire) - {"reach"} != _KEYS or wire["fairgrid"] != _VERSION:
            raise ValueError(f"its keys are not those of {_VERSION}")
        if rfc8785.dumps(wire) != data:
            raise ValueError("it is not canonical JSON (RFC 8785)")
        document = AppDocument(
            name=_text(wire["name"], 64),
            runtime=_text(wire["runtime"], 100),
            program=_reference(wire["program"]),
            inputs=tuple(_reference(entry) for entry in _list(wire["inputs"])),
            description=_text(wire["description"], _MAX_DESCRIPTION),
            memory_bytes=_size(wire["memoryBytes"]),
            reach=_hosts(wire["reach"]) if "reach" in wire else (),
        )
    except (ValueError, KeyError, TypeError, UsageError, rfc8785.CanonicalizationError) as error:
        raise ManifestError(f"The app's document cannot be used: {error}.") from error
    fault = name_fault(document.name)
    if fault is not None:
        raise ManifestError(f"The app's name {document.name!r} cannot be used: {fault}.")
    names = [reference.name for reference in document.inputs]
    if names != sorted(set(names)) or any("/" in name for name in (document.program.name, *names)):
        raise ManifestError("The app's files are not in order, two have one name, or one lies in a folder.")
    if app is not None and document.name != app.name:
        raise ManifestError(f"The app is {app.name!r} on chain and {document.name!r} in its document.")
    return document


def program_fault(document: AppDocument, manifest: Manifest) -> str | None:
    """Why a job is not one of this app; None when it is: same runtime, same program, every file of the app in place,
    and the hosts that the app names, if it names any."""
    if manifest.runtime != document.runtime:
        return f"The manifest asks for runtime {manifest.runtime!r}, its app is for {document.runtime!r}."
    if manifest.script != document.program:
        return f"The manifest's program is not that of the app {document.name!r}, which is {document.program.cid}."
    if document.reach and set(manifest.needs.network) != set(document.reach):
        return (
            f"The app {document.name!r} connects to {', '.join(document.reach)}, and the manifest asks for "
            f"{', '.join(manifest.needs.network) or 'no network'}."
        )
    needed = set(document.inputs)
    given = [manifest.inputs, *(item.inputs for item in manifest.items if item.inputs is not None)]
    for inputs in given:
        missing = needed.difference(inputs)
        if missing:
            return f"The manifest lacks {min(entry.name for entry in missing)!r}, a file of the app {document.name!r}."
    return None


def _text(value: object, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"{json.dumps(value)[:100]} is not a text of at most {most} characters")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MAX_INPUTS:
        raise ValueError(f"its inputs are not a list of at most {_MAX_INPUTS}")
    return value


def _hosts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_HOSTS:
        raise ValueError(f"the hosts that it reaches are not a list of 1 to {_MAX_HOSTS}")
    hosts = [_text(entry, 120) for entry in value]
    if hosts != sorted(set(hosts)):
        raise ValueError("the hosts that it reaches are not in order, or one is there twice")
    for host in hosts:
        destination(host)
    return tuple(hosts)


def _size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ValueError(f"{json.dumps(value)[:100]} is not a number of bytes")
    return value


def _reference(value: Any) -> FileRef:
    if not isinstance(value, dict) or set(value) != {"name", "cid", "size"}:
        raise ValueError("a file has other keys than name, cid and size")
    name, cid = _text(value["name"], 1_000), _text(value["cid"], 100)
    fault = path_fault(name)
    if fault is not None:
        raise ValueError(f"the file name {name!r} cannot be used: {fault}")
    if not is_cid(cid):
        raise ValueError(f"{cid!r} is not the CID of a file")
    return FileRef(name, cid, _size(value["size"]))
