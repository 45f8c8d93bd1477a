"""A private job in two halves: the manifest that everybody can read, and the document that only its machines can.

The public manifest says what pool, market and machine must know (runtime, limits, needs) and which encrypted files each
task needs. Its script is the *private document*: the job's real manifest without its items, where each plain file lies,
and every item encrypted for its own task. Whoever has the keys of a task puts both together again.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import rfc8785

from fairgrid.errors import ManifestError, VerificationError
from fairgrid.protocol.bounded_json import load_json
from fairgrid.protocol.data_keys import MAX_PRIVATE_TASKS, DataKey, TaskKeys
from fairgrid.protocol.encrypted_files import (
    Purpose,
    decrypt_bytes,
    derived_key,
    encrypt_bytes,
    encrypted_size,
)
from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.manifest import FileRef, Item, Manifest, parse_manifest
from fairgrid.protocol.sealed_part import Hides, SealedPart
from fairgrid.protocol.sealing import EncryptionKey, seal_for

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "MAX_SECRETS_BYTES",
    "PrivateJob",
    "SealingPlace",
    "blind_of",
    "is_private",
    "open_data_key",
    "open_private_job",
    "open_secrets",
    "private_document",
    "public_manifest",
    "result_key",
    "seal_data_key",
    "sealed_secrets",
]

MAX_DOCUMENT_BYTES: Final = 64 << 20
"""Of a private document, encrypted."""
MAX_SECRETS_BYTES: Final = 64 << 10
"""Of all secrets of a job together, as JSON."""
_FORMAT: Final = "private/1"
_PUBLIC_SCRIPT: Final = "private"


@dataclass(frozen=True, slots=True)
class SealingPlace:
    """What a sealed data key is bound to: where, by whom, for which pool and app; the rest is the manifest's."""

    chain_id: int
    hub: str
    pool: str
    app: str
    requester: str

    def context(self, manifest: Manifest) -> bytes:
        """The context of the sealed keys of ``manifest``: they open nowhere else.

        Raises:
            ManifestError: nothing of the manifest is sealed, or it names another pool or app than the deal.
        """
        part = manifest.sealed
        if part is None:
            raise ManifestError("The manifest has no sealed key: the job is not private and has no secrets.")
        if (checksum(self.pool), checksum(self.app)) != (part.pool, part.app):
            raise ManifestError(
                f"The requester sealed this job for pool {part.pool} and app {part.app}, and the deal is with pool "
                f"{checksum(self.pool)} and app {checksum(self.app)}: its key is used for no other."
            )
        unsealed = replace(manifest, sealed=part.without_keys()).to_wire()
        return rfc8785.dumps(
            {
                "fairgrid": "sealed-key/1",
                "chainId": str(self.chain_id),
                "hub": checksum(self.hub),
                "pool": part.pool,
                "app": part.app,
                "requester": checksum(self.requester),
                "manifest": hashlib.sha256(rfc8785.dumps(unsealed)).hexdigest(),
            }
        )


def seal_data_key(
    manifest: Manifest, key: DataKey, place: SealingPlace, *, pool_key: bytes, requester_key: bytes
) -> Manifest:
    """The manifest with ``key`` sealed for the two public keys.

    Raises:
        ManifestError: as `SealingPlace.context`.
        UsageError: one is no key.
    """
    context = place.context(manifest)
    assert manifest.sealed is not None
    part = replace(
        manifest.sealed,
        key_for_pool=seal_for(pool_key, key.secret, context),
        key_for_requester=seal_for(requester_key, key.secret, context),
    )
    return replace(manifest, sealed=part)


def open_data_key(manifest: Manifest, key: EncryptionKey, place: SealingPlace, *, of_pool: bool) -> DataKey:
    """The data key of a job, by the pool's encryption key, or the requester's.

    Raises:
        ManifestError: as `SealingPlace.context`.
        VerificationError: it was sealed for somebody else, another deal, or another manifest.
    """
    context = place.context(manifest)
    assert manifest.sealed is not None
    sealed = manifest.sealed.key_for_pool if of_pool else manifest.sealed.key_for_requester
    return DataKey(key.open(sealed, context))


def result_key(task_key: bytes) -> bytes:
    """The key of a task's result archive."""
    return derived_key(task_key, b"fairgrid/result/1")


def blind_of(task_key: bytes) -> bytes:
    """The content of `fairgrid.protocol.results.BLIND_FILE` in the result of a task."""
    return derived_key(task_key, b"fairgrid/blind/1").hex().encode() + b"\n"


# --- secrets ---------------------------------------------------------------------------------------------------------


def sealed_secrets(key: DataKey, secrets: Sequence[str]) -> bytes:
    """The secrets of a job whose other parts are plain, encrypted for its manifest.

    Raises:
        ManifestError: they are too large together.
    """
    return encrypt_bytes(key.shared, _secrets_to_bytes(secrets), Purpose.DOCUMENT)


def open_secrets(part: SealedPart, keys: TaskKeys) -> tuple[str, ...]:
    """The secrets of a job whose other parts are plain.

    Raises:
        VerificationError: they are not for these keys, or no secrets.
    """
    return _secrets_of(_loaded(decrypt_bytes(keys.shared, part.secrets, Purpose.DOCUMENT), "the secrets"))


def _secrets_to_bytes(secrets: Sequence[str]) -> bytes:
    data = rfc8785.dumps(list(secrets))
    if len(data) > MAX_SECRETS_BYTES:
        raise ManifestError(f"The secrets have {len(data)} bytes together; at most {MAX_SECRETS_BYTES} travel.")
    return data


def _secrets_of(wire: object) -> tuple[str, ...]:
    if not isinstance(wire, list) or not all(isinstance(text, str) and "\0" not in text for text in wire):
        raise VerificationError("The secrets of the job cannot be read.")
    return tuple(wire)


# --- the two halves --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PrivateJob:
    """A private job as the machines of some of its tasks have it."""

    manifest: Manifest
    """The job's own manifest; items of other tasks are empty in it."""
    files: Mapping[str, tuple[str, bytes]] = field(repr=False)
    """Of each plain file, by its CID: the CID of its encrypted form, and its key."""
    secrets: tuple[str, ...] = field(repr=False)


def private_document(
    plain: Manifest, key: DataKey, places: Mapping[tuple[str, int | None], str], secrets: Sequence[str] = ()
) -> bytes:
    """The encrypted private document of the job ``plain``.

    ``places`` gives the CID of the encrypted form of each file: by its plain CID and the task whose key it is under,
    None for the shared key.

    Raises:
        ManifestError: the job has too many tasks, or secrets that are too large.
    """
    if len(plain.items) > MAX_PRIVATE_TASKS:
        raise ManifestError(f"A private run has at most {MAX_PRIVATE_TASKS} tasks.")
    _secrets_to_bytes(secrets)
    common = {file.cid: places[file.cid, None] for file in (plain.script, *plain.inputs)}
    items = []
    for index, item in enumerate(plain.items):
        own = {file.cid: places[file.cid, index] for file in item.inputs or () if file.cid not in common}
        data = rfc8785.dumps({"item": item.to_wire(), "files": own})
        items.append(base64.b64encode(encrypt_bytes(key.of(index), data, Purpose.DOCUMENT)).decode())
    document: dict[str, Any] = {
        "fairgrid": _FORMAT,
        "manifest": replace(plain, items=()).to_wire(),
        "files": common,
        "items": items,
        "secrets": list(secrets),
    }
    data = encrypt_bytes(key.shared, rfc8785.dumps(document), Purpose.DOCUMENT)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ManifestError(
            f"Names and arguments of the run have {len(data)} bytes; at most {MAX_DOCUMENT_BYTES} are read. Pass long "
            f"arguments in input files."
        )
    return data


def public_manifest(
    plain: Manifest, document: FileRef, places: Mapping[tuple[str, int | None], str], part: SealedPart
) -> Manifest:
    """What everybody may read of the job ``plain``: nothing of its names, arguments, rules and contents.

    ``document`` is the encrypted private document, ``places`` as in `private_document`.
    """
    common = {file.cid: file.size for file in (plain.script, *plain.inputs)}
    shared = _numbered([(places[cid, None], size) for cid, size in common.items()])
    items = []
    for index, item in enumerate(plain.items):
        own = {file.cid: file.size for file in item.inputs or () if file.cid not in common}
        more = _numbered([(places[cid, index], size) for cid, size in own.items()], start=len(shared))
        items.append(Item(inputs=(*shared, *more)) if more else Item(arguments=()))
    return Manifest(
        script=replace(document, name=_PUBLIC_SCRIPT),
        runtime=plain.runtime,
        resources=plain.resources,
        inputs=shared,
        items=tuple(items),
        retention_days=plain.retention_days,
        deleted_after=plain.deleted_after,
        needs=plain.needs,
        sealed=part,
    )


def open_private_job(public: Manifest, document: bytes, keys: TaskKeys, indexes: Collection[int]) -> PrivateJob:
    """The job of the tasks ``indexes``, from its encrypted private ``document``.

    Raises:
        VerificationError: the document does not open with these keys.
        ManifestError: it is no private document, or says something else than the public manifest.
    """
    wire = _loaded(decrypt_bytes(keys.shared, document, Purpose.DOCUMENT), "the private document")
    try:
        if wire["fairgrid"] != _FORMAT or set(wire) != {"fairgrid", "manifest", "files", "items", "secrets"}:
            raise ManifestError("The private document of the job is of another format.")
        files = {cid: (place, keys.shared) for cid, place in wire["files"].items()}
        manifest_wire, sealed_items = dict(wire["manifest"]), wire["items"]
        if sealed_items:
            items: list[Any] = [{"arguments": []}] * len(sealed_items)
            for index in indexes:
                key = keys.of(index)
                opened = _loaded(decrypt_bytes(key, base64.b64decode(sealed_items[index]), Purpose.DOCUMENT), "an item")
                items[index] = opened["item"]
                files |= {cid: (place, key) for cid, place in opened["files"].items() if cid not in files}
            manifest_wire["items"] = items
        manifest = _parsed(manifest_wire)
        secrets = _secrets_of(wire["secrets"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, rfc8785.CanonicalizationError):
        raise ManifestError("The private document of the job cannot be used: a part of it is missing.") from None
    told = (public.runtime, public.resources, public.needs, public.checkpoint, len(public.items))
    if told != (manifest.runtime, manifest.resources, manifest.needs, manifest.checkpoint, len(manifest.items)):
        raise ManifestError("The private document of the job says something else than its public manifest.")
    if manifest.sealed is not None or manifest.dependencies or any(item.dependencies for item in manifest.items):
        raise ManifestError("The private document of the job asks for what private jobs cannot have.")
    missing = {file.cid for index in indexes for file in manifest.files_of(index)} - set(files)
    if missing:
        raise ManifestError(f"The private document does not say where {len(missing)} of the job's files lie.")
    return PrivateJob(manifest, files, secrets)


def _parsed(wire: Any) -> Manifest:
    try:
        return parse_manifest(rfc8785.dumps(wire))
    except ManifestError:
        # Its message may hold names and arguments, and goes to logs and to the pool.
        raise ManifestError("The private document of the job holds a manifest that breaks its rules.") from None


def _numbered(files: Sequence[tuple[str, int]], *, start: int = 0) -> tuple[FileRef, ...]:
    return tuple(FileRef(f"{start + number}", cid, encrypted_size(size)) for number, (cid, size) in enumerate(files))


def _loaded(data: bytes, what: str) -> Any:
    try:
        return load_json(data)
    except ValueError:
        raise ManifestError(f"In the manifest's encryption, {what} cannot be read.") from None


def is_private(manifest: Manifest) -> bool:
    """Whether everything of the job is encrypted."""
    return manifest.sealed is not None and manifest.sealed.hides is Hides.EVERYTHING
