"""CIDs against vectors of ipfs-unixfs-importer 17.1.1 and against a second implementation."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgrid.errors import UsageError
from fairgrid.protocol.cid import CHUNK_BYTES, LINKS_PER_NODE, CidBuilder, cid_of, cid_of_leaves, is_cid, normal_cid

# Made by ipfs-unixfs-importer 17.1.1 (cidVersion 1, rawLeaves, fixed-size chunks, balanced): (file bytes, chunk bytes,
# links per node, CID, size of the whole DAG). Byte i of the file is i % 251.
IMPORTER_VECTORS = [
    (0, 262144, 174, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", 0),
    (1, 262144, 174, "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu", 1),
    (11, 262144, 174, "bafkreidyuyttca6rpq42bnqsnyrgz3dq4mztp5f4ni4am5abwvfdhz4ovu", 11),
    (262143, 262144, 174, "bafkreiagptg6ztonoojy4wflk3wwusl5xt4vcy6uult4wa7oemsjtxhjsu", 262143),
    (262144, 262144, 174, "bafkreibruh455iawsviqslif5c7uurdcfdemh22mtnytyzvnzn75kpejxy", 262144),
    (262145, 262144, 174, "bafybeiexg2oqkfnj56l7fcmawswqbijt5shq4b5rg6a546uwpkqqzwjioi", 262249),
    (45613056, 262144, 174, "bafybeihpe5snhzneq7xs53nivmsopto5lrogo3wjynauqylqeym5a3irbm", 45621766),
    (45613057, 262144, 174, "bafybeib4y7ghw2rq7bracc4xwtxrbzo7cfvagdpte2tmrkgwl6dyard3cm", 45621926),
    (3, 3, 3, "bafkreifojmzibzlof6xyh5auu3r5vpu5l67brf3fitaf73isdlglqw2t7q", 3),
    (4, 3, 3, "bafybeifoqwyj3ljvenkw674euptis44ctwjryq5v2nur46roykao427gde", 102),
    (9, 3, 3, "bafybeie6xm7knwjctybctnitjop7r74ej23bdlu6wl76676stt6l5wuaxa", 153),
    (10, 3, 3, "bafybeif766ifgmveibb6zpi2mcmmwmgs26uzklb5rfz526tmq6m3bzym7y", 305),
    (27, 3, 3, "bafybeie7ctrsybb4ez4vs6ncg5dapobs2jblk63y75y4jglgslkdgipjxm", 606),
    (28, 3, 3, "bafybeicxnxex42lwyoyfaocypwabc4fvddi7q24nbuhss7pr5q2ubxoaqi", 810),
    (81, 3, 3, "bafybeid2jauc6cnkyhxuapzehkaopunx5tkagthi67valvxjmcwtfnekqq", 1965),
    (82, 3, 3, "bafybeih2xphrmofr5gybyyrlurlxznvnneo3n6v43vevq32ezhrok6yliu", 2222),
    (1000, 3, 3, "bafybeibhqmysghtg5hjzrxypxmo2qkyd253f7uapzlmgcfrxl5debhfkgu", 25392),
]


def importer_bytes(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def second_implementation(data: bytes, chunk: int, width: int) -> str:
    """The same profile written another way: recursive, top down, over whole slices."""

    def varint(number: int) -> bytes:
        return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)

    def build(part: bytes, height: int) -> tuple[bytes, int]:
        if height == 0:
            return b"\x01\x55\x12\x20" + hashlib.sha256(part).digest(), len(part)
        span = chunk * width ** (height - 1)
        slices = [part[start : start + span] for start in range(0, len(part), span)]
        links = blocks = 0
        body = b""
        for piece in slices:
            cid, dag = build(piece, height - 1)
            link = b"\x0a\x24" + cid + b"\x12\x00\x18" + varint(dag)
            body += b"\x12" + varint(len(link)) + link
            links, blocks = links + 1, blocks + dag
        unixfs = b"\x08\x02\x18" + varint(len(part)) + b"".join(b"\x20" + varint(len(piece)) for piece in slices)
        body += b"\x0a" + varint(len(unixfs)) + unixfs
        return b"\x01\x70\x12\x20" + hashlib.sha256(body).digest(), len(body) + blocks

    height = 0
    while chunk * width**height < len(data):
        height += 1
    return "b" + base64.b32encode(build(data, height)[0]).decode().lower().rstrip("=")


@pytest.mark.parametrize(("size", "chunk", "width", "cid", "dag_size"), IMPORTER_VECTORS)
def test_a_file_has_the_cid_and_dag_size_that_the_ipfs_importer_gives(
    size: int, chunk: int, width: int, cid: str, dag_size: int
) -> None:
    builder = CidBuilder(chunk_bytes=chunk, links_per_node=width)
    builder.update(importer_bytes(size))
    assert (builder.finish(), builder.dag_size, builder.size) == (cid, dag_size, size)


def test_the_default_profile_is_the_published_one() -> None:
    assert (CHUNK_BYTES, LINKS_PER_NODE) == (262_144, 174)
    assert cid_of(importer_bytes(262145)) == IMPORTER_VECTORS[5][3]


def test_one_changed_byte_in_the_last_chunk_changes_the_cid() -> None:
    data = bytearray(importer_bytes(CHUNK_BYTES + 1))
    before = cid_of(bytes(data))
    data[-1] ^= 1
    assert cid_of(bytes(data)) != before


@given(st.binary(max_size=400), st.integers(1, 5), st.integers(2, 4))
@settings(max_examples=150, deadline=None)
def test_any_file_has_the_cid_of_the_second_implementation(data: bytes, chunk: int, width: int) -> None:
    builder = CidBuilder(chunk_bytes=chunk, links_per_node=width)
    builder.update(data)
    assert builder.finish() == second_implementation(data, chunk, width)


def test_a_file_above_one_node_of_links_agrees_with_the_second_implementation() -> None:
    data = importer_bytes(CHUNK_BYTES * (LINKS_PER_NODE + 2) + 7)
    assert cid_of(data) == second_implementation(data, CHUNK_BYTES, LINKS_PER_NODE)


@given(st.lists(st.binary(max_size=9), max_size=30))
@settings(deadline=None)
def test_how_a_stream_is_cut_does_not_change_its_cid(pieces: list[bytes]) -> None:
    whole = CidBuilder(chunk_bytes=4, links_per_node=3)
    whole.update(b"".join(pieces))
    cut = CidBuilder(chunk_bytes=4, links_per_node=3)
    for piece in pieces:
        cut.update(piece)
    assert cut.finish() == whole.finish()
    assert cut.leaf_digests == whole.leaf_digests


def test_nothing_can_be_added_to_a_finished_cid() -> None:
    builder = CidBuilder()
    builder.update(b"abc")
    assert builder.finish() == builder.finish()
    with pytest.raises(ValueError, match="finished"):
        builder.update(b"d")


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_leaf_digests_and_size_give_the_cid_again(size: int) -> None:
    builder = CidBuilder()
    builder.update(importer_bytes(size))
    cid = builder.finish()
    assert cid_of_leaves(builder.leaf_digests, size) == cid


@pytest.mark.parametrize(("digests", "size"), [(0, 0), (2, 1), (1, CHUNK_BYTES + 1)])
def test_leaf_digests_that_do_not_fit_the_size_are_refused(digests: int, size: int) -> None:
    with pytest.raises(UsageError, match="cannot describe"):
        cid_of_leaves([bytes(32)] * digests, size)


def test_a_cidv0_names_the_same_file_as_its_cidv1() -> None:
    assert (
        normal_cid("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG")
        == "bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho34"
    )


def test_a_cidv1_is_its_own_normal_spelling() -> None:
    for vector in IMPORTER_VECTORS:
        assert normal_cid(vector[3]) == vector[3]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "Qm",
        "../../../../etc/passwd",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykU",  # upper case
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyk",  # one character short
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykv",  # stray bits in the last character
        "bafyreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",  # dag-cbor: not a file
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPb0G",  # 0 is not a base58 digit
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyk1",
        "b" + "é" * 58,
    ],
)
def test_what_is_no_cid_of_a_file_is_refused(text: str) -> None:
    assert not is_cid(text)
    with pytest.raises(UsageError, match="not the CID of a file"):
        normal_cid(text)
