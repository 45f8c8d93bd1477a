"""A private job: what is public of it, who can put it together, and where its sealed key opens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.errors import ManifestError, UsageError, VerificationError
from fairgrid.protocol.canonical import read_rule
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.data_keys import DataKey
from fairgrid.protocol.encrypted_files import Purpose, encrypt_bytes, encrypted_size
from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.manifest import FileRef, Item, Manifest, Resources, parse_manifest
from fairgrid.protocol.private_job import (
    SealingPlace,
    blind_of,
    is_private,
    open_data_key,
    open_private_job,
    open_secrets,
    private_document,
    public_manifest,
    result_key,
    seal_data_key,
    sealed_secrets,
)
from fairgrid.protocol.sealed_part import Hides, SealedPart
from fairgrid.protocol.sealing import (
    EncryptionKey,
    encryption_key_of,
    pool_key_message,
    seal_for,
    worker_key_message,
)

KEY = DataKey(b"k" * 32)
POOL_KEY, OWN_KEY = EncryptionKey.from_seed(b"p" * 32), EncryptionKey.from_seed(b"r" * 32)
HUB, POOL, APP, REQUESTER = (checksum("0x" + f"{number:02x}" * 20) for number in (0xA1, 0xB2, 0xC3, 0xD4))
PLACE = SealingPlace(31337, HUB, POOL, APP, REQUESTER)
PART = SealedPart(POOL, APP, Hides.EVERYTHING)
MARKER = "marker-of-the-requester"


def ref(name: str, content: bytes) -> FileRef:
    return FileRef(name, cid_of(content), len(content))


FILES = {"script": b"print(1)", "data": b"shared data", "own 0": b"own data of 0", "own 1": b"own data of 1"}
PLAIN = Manifest(
    script=ref(f"{MARKER}.py", FILES["script"]),
    runtime="wasmtime-49/py312/deterministic",
    resources=Resources(fuel=10**9),
    arguments=(MARKER,),
    inputs=(ref(f"{MARKER}.csv", FILES["data"]),),
    items=tuple(
        Item(arguments=(f"{MARKER}-{n}",), inputs=(ref("data", FILES["data"]), ref(MARKER, FILES[f"own {n}"])))
        for n in range(2)
    ),
    canonicaliser=(read_rule(f"json:{MARKER}.json"),),
)


def places_of(plain: Manifest, key: DataKey) -> dict[tuple[str, int | None], str]:
    plain_cids = {cid_of(content): content for content in FILES.values()}
    places: dict[tuple[str, int | None], str] = {}
    for cid, content in plain_cids.items():
        places[cid, None] = cid_of(encrypt_bytes(key.shared, content, Purpose.INPUT))
        for index in range(len(plain.items)):
            places[cid, index] = cid_of(encrypt_bytes(key.of(index), content, Purpose.INPUT))
    return places


def sealed(plain: Manifest = PLAIN, key: DataKey = KEY, secrets: tuple[str, ...] = ()) -> tuple[Manifest, bytes]:
    places = places_of(plain, key)
    document = private_document(plain, key, places, secrets)
    manifest = public_manifest(plain, ref("x", document), places, PART)
    return seal_data_key(manifest, key, PLACE, pool_key=POOL_KEY.public, requester_key=OWN_KEY.public), document


def test_each_task_gets_its_own_job_back_and_nothing_of_the_others() -> None:
    public, document = sealed(secrets=("pass",))
    public = parse_manifest(public.to_bytes())
    for index in range(2):
        job = open_private_job(public, document, KEY.keys_for(index, 1), [index])
        assert job.manifest.files_of(index) == PLAIN.files_of(index)
        assert job.manifest.arguments_of(index) == (f"{MARKER}-{index}",)
        assert job.manifest.arguments_of(1 - index) == ()
        assert job.manifest.canonicaliser == PLAIN.canonicaliser
        assert job.secrets == ("pass",)
        own = job.files[cid_of(FILES[f"own {index}"])]
        assert own == (cid_of(encrypt_bytes(KEY.of(index), FILES[f"own {index}"], Purpose.INPUT)), KEY.of(index))
        assert cid_of(FILES[f"own {1 - index}"]) not in job.files
        wanted = {file.cid for file in public.files_of(index)}
        assert {job.files[file.cid][0] for file in job.manifest.files_of(index)} <= wanted
    both = open_private_job(public, document, KEY.keys_for(0, 2), [0, 1])
    assert both.manifest == PLAIN
    with pytest.raises(VerificationError, match="other tasks"):
        open_private_job(public, document, KEY.keys_for(0, 1), [1])


def test_nothing_of_names_arguments_rules_and_plain_cids_is_in_the_public_manifest() -> None:
    public, document = sealed(secrets=(MARKER,))
    data = public.to_bytes()
    assert is_private(public) and not is_private(PLAIN)
    assert MARKER.encode() not in data + document
    assert not any(cid_of(content).encode() in data for content in FILES.values())
    assert (public.runtime, public.resources, public.needs) == (PLAIN.runtime, PLAIN.resources, PLAIN.needs)
    assert {file.size for file in public.inputs} == {encrypted_size(8), encrypted_size(11)}


def test_a_job_that_is_alike_for_all_tasks_needs_no_items() -> None:
    plain = replace(PLAIN, items=())
    public, document = sealed(plain)
    assert open_private_job(public, document, KEY.keys_for(70, 5), [70, 74]).manifest == plain


def test_the_key_opens_for_the_pool_and_for_the_requester() -> None:
    public, _ = sealed()
    assert open_data_key(public, POOL_KEY, PLACE, of_pool=True) == KEY
    assert open_data_key(public, OWN_KEY, PLACE, of_pool=False) == KEY
    with pytest.raises(VerificationError, match="does not open"):
        open_data_key(public, OWN_KEY, PLACE, of_pool=True)
    with pytest.raises(VerificationError, match="does not open"):
        open_data_key(public, POOL_KEY, PLACE, of_pool=False)


@pytest.mark.parametrize("field", ["hub", "requester", "chain_id"])
def test_another_chain_hub_or_requester_cannot_use_the_sealed_key(field: str) -> None:
    public, _ = sealed()
    values: dict[str, Any] = {field: 1 if field == "chain_id" else checksum("0x" + "ee" * 20)}
    other = replace(PLACE, **values)
    with pytest.raises(VerificationError, match="does not open"):
        open_data_key(public, POOL_KEY, other, of_pool=True)


@pytest.mark.parametrize("field", ["pool", "app"])
def test_a_deal_with_another_pool_or_app_is_refused_and_so_is_a_forged_name(field: str) -> None:
    public, _ = sealed()
    stranger: dict[str, Any] = {field: checksum("0x" + "ee" * 20)}
    other = replace(PLACE, **stranger)
    with pytest.raises(ManifestError, match="used for no other"):
        open_data_key(public, POOL_KEY, other, of_pool=True)
    assert public.sealed is not None
    forged = replace(public, sealed=replace(public.sealed, **stranger))
    with pytest.raises(VerificationError, match="does not open"):
        open_data_key(forged, POOL_KEY, other, of_pool=True)


def test_a_sealed_key_that_is_put_into_another_manifest_does_not_open() -> None:
    public, _ = sealed()
    other, _ = sealed(replace(PLAIN, retention_days=7))
    assert public.sealed is not None
    thief = replace(other, sealed=public.sealed)
    with pytest.raises(VerificationError, match="does not open"):
        open_data_key(thief, POOL_KEY, PLACE, of_pool=True)
    with pytest.raises(VerificationError, match="does not open"):
        open_data_key(replace(public, items=public.items[:1]), POOL_KEY, PLACE, of_pool=True)


def test_a_plain_manifest_has_no_key() -> None:
    with pytest.raises(ManifestError, match="no sealed key"):
        open_data_key(PLAIN, POOL_KEY, PLACE, of_pool=True)


def test_a_document_that_says_something_else_than_the_public_manifest_is_refused() -> None:
    public, document = sealed()
    richer = replace(public, resources=Resources(fuel=1))
    with pytest.raises(ManifestError, match="something else"):
        open_private_job(richer, document, KEY.keys_for(0, 1), [0])
    with pytest.raises(VerificationError):
        open_private_job(public, document[:-1], KEY.keys_for(0, 1), [0])
    with pytest.raises(ManifestError, match="cannot be used"):
        open_private_job(public, document, KEY.keys_for(2, 1), [2])
    for nonsense in (b"[]", b"{}", b'{"fairgrid":"private/1"}', b"\xff"):
        with pytest.raises(ManifestError):
            open_private_job(public, encrypt_bytes(KEY.shared, nonsense, Purpose.DOCUMENT), KEY.keys_for(0, 1), [0])


def test_secrets_alone_are_sealed_beside_a_plain_job() -> None:
    part = replace(PART, hides=Hides.SECRETS, secrets=sealed_secrets(KEY, (MARKER, "two")))
    manifest = replace(PLAIN, script=ref("a.py", b""), items=(), inputs=(), arguments=(), canonicaliser=(), sealed=part)
    manifest = seal_data_key(manifest, KEY, PLACE, pool_key=POOL_KEY.public, requester_key=OWN_KEY.public)
    data = manifest.to_bytes()
    assert MARKER.encode() not in data
    read = parse_manifest(data)
    assert read == manifest and not is_private(read)
    assert read.sealed is not None and open_secrets(read.sealed, KEY.keys_for(5, 1)) == (MARKER, "two")
    assert open_data_key(read, POOL_KEY, PLACE, of_pool=True) == KEY
    with pytest.raises(ManifestError, match="at most"):
        sealed_secrets(KEY, ("x" * 70_000,))


@pytest.mark.parametrize(
    ("part", "match"),
    [
        (PART, "schema"),
        (replace(PART, key_for_pool=b"x" * 80, key_for_requester=b"x" * 80, pool=POOL.lower()), "checksums"),
        (replace(PART, key_for_pool=b"x" * 80, key_for_requester=b"x" * 80, hides=Hides.SECRETS), "if and only if"),
        (replace(PART, key_for_pool=b"x" * 79, key_for_requester=b"x" * 80), "schema"),
    ],
)
def test_an_encryption_that_is_not_written_right_is_refused(part: SealedPart, match: str) -> None:
    with pytest.raises(ManifestError, match=match):
        parse_manifest(replace(PLAIN, sealed=part).to_bytes())


def test_result_key_and_blind_belong_to_one_task() -> None:
    values = [use(KEY.of(index)) for index in range(3) for use in (result_key, blind_of)]
    assert len(set(values)) == 6
    assert len(blind_of(KEY.of(0))) == 65


# --- sealing ---------------------------------------------------------------------------------------------------------


def test_a_seal_opens_for_its_reader_in_its_context_only() -> None:
    sealed_key = seal_for(POOL_KEY.public, b"secret", b"here")
    assert POOL_KEY.open(sealed_key, b"here") == b"secret"
    assert seal_for(POOL_KEY.public, b"secret", b"here") != sealed_key
    for key, data, context in (
        (OWN_KEY, sealed_key, b"here"),
        (POOL_KEY, sealed_key, b"there"),
        (POOL_KEY, sealed_key[:-1], b"here"),
        (POOL_KEY, sealed_key[:10], b"here"),
        (POOL_KEY, bytes(32) + sealed_key[32:], b"here"),
        (POOL_KEY, b"", b"here"),
    ):
        with pytest.raises(VerificationError, match="does not open"):
            key.open(data, context)
    with pytest.raises(UsageError, match="no encryption key"):
        seal_for(b"short", b"secret", b"here")
    with pytest.raises(UsageError, match="no encryption key"):
        seal_for(bytes(32), b"secret", b"here")


def test_an_account_brings_its_encryption_key_back_and_a_moody_signer_is_refused() -> None:
    one = encryption_key_of(lambda message: "0x" + "11" * 64 + "1b")
    again = encryption_key_of(lambda message: "0x" + "11" * 64 + "00")
    assert one.public == again.public != encryption_key_of(lambda message: "0x" + "12" * 64 + "1b").public
    assert "11" * 10 not in repr(one)
    signatures = iter(["0x" + "11" * 65, "0x" + "12" * 65])
    with pytest.raises(UsageError, match="another signature each time"):
        encryption_key_of(lambda message: next(signatures))


def test_statements_about_keys_name_everything() -> None:
    base = pool_key_message(1, HUB, POOL, b"k" * 32)
    task = "0x" + "00" * 32
    assert len(base) == 32
    others = [
        pool_key_message(2, HUB, POOL, b"k" * 32),
        pool_key_message(1, POOL, POOL, b"k" * 32),
        pool_key_message(1, HUB, HUB, b"k" * 32),
        pool_key_message(1, HUB, POOL, b"j" * 32),
        worker_key_message(1, HUB, POOL, APP, task, b"k" * 32),
        worker_key_message(1, HUB, POOL, HUB, task, b"k" * 32),
        worker_key_message(1, HUB, POOL, APP, "0x" + "01" * 32, b"k" * 32),
    ]
    assert len({base, *others}) == 8
