"""The results text on chain, and error documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.results import (
    ERROR_FILE,
    callback_results_text,
    cid_of_results,
    describe_error,
    error_in_folder,
    error_to_bytes,
    exit_error,
    limit_error,
    parse_error,
    results_text,
    rule_error,
)
from tests.protocol.formats import VECTORS, write_files

CID = cid_of(b"archive")


def test_results_text_has_its_spaces() -> None:
    assert results_text(CID) == f'{{ "storage": "ipfs", "location": "/ipfs/{CID}" }}'.encode()
    assert results_text(VECTORS["results"]["cid"]).decode() == VECTORS["results"]["text"]
    assert cid_of_results(results_text(CID)) == CID


def test_callback_results_text_names_the_contract_and_no_cid() -> None:
    text = callback_results_text("0x" + "Ab" * 20)
    assert text == b'{ "storage": "ethereum", "location": "0x' + b"Ab" * 20 + b'" }'
    assert cid_of_results(text) is None


def test_old_cids_of_other_workers_are_translated() -> None:
    old = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"
    found = cid_of_results(b'{"storage":"ipfs","location":"/ipfs/' + old.encode() + b'"}')
    assert found is not None and found.startswith("bafybei")


@pytest.mark.parametrize(
    "results",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"storage":"dropbox","location":"/results/0x00"}',
        b'{"storage":"ipfs"}',
        b'{"storage":"ipfs","location":5}',
        b'{"storage":"ipfs","location":"/ipfs/../../etc"}',
        b'{"storage":"ipfs","location":"http://x/ipfs/' + CID.encode() + b'"}',
    ],
)
def test_other_results_name_no_cid(results: bytes) -> None:
    assert cid_of_results(results) is None


@pytest.mark.parametrize("vector", VECTORS["errors"], ids=lambda vector: str(vector["document"]["kind"]))
def test_committed_error_documents_hold(vector: dict[str, Any], tmp_path: Path) -> None:
    assert error_to_bytes(vector["document"]).decode() == vector["text"]
    assert parse_error(vector["text"].encode()) == vector["document"]
    folder = write_files(tmp_path / "f", {ERROR_FILE: vector["text"]})
    assert tree_digest_of_folder(folder) == vector["digest"]
    assert error_in_folder(folder) == vector["document"]


@pytest.mark.parametrize(
    "document",
    [
        exit_error(1, b"out", b"err"),
        exit_error(255, None, None),
        limit_error("fuel", 5),
        limit_error("memory", 5),
        limit_error("outputBytes", 0),
        limit_error("outputFiles", 0),
        rule_error("computed", "why"),
        rule_error("callback", "why"),
        rule_error("logName", "why"),
        rule_error("files", "why"),
    ],
)
def test_every_kind_is_read_back_and_described(document: dict[str, Any]) -> None:
    assert parse_error(error_to_bytes(document)) == document
    says = describe_error(document)
    remedies = ["--fuel", "--memory", "--output-limit", "Write fewer", "Mend the script"]
    assert [says.count(remedy) for remedy in remedies if remedy in says] == [1]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"fairgrid":"error/2","kind":"fuel","limit":5}',
        b'{"fairgrid":"error/1","kind":"fuel","limit":5} ',
        b'{"kind":"fuel","limit":5,"fairgrid":"error/1"}',
        b'{"fairgrid":"error/1","kind":"fuel","limit":"5"}',
        b'{"fairgrid":"error/1","kind":"fuel","limit":true}',
        b'{"fairgrid":"error/1","kind":"fuel","limit":5,"seconds":3}',
        b'{"exitCode":1,"fairgrid":"error/1","kind":"exit","stdout":""}',
        b'{"fairgrid":"error/1","kind":"wallClock","limit":5}',
        b'{"fairgrid":"error/1","kind":"files","message":5}',
        b'{"fairgrid":"error/1","kind":["fuel"],"limit":5}',
    ],
)
def test_anything_else_is_no_error_document(data: bytes) -> None:
    assert parse_error(data) is None


def test_error_file_among_others_is_an_ordinary_file(tmp_path: Path) -> None:
    text = error_to_bytes(limit_error("fuel", 5)).decode()
    assert error_in_folder(write_files(tmp_path / "a", {ERROR_FILE: text})) is not None
    assert error_in_folder(write_files(tmp_path / "b", {ERROR_FILE: text, "other": ""})) is None
    assert error_in_folder(write_files(tmp_path / "c", {"other": text})) is None
