"""The job manifest (decisions 11, 43, 45): everything that a worker must know to compute a task, addressed by content.

The signed order commits to the manifest's CID through its params, the manifest commits to scripts and inputs through
theirs. `parse_manifest` takes canonical bytes only, so a manifest has one CID.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import rfc8785
from jsonschema import Draft202012Validator

from fairgrid.errors import ManifestError, UsageError
from fairgrid.protocol.bounded_json import load_json
from fairgrid.protocol.canonical import CanonicalRule, rule_from_wire
from fairgrid.protocol.cid import cid_of, is_cid, normal_cid
from fairgrid.protocol.needs import NO_NEEDS, Needs, needs_from_wire
from fairgrid.protocol.network import destination
from fairgrid.protocol.paths import path_fault
from fairgrid.protocol.schema_check import Check, compile_check
from fairgrid.protocol.sealed_part import SealedPart, sealed_part_from_wire

__all__ = [
    "MAX_MANIFEST_BYTES",
    "SCHEMA_PATH",
    "FileRef",
    "Item",
    "Manifest",
    "Resources",
    "TaskRef",
    "hashed_name",
    "job_seed",
    "manifest_cid_of_params",
    "params_for",
    "parse_manifest",
]

MAX_MANIFEST_BYTES = 8 << 20
SCHEMA_PATH = Path(__file__).with_name("manifest.schema.json")

_DAY_S = 86_400
_HASHED_NAME = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_LONG = ("dependencies", "inputs", "items")
"""Lists with up to 100,000 entries; each may be empty."""
_FIXED: dict[str, Any] = {
    "clock": {"startSeconds": 1_700_000_000, "stepNanoseconds": 1_000},
    "environment": None,
    "fairgrid": "manifest/1",
    "outputs": {"logs": "included", "rule": "computed-or-folder"},
    "seed": "manifest-index/1",
    "verify": {"policy": "replicas"},
}
"""What version 1 knows one value for; a reader of version 1 refuses every other."""


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file by content: the name that the job sees (may hold ``/``), its CID, its size in bytes."""

    name: str
    cid: str
    size: int

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        return {"name": self.name, "cid": self.cid, "size": self.size}


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task of this hub whose result is an input: its files lie in the folder ``name`` of the job's inputs.

    The job is computed once the task is COMPLETED on chain; the digest there says which files these are.
    """

    name: str
    task: str

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        return {"name": self.name, "task": self.task}


@dataclass(frozen=True, slots=True)
class Item:
    """What one task of a bag has instead of the manifest's own; None keeps the manifest's."""

    arguments: tuple[str, ...] | None = None
    inputs: tuple[FileRef, ...] | None = None
    dependencies: tuple[TaskRef, ...] | None = None

    def to_wire(self) -> dict[str, Any]:
        """The JSON object; what is None is left out."""
        wire: dict[str, Any] = {}
        if self.arguments is not None:
            wire["arguments"] = list(self.arguments)
        if self.inputs is not None:
            wire["inputs"] = [reference.to_wire() for reference in self.inputs]
        if self.dependencies is not None:
            wire["dependencies"] = [reference.to_wire() for reference in self.dependencies]
        return wire


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits of each task (decision 47)."""

    fuel: int
    """Units of the engine's fuel; 10^9 for each second of the category's timeref by default."""
    memory_bytes: int = 1 << 30
    output_bytes: int = 256 << 20
    """Bytes of all files that the task holds in its writable folders at any time."""
    output_files: int = 10_000
    """Files and folders, likewise."""

    def to_wire(self) -> dict[str, int]:
        """The JSON object."""
        return {
            "fuel": self.fuel,
            "memoryBytes": self.memory_bytes,
            "outputBytes": self.output_bytes,
            "outputFiles": self.output_files,
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """A job or a bag of jobs. Build one, then `to_bytes`, which refuses what no worker would take."""

    script: FileRef
    runtime: str
    resources: Resources
    arguments: tuple[str, ...] = ()
    inputs: tuple[FileRef, ...] = ()
    items: tuple[Item, ...] = ()
    dependencies: tuple[TaskRef, ...] = ()
    retention_days: int = 30
    """How long storage is asked to keep inputs and results."""
    deleted_after: bool = False
    """Storage is asked to remove them then; else nobody does."""
    needs: Needs = NO_NEEDS
    """What each task needs of the machine."""
    canonicaliser: tuple[CanonicalRule, ...] = ()
    """How files of the result are written before they are hashed, in this order; empty: as they are."""
    checkpoint: bool = False
    """Each task has a folder that survives a restart of its worker."""
    sealed: SealedPart | None = None
    """What of the job is encrypted, and its key, sealed; None: all of it is plain."""

    @property
    def keep_s(self) -> int | None:
        """Seconds for which storage is asked to keep a file of the job before it removes it; None: it is to stay."""
        return self.retention_days * _DAY_S if self.deleted_after else None

    def arguments_of(self, index: int) -> tuple[str, ...]:
        """The arguments of task ``index``.

        Raises:
            ManifestError: the bag has no such task.
        """
        item = self._item(index)
        return self.arguments if item is None or item.arguments is None else item.arguments

    def inputs_of(self, index: int) -> tuple[FileRef, ...]:
        """The inputs of task ``index``.

        Raises:
            ManifestError: the bag has no such task.
        """
        item = self._item(index)
        return self.inputs if item is None or item.inputs is None else item.inputs

    def dependencies_of(self, index: int) -> tuple[TaskRef, ...]:
        """The tasks whose results task ``index`` reads.

        Raises:
            ManifestError: the bag has no such task.
        """
        item = self._item(index)
        return self.dependencies if item is None or item.dependencies is None else item.dependencies

    def files_of(self, index: int) -> tuple[FileRef, ...]:
        """Everything that task ``index`` must have fetched: its script and its inputs."""
        return (self.script, *self.inputs_of(index))

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        needs = self.needs.to_wire()
        optional: dict[str, Any] = {"needs": needs} if needs else {}
        if self.checkpoint:
            optional["checkpoint"] = True
        return (
            _FIXED
            | optional
            | {
                "arguments": list(self.arguments),
                "canonicaliser": {"rules": [rule.to_wire() for rule in self.canonicaliser]}
                if self.canonicaliser
                else "none",
                "dependencies": [reference.to_wire() for reference in self.dependencies],
                "encryption": "none" if self.sealed is None else self.sealed.to_wire(),
                "inputs": [reference.to_wire() for reference in self.inputs],
                "items": [item.to_wire() for item in self.items],
                "job": {"kind": "script", "script": self.script.to_wire()},
                "resources": self.resources.to_wire(),
                "retention": {"days": self.retention_days} | ({"then": "delete"} if self.deleted_after else {}),
                "runtime": self.runtime,
            }
        )

    def to_bytes(self) -> bytes:
        """The canonical bytes.

        Raises:
            ManifestError: something in it breaks the schema or its limits.
        """
        wire = self.to_wire()
        _check_schema(wire)
        _check_meaning(self)
        return _canonical(wire)

    def cid(self) -> str:
        """The CID of `to_bytes`."""
        return cid_of(self.to_bytes())

    def _item(self, index: int) -> Item | None:
        if index < 0 or (self.items and index >= len(self.items)):
            raise ManifestError(
                f"The manifest has {len(self.items)} items and none for task {index}: "
                f"the request's volume must not be larger than the number of items."
            )
        return self.items[index] if self.items else None


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        ManifestError: it is not canonical, too large, has an unknown or missing key, or breaks a limit.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"The manifest has {len(data)} bytes; at most {MAX_MANIFEST_BYTES} are read.")
    try:
        wire: Any = load_json(data)
    except ValueError as error:
        raise ManifestError(f"The manifest is not JSON: {error}.") from error
    _check_schema(wire)
    if _canonical(wire) != data:
        raise ManifestError("The manifest is not canonical JSON (RFC 8785): sorted keys, no spaces, no key twice.")
    manifest = Manifest(
        script=_file_ref(wire["job"]["script"]),
        runtime=wire["runtime"],
        resources=Resources(
            fuel=wire["resources"]["fuel"],
            memory_bytes=wire["resources"]["memoryBytes"],
            output_bytes=wire["resources"]["outputBytes"],
            output_files=wire["resources"]["outputFiles"],
        ),
        arguments=tuple(wire["arguments"]),
        inputs=_file_refs(wire["inputs"]),
        items=tuple(
            Item(
                arguments=tuple(item["arguments"]) if "arguments" in item else None,
                inputs=_file_refs(item["inputs"]) if "inputs" in item else None,
                dependencies=_task_refs(item["dependencies"]) if "dependencies" in item else None,
            )
            for item in wire["items"]
        ),
        dependencies=_task_refs(wire["dependencies"]),
        retention_days=wire["retention"]["days"],
        deleted_after="then" in wire["retention"],
        needs=needs_from_wire(wire.get("needs", {})),
        canonicaliser=_canonical_rules(wire["canonicaliser"]),
        checkpoint=wire.get("checkpoint", False),
        sealed=None if wire["encryption"] == "none" else sealed_part_from_wire(wire["encryption"]),
    )
    _check_meaning(manifest)
    return manifest


def hashed_name(cid: str) -> str:
    """The second name of an input in ``/iexec_in``: 0x and the SHA-256 of the text ``/ipfs/<CID>``."""
    return "0x" + hashlib.sha256(f"/ipfs/{cid}".encode()).hexdigest()


def job_seed(manifest_cid: str, index: int) -> bytes:
    """The 32-byte seed of a task: sha256("fairgrid/seed/1" ‖ CID text ‖ u64 index big-endian), decision 45."""
    return hashlib.sha256(b"fairgrid/seed/1" + manifest_cid.encode() + index.to_bytes(8, "big")).digest()


def params_for(gateway_url: str, manifest_cid: str) -> str:
    """The exact params text of a manifest job's request order (decision 43).

    Raises:
        UsageError: the gateway is not an http(s) address, or this is no CID.
    """
    gateway = gateway_url.rstrip("/")
    if not re.fullmatch(r"https?://[!#-\[\]-~]+", gateway):
        raise UsageError(f"{gateway_url!r} is not an http(s) address of a storage gateway.")
    location = f"{gateway}/ipfs/{normal_cid(manifest_cid)}"
    return f'{{"iexec_input_files":["{location}"],"iexec_result_storage_provider":"ipfs"}}'


def manifest_cid_of_params(params: str) -> str | None:
    """The manifest's CID if ``params`` is exactly what `params_for` writes, else None."""
    found = re.fullmatch(
        r'\{"iexec_input_files":\["(https?://[!#-\[\]-~]+)/ipfs/(b[a-z2-7]{58})"\],'
        r'"iexec_result_storage_provider":"ipfs"\}',
        params,
    )
    if found is None or not is_cid(found[2]) or params_for(found[1], found[2]) != params:
        return None
    return found[2]


@lru_cache(maxsize=1)
def _schema() -> tuple[Draft202012Validator, dict[str, Check]]:
    """The whole schema, and those of its lists that may be long as functions."""
    schema: Any = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    long = {name: compile_check(schema["properties"][name], schema["$defs"]) for name in _LONG}
    return Draft202012Validator(schema), long


def _check_schema(wire: object) -> None:
    validator, long = _schema()
    if isinstance(wire, dict):
        # What was looked at here needs no second look, which would take a thousand times as long.
        wire = wire | {name: [] for name, check in long.items() if name in wire and check(wire[name])}
    error = next(iter(validator.iter_errors(wire)), None)
    if error is not None:
        where = "/".join(str(part) for part in error.absolute_path) or "the manifest"
        raise ManifestError(f"The manifest breaks its schema at {where}: {error.message[:300]}.")


def _canonical(wire: dict[str, Any]) -> bytes:
    try:
        return rfc8785.dumps(wire)
    except rfc8785.CanonicalizationError as error:
        raise ManifestError(f"The manifest cannot be written as canonical JSON: {error}.") from error


def _check_meaning(manifest: Manifest) -> None:
    """What a schema cannot say."""
    if manifest.deleted_after and manifest.retention_days < 1:
        raise ManifestError("Files that are to be removed are kept for 1 day at least: nobody could read the result.")
    for text in manifest.needs.network:
        try:
            destination(text)
        except UsageError as error:
            raise ManifestError(str(error)) from None
    if "/" in manifest.script.name:
        raise ManifestError(f"The script's name {manifest.script.name!r} holds a '/': give a plain file name.")
    _check_inputs((manifest.script,))
    _check_arguments(manifest.arguments)
    _check_inputs(manifest.inputs)
    _check_dependencies(manifest.dependencies, manifest.inputs)
    for item in manifest.items:
        _check_arguments(item.arguments or ())
        _check_inputs(item.inputs or ())
        if item.inputs is not None or item.dependencies is not None:
            _check_dependencies(
                manifest.dependencies if item.dependencies is None else item.dependencies,
                manifest.inputs if item.inputs is None else item.inputs,
            )


def _check_arguments(arguments: Sequence[str]) -> None:
    if any("\0" in argument for argument in arguments):
        raise ManifestError("An argument holds a NUL character.")
    if sum(len(argument.encode(errors="surrogatepass")) + 1 for argument in arguments) > 1 << 20:
        raise ManifestError("The arguments are longer than 1 MiB together: pass them in an input file.")


def _check_inputs(references: Sequence[FileRef]) -> None:
    names: set[str] = set()
    for reference in references:
        fault = path_fault(reference.name)
        if fault is not None:
            raise ManifestError(f"The file name {reference.name!r} cannot be used: {fault}.")
        if _HASHED_NAME.fullmatch(reference.name.split("/", 1)[0]):
            raise ManifestError(f"The file name {reference.name!r} looks like a hashed name; choose another.")
        if reference.name in names:
            raise ManifestError(f"The file name {reference.name!r} comes twice.")
        if not is_cid(reference.cid):
            raise ManifestError(f"{reference.cid!r} is not the CID of a file.")
        names.add(reference.name)
    for name in names:
        parts = name.split("/")
        above = next((up for up in ("/".join(parts[:count]) for count in range(1, len(parts))) if up in names), None)
        if above is not None:
            raise ManifestError(f"{above!r} cannot be both a file and the folder of {name!r}.")


def _check_dependencies(references: Sequence[TaskRef], inputs: Sequence[FileRef]) -> None:
    if not references:
        return
    taken = {reference.name.split("/", 1)[0] for reference in inputs}
    for reference in references:
        fault = "it holds a '/'" if "/" in reference.name else path_fault(reference.name)
        if fault is not None:
            raise ManifestError(f"The dependency's name {reference.name!r} cannot be used: {fault}.")
        if _HASHED_NAME.fullmatch(reference.name):
            raise ManifestError(f"The dependency's name {reference.name!r} looks like a hashed name; choose another.")
        if reference.name in taken:
            raise ManifestError(f"The name {reference.name!r} comes twice among inputs and dependencies.")
        taken.add(reference.name)


def _canonical_rules(wire: str | Mapping[str, Any]) -> tuple[CanonicalRule, ...]:
    return () if isinstance(wire, str) else tuple(rule_from_wire(rule) for rule in wire["rules"])


def _task_refs(wire: Sequence[Mapping[str, Any]]) -> tuple[TaskRef, ...]:
    return tuple(TaskRef(name=reference["name"], task=reference["task"]) for reference in wire)


def _file_ref(wire: Mapping[str, Any]) -> FileRef:
    return FileRef(name=wire["name"], cid=wire["cid"], size=wire["size"])


def _file_refs(wire: Sequence[Mapping[str, Any]]) -> tuple[FileRef, ...]:
    return tuple(_file_ref(reference) for reference in wire)
