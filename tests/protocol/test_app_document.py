"""Documents of published apps: what is in them, what is refused, and which jobs are theirs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
import rfc8785

from fairgrid.errors import ManifestError
from fairgrid.protocol.app_document import (
    MAX_DOCUMENT_BYTES,
    AppDocument,
    document_cid,
    name_fault,
    parse_document,
    program_fault,
)
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.manifest import FileRef, Item, Manifest, Resources
from fairgrid.protocol.needs import Needs
from fairgrid.protocol.views import AppInfo

PROGRAM = FileRef("tool.wasm", cid_of(b"program"), 7)
WORDS = FileRef("words.txt", cid_of(b"words"), 5)
ZEBRA = FileRef("zebra.txt", cid_of(b"zebra"), 5)
DOCUMENT = AppDocument("tool", "wasmtime-49/wasi/deterministic", PROGRAM, (ZEBRA, WORDS), "A tool.", 1 << 20)
JOB = Manifest(script=PROGRAM, runtime=DOCUMENT.runtime, resources=Resources(fuel=1), inputs=(WORDS, ZEBRA))


def entry(document: AppDocument) -> AppInfo:
    """What the chain says of it."""
    multiaddr = f"/ipfs/{document.cid()}".encode()
    return AppInfo(ZERO_ADDRESS, document.name, "WASM", multiaddr, document.checksum(), b"")


def test_document_comes_back_from_its_bytes_and_is_the_one_on_chain() -> None:
    data = DOCUMENT.to_bytes()
    assert parse_document(data, entry(DOCUMENT)) == replace(DOCUMENT, inputs=(WORDS, ZEBRA))
    assert DOCUMENT.checksum() == "0x" + hashlib.sha256(data).hexdigest()
    assert document_cid(entry(DOCUMENT)) == DOCUMENT.cid() == cid_of(data)


def test_document_of_another_app_is_refused() -> None:
    other = replace(DOCUMENT, description="Another.")
    with pytest.raises(ManifestError, match="not the one whose checksum is on chain"):
        parse_document(other.to_bytes(), entry(DOCUMENT))
    with pytest.raises(ManifestError, match="'other' on chain and 'tool' in its document"):
        parse_document(DOCUMENT.to_bytes(), replace(entry(DOCUMENT), name="other"))


@pytest.mark.parametrize("multiaddr", [b"", b"/ipfs/", b"/ipfs/none", DOCUMENT.cid().encode(), b"\xff"])
def test_multiaddr_that_names_no_content_gives_no_cid(multiaddr: bytes) -> None:
    assert document_cid(replace(entry(DOCUMENT), multiaddr=multiaddr)) is None


def changed(**change: Any) -> bytes:
    return rfc8785.dumps(json.loads(DOCUMENT.to_bytes()) | change)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        DOCUMENT.to_bytes() + b" ",
        b" " * (MAX_DOCUMENT_BYTES + 1),
        changed(more=1),
        changed(fairgrid="app/2"),
        changed(name="Tool"),
        changed(name=1),
        changed(runtime=None),
        changed(memoryBytes=-1),
        changed(memoryBytes=True),
        changed(description="x" * 2_001),
        changed(inputs={}),
        changed(inputs=[ZEBRA.to_wire(), WORDS.to_wire()]),
        changed(inputs=[WORDS.to_wire(), WORDS.to_wire()]),
        changed(inputs=[FileRef("a/b", WORDS.cid, 5).to_wire()]),
        changed(program=FileRef("../tool", PROGRAM.cid, 7).to_wire()),
        changed(program=FileRef("tool", "none", 7).to_wire()),
        changed(program=PROGRAM.to_wire() | {"more": 1}),
        changed(program="tool"),
        changed(reach=[]),
        changed(reach="a.org"),
        changed(reach=[1]),
        changed(reach=["http://a.org"]),
        changed(reach=["b.org", "a.org"]),
        changed(reach=["a.org", "a.org"]),
        changed(reach=[f"{letter}.org" for letter in "abcdefghijklmnopq"]),
    ],
)
def test_document_that_breaks_a_rule_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_document(data)


@pytest.mark.parametrize("name", ["a", "word-count", "0.x_y", "a" * 64])
def test_name_of_lower_case_letters_can_be_an_apps(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize("name", ["", "A", "-a", "a" * 65, "ä", "a b", "a\n", "wasmtime-49/py312/deterministic"])
def test_name_that_could_be_taken_for_a_runtime_or_cannot_be_typed_is_refused(name: str) -> None:
    assert name_fault(name) is not None


@pytest.mark.parametrize(
    "job",
    [
        JOB,
        replace(JOB, inputs=(WORDS, ZEBRA, FileRef("mine.csv", cid_of(b"mine"), 4)), arguments=("5",)),
        replace(JOB, items=(Item(), Item(inputs=(WORDS, ZEBRA)))),
    ],
)
def test_job_with_the_apps_program_and_files_is_the_apps(job: Manifest) -> None:
    assert program_fault(DOCUMENT, job) is None


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (replace(JOB, runtime="other/1"), "asks for runtime 'other/1'"),
        (replace(JOB, script=replace(PROGRAM, cid=WORDS.cid)), "not that of the app"),
        (replace(JOB, script=replace(PROGRAM, name="other.wasm")), "not that of the app"),
        (replace(JOB, inputs=(WORDS,)), "lacks 'zebra.txt'"),
        (replace(JOB, inputs=(WORDS, replace(ZEBRA, cid=WORDS.cid))), "lacks 'zebra.txt'"),
        (replace(JOB, items=(Item(), Item(inputs=(ZEBRA,)))), "lacks 'words.txt'"),
    ],
)
def test_job_with_another_program_or_without_a_file_is_not_the_apps(job: Manifest, said: str) -> None:
    assert said in str(program_fault(DOCUMENT, job))


def test_app_that_names_no_host_has_the_bytes_that_it_always_had_and_its_jobs_say_for_themselves() -> None:
    assert b"reach" not in DOCUMENT.to_bytes()
    assert program_fault(DOCUMENT, replace(JOB, needs=Needs(network=("a.org",)))) is None


def test_app_that_names_hosts_is_run_with_these_and_no_others() -> None:
    needy = replace(DOCUMENT, reach=("b.org:22", "a.org"))
    assert parse_document(needy.to_bytes()).reach == ("a.org", "b.org:22")
    assert program_fault(needy, replace(JOB, needs=Needs(network=("b.org:22", "a.org")))) is None
    for hosts, said in (((), "asks for no network"), (("a.org",), "asks for a.org"), (("a.org", "*"), "for a.org, *")):
        assert said in str(program_fault(needy, replace(JOB, needs=Needs(network=hosts))))


def test_zero_checksum_is_no_documents() -> None:
    with pytest.raises(ManifestError, match="checksum"):
        parse_document(DOCUMENT.to_bytes(), replace(entry(DOCUMENT), checksum=ZERO32))
