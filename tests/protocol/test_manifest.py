"""Manifests: strict, canonical, and the params that commit to them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fairgrid.errors import ManifestError, UsageError
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.manifest import (
    MAX_MANIFEST_BYTES,
    SCHEMA_PATH,
    FileRef,
    Item,
    Manifest,
    Resources,
    TaskRef,
    hashed_name,
    job_seed,
    manifest_cid_of_params,
    params_for,
    parse_manifest,
)
from fairgrid.protocol.needs import Alike, GpuNeed, Needs
from tests.protocol.formats import VECTORS

VECTOR = VECTORS["manifest"]
CID = cid_of(b"content")
GOOD = Manifest(
    script=FileRef("run.py", CID, 7),
    runtime="wasmtime-49/py312/deterministic",
    resources=Resources(fuel=10**9),
    arguments=("a", "ü"),
    inputs=(FileRef("sub/data.csv", CID, 7), FileRef("other", CID, 7)),
    dependencies=(TaskRef("before", "0x" + "ab" * 32),),
)


def canonical(wire: object) -> bytes:
    return json.dumps(wire, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def changed(path: str, value: Any) -> bytes:
    """The good manifest with the value at ``a/b/0`` replaced, or added."""
    wire: Any = json.loads(GOOD.to_bytes())
    *way, last = path.split("/")
    place = wire
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place[part]
    if isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return canonical(wire)


def test_manifest_survives_the_way_through_its_bytes() -> None:
    own = Item(dependencies=(TaskRef("map", "0x" + "01" * 32), TaskRef("map 2", "0x" + "01" * 32)))
    items = (Item(arguments=()), Item(inputs=(FileRef("x", CID, 7),)), own, Item((), (), ()))
    bag = dataclasses.replace(GOOD, items=items)
    for manifest in (GOOD, bag):
        assert parse_manifest(manifest.to_bytes()) == manifest
        assert manifest.cid() == cid_of(manifest.to_bytes())


def test_committed_vector_holds() -> None:
    manifest = parse_manifest(VECTOR["text"].encode())
    assert manifest.to_bytes() == VECTOR["text"].encode()
    assert manifest.cid() == VECTOR["cid"]
    assert params_for(VECTOR["gateway"], VECTOR["cid"]) == VECTOR["params"]
    assert {index: job_seed(VECTOR["cid"], int(index)).hex() for index in VECTOR["seeds"]} == VECTOR["seeds"]
    assert manifest.inputs[0].cid == VECTOR["inputCid"]
    assert hashed_name(VECTOR["inputCid"]) == VECTOR["inputHashedName"]


def test_schema_is_itself_valid_and_closed_everywhere() -> None:
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)

    def objects(node: Any) -> list[dict[str, Any]]:
        if isinstance(node, dict):
            own = [node] if node.get("type") == "object" else []
            return own + [found for value in node.values() for found in objects(value)]
        return [found for value in node for found in objects(value)] if isinstance(node, list) else []

    found = objects(schema)
    assert len(found) == 18
    assert all(item["additionalProperties"] is False for item in found)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("unknown", 1),
        ("job/unknown", 1),
        ("job/kind", "image"),
        ("job/script/mode", 7),
        ("inputs/0/url", "http://x"),
        ("resources/cpus", 2),
        ("fairgrid", "manifest/2"),
        ("arguments", "text"),
        ("arguments/0", 5),
        ("resources/fuel", 0),
        ("resources/fuel", 2**53),
        ("resources/fuel", True),
        ("resources/fuel", "5"),
        ("resources/memoryBytes", 2**32),
        ("resources/outputFiles", 60_001),
        ("runtime", "anything goes"),
        ("seed", "random"),
        ("clock/startSeconds", 0),
        ("environment", "0x" + "00" * 32),
        ("dependencies", ["numpy"]),
        ("dependencies/0/task", "0x" + "AB" * 32),
        ("dependencies/0/task", "last"),
        ("dependencies/0/pool", "0x00"),
        ("dependencies/0/name", ""),
        ("canonicaliser", "round"),
        ("encryption", "aes"),
        ("verify/policy", "none"),
        ("outputs/logs", "none"),
        ("retention/days", -1),
        ("retention/days", 36_501),
        ("retention/then", "keep"),
        ("retention/then", True),
        ("retention/seconds", 5),
        ("items", [{}]),
        ("inputs/0/cid", "Qm" + "a" * 44),
        ("inputs/0/cid", "b" + "a" * 58),
        ("inputs/0/size", -1),
    ],
)
def test_whatever_version_1_does_not_know_is_refused(path: str, value: Any) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(changed(path, value))


@given(st.integers(1, 36_500))
def test_a_time_to_delete_comes_back_and_says_how_long_files_stay(days: int) -> None:
    manifest = dataclasses.replace(GOOD, retention_days=days, deleted_after=True)
    data = manifest.to_bytes()
    assert json.loads(data)["retention"] == {"days": days, "then": "delete"}
    assert parse_manifest(data) == manifest
    assert manifest.keep_s == days * 86_400


def test_a_manifest_that_deletes_nothing_is_written_as_ever() -> None:
    assert json.loads(GOOD.to_bytes())["retention"] == {"days": 30}
    assert GOOD.keep_s is None
    assert dataclasses.replace(GOOD, retention_days=0).keep_s is None


def test_files_are_not_deleted_before_anybody_can_read_them() -> None:
    with pytest.raises(ManifestError, match="1 day at least"):
        dataclasses.replace(GOOD, retention_days=0, deleted_after=True).to_bytes()
    with pytest.raises(ManifestError, match="1 day at least"):
        parse_manifest(changed("retention", {"days": 0, "then": "delete"}))


@pytest.mark.parametrize("key", sorted(json.loads(GOOD.to_bytes())))
def test_every_key_is_required(key: str) -> None:
    wire = json.loads(GOOD.to_bytes())
    del wire[key]
    with pytest.raises(ManifestError, match="breaks its schema"):
        parse_manifest(canonical(wire))


@pytest.mark.parametrize(
    "name",
    [
        *("", "/abs", "../up", "a/../b", "a//b", "./a", "a/", "x" * 256, "a\nb", "a\0b", "\x1b[31m"),
        *("0x" + "ab" * 32, "0x" + "00" * 32 + "/below", "/".join(["d" * 200] * 6)),
    ],
)
def test_bad_input_name_is_refused(name: str) -> None:
    manifest = dataclasses.replace(GOOD, inputs=(FileRef(name, CID, 7),))
    with pytest.raises(ManifestError):
        manifest.to_bytes()


@pytest.mark.parametrize("name", ["a", "ü/ä.txt", "x" * 255, ".hidden", "with space", "0x" + "ab" * 31, "-rf"])
def test_usual_input_name_is_accepted(name: str) -> None:
    dataclasses.replace(GOOD, inputs=(FileRef(name, CID, 7),)).to_bytes()


def test_names_that_cannot_lie_side_by_side_are_refused() -> None:
    twice = dataclasses.replace(GOOD, inputs=(FileRef("a", CID, 7), FileRef("a", CID, 7)))
    with pytest.raises(ManifestError, match="comes twice"):
        twice.to_bytes()
    inside = dataclasses.replace(GOOD, inputs=(FileRef("a/b/c", CID, 7), FileRef("a", CID, 7)))
    with pytest.raises(ManifestError, match="both a file and the folder"):
        inside.to_bytes()
    items = dataclasses.replace(GOOD, items=(Item(inputs=twice.inputs),))
    with pytest.raises(ManifestError, match="comes twice"):
        items.to_bytes()


def test_script_in_a_folder_is_refused() -> None:
    with pytest.raises(ManifestError, match="plain file name"):
        dataclasses.replace(GOOD, script=FileRef("folder/run.py", CID, 7)).to_bytes()


def test_arguments_that_no_process_takes_are_refused() -> None:
    with pytest.raises(ManifestError, match="NUL"):
        dataclasses.replace(GOOD, arguments=("a\0b",)).to_bytes()
    with pytest.raises(ManifestError, match="1 MiB"):
        dataclasses.replace(GOOD, arguments=("x" * 32_768,) * 33).to_bytes()
    with pytest.raises(ManifestError, match="canonical JSON"):
        dataclasses.replace(GOOD, arguments=("\ud800",)).to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b"[" * 100_000,
        json.dumps(json.loads(GOOD.to_bytes())).encode(),
        GOOD.to_bytes() + b"\n",
        GOOD.to_bytes().replace(b'"fuel":1000000000', b'"fuel":1e9'),
        GOOD.to_bytes().replace(b'"fuel":1000000000', b'"fuel":1000000000.0'),
        GOOD.to_bytes().replace(b'"fuel":1000000000', b'"fuel":5,"fuel":1000000000'),
        GOOD.to_bytes().replace("ü".encode(), b"\\u00fc"),
        b"\xef\xbb\xbf" + GOOD.to_bytes(),
    ],
)
def test_bytes_that_are_not_canonical_are_refused(data: bytes) -> None:
    assert data != GOOD.to_bytes()
    with pytest.raises(ManifestError):
        parse_manifest(data)


def test_huge_manifest_is_refused_before_it_is_read() -> None:
    with pytest.raises(ManifestError, match="at most"):
        parse_manifest(b" " * (MAX_MANIFEST_BYTES + 1))


def test_items_override_and_the_rest_stays() -> None:
    item = FileRef("own", CID, 7)
    bag = dataclasses.replace(GOOD, items=(Item(arguments=("x",)), Item(inputs=(item,))))
    assert (bag.arguments_of(0), bag.inputs_of(0)) == (("x",), GOOD.inputs)
    assert (bag.arguments_of(1), bag.inputs_of(1)) == (GOOD.arguments, (item,))
    assert bag.files_of(1) == (GOOD.script, item)
    for index in (-1, 2):
        with pytest.raises(ManifestError, match="volume"):
            bag.inputs_of(index)
    assert GOOD.arguments_of(10**6) == GOOD.arguments


def test_items_have_dependencies_of_their_own_or_those_of_the_manifest() -> None:
    own = TaskRef("map", "0x" + "01" * 32)
    bag = dataclasses.replace(GOOD, items=(Item(dependencies=(own,)), Item(arguments=("b",)), Item(dependencies=())))
    assert [bag.dependencies_of(index) for index in range(3)] == [(own,), GOOD.dependencies, ()]
    with pytest.raises(ManifestError, match="3 items and none for task 3"):
        bag.dependencies_of(3)


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a\0", "0x" + "12" * 32, "sub", "other"])
def test_name_of_a_dependency_that_cannot_lie_beside_the_inputs_is_refused(name: str) -> None:
    with pytest.raises(ManifestError, match="name"):
        dataclasses.replace(GOOD, dependencies=(TaskRef(name, "0x" + "ab" * 32),)).to_bytes()


def test_name_of_a_dependency_is_taken_once_also_in_items() -> None:
    twice = (TaskRef("one", "0x" + "ab" * 32), TaskRef("one", "0x" + "cd" * 32))
    with pytest.raises(ManifestError, match="comes twice"):
        dataclasses.replace(GOOD, dependencies=twice).to_bytes()
    item = Item(inputs=(FileRef("before/x", CID, 7),))
    with pytest.raises(ManifestError, match="comes twice"):
        dataclasses.replace(GOOD, items=(item,)).to_bytes()


def test_seed_follows_manifest_and_index_only() -> None:
    assert job_seed(CID, 1) == hashlib.sha256(b"fairgrid/seed/1" + CID.encode() + bytes(7) + b"\x01").digest()
    assert len({job_seed(CID, 0), job_seed(CID, 1), job_seed(GOOD.cid(), 0)}) == 3


def test_params_are_exactly_those_of_published_clients() -> None:
    expected = f'{{"iexec_input_files":["https://s.example/x/ipfs/{CID}"],"iexec_result_storage_provider":"ipfs"}}'
    assert params_for("https://s.example/x/", CID) == expected
    assert json.loads(expected)["iexec_result_storage_provider"] == "ipfs"
    assert manifest_cid_of_params(expected) == CID


@pytest.mark.parametrize("gateway", ["ftp://x", "x", "", "http://", 'http://a"b', "http://a b", "http://ü"])
def test_gateway_that_clients_would_refuse_is_refused(gateway: str) -> None:
    with pytest.raises(UsageError):
        params_for(gateway, CID)


def test_params_need_a_cid() -> None:
    with pytest.raises(UsageError):
        params_for("http://x", "nonsense")


@pytest.mark.parametrize(
    "params",
    [
        "",
        "{}",
        "just arguments",
        f'{{"iexec_input_files": ["http://x/ipfs/{CID}"],"iexec_result_storage_provider":"ipfs"}}',
        f'{{"iexec_input_files":["http://x/ipfs/{CID}","http://y"],"iexec_result_storage_provider":"ipfs"}}',
        f'{{"iexec_input_files":["http://x/ipfs/{CID}"],"iexec_result_storage_provider":"dropbox"}}',
        f'{{"iexec_input_files":["http://x/ipfs/{CID}"],"iexec_result_storage_provider":"ipfs","iexec_args":"x"}}',
        f'{{"iexec_input_files":["http://x//ipfs/{CID}"],"iexec_result_storage_provider":"ipfs"}}',
        f'{{"iexec_input_files":["http://x/ipfs/{CID[:-1]}"],"iexec_result_storage_provider":"ipfs"}}',
        f'{{"iexec_input_files":["http://x/ipfs/{CID}"],"iexec_result_storage_provider":"ipfs"}}\n',
    ],
)
def test_other_params_name_no_manifest(params: str) -> None:
    assert manifest_cid_of_params(params) is None


def test_needs_round_trip_and_are_left_out_where_nothing_is_asked() -> None:
    assert b'"needs"' not in GOOD.to_bytes()
    needs = Needs(
        cpus=4,
        memory_bytes=1 << 33,
        disk_bytes=5,
        gpus=GpuNeed(2, 1 << 34, "h100"),
        os=("linux",),
        arch=("x86_64", "aarch64"),
        level="container",
        labels=("eu",),
        tee=("tdx",),
        alike=Alike.PROCESSOR,
        priority=3,
        network=("*", "data.example.org:8443"),
    )
    for asked in (needs, Needs(gpus=GpuNeed()), Needs(cpus=1), Needs(network=("*.example.org",))):
        manifest = dataclasses.replace(GOOD, needs=asked)
        assert parse_manifest(manifest.to_bytes()) == manifest
        assert manifest.cid() != GOOD.cid()
    assert Needs().is_empty and not needs.is_empty


@pytest.mark.parametrize(
    "needs",
    [
        {},
        {"cpus": 0},
        {"cpus": 1.5},
        {"unknown": 1},
        {"gpus": {}},
        {"gpus": {"count": 0}},
        {"os": []},
        {"labels": ["eu", "eu"]},
        {"labels": ["Two words"]},
        {"level": "bare"},
        {"alike": "any"},
        {"priority": 10},
        {"network": []},
        {"network": True},
        {"network": ["localhost"]},
        {"network": ["http://example.org"]},
        {"network": ["example.org:65536"]},
        {"network": ["*", "*"]},
        {"network": [f"h{number}.example.org" for number in range(17)]},
    ],
)
def test_needs_that_are_empty_unknown_or_written_with_a_default_are_refused(needs: Any) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(changed("needs", needs))
