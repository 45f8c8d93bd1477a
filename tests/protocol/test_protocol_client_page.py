"""`docs/protocol-client.md` quotes the committed vectors, and the rules that the code has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairgrid.protocol.access import access_message
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import to_hex32
from fairgrid.protocol.manifest import SCHEMA_PATH
from fairgrid.protocol.seals import recover_message_signer, seal_hash
from tests.protocol.formats import VECTORS

PAGE = (Path(__file__).parents[2] / "docs" / "protocol-client.md").read_text(encoding="utf-8")


def texts(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of the vectors that a reader would compare, with the way to it."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from texts(value, f"{path}/{key}")
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from texts(value, f"{path}/{position}")
    elif isinstance(node, str) and "/files/" not in path and "/document/" not in path and path != "/archive/hex":
        yield path, node


@pytest.mark.parametrize(("path", "value"), list(texts(VECTORS)), ids=lambda value: str(value)[:40])
def test_page_quotes_the_vector(path: str, value: str) -> None:
    assert value in PAGE, f"docs/protocol-client.md does not quote {path}"


@pytest.mark.parametrize("vector", VECTORS["digest"], ids=lambda vector: f"{len(vector['files'])}-files")
def test_page_names_the_files_of_each_digest(vector: dict[str, Any]) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith("|") and vector["digest"] in line]
    for name, content in vector["files"].items():
        assert f"`{name}` = {json.dumps(content, ensure_ascii=False)}" in row


def test_page_explains_every_key_of_the_manifest() -> None:
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    for key in schema["properties"]:
        assert f"`{key}`" in PAGE
    for key in schema["properties"]["resources"]["properties"]:
        assert f"`{key}`" in PAGE


def test_committed_seal_holds() -> None:
    vector = VECTORS["seal"]
    names = ("chainId", "hub", "taskId", "round", "worker", "digest", "salt")
    assert seal_hash(*(vector[name] for name in names)) == vector["seal"]


def test_committed_archive_bytes_have_the_committed_cid() -> None:
    assert cid_of(bytes.fromhex(VECTORS["archive"]["hex"])) == VECTORS["archive"]["cid"]


def test_committed_access_signature_is_the_requesters() -> None:
    vector = VECTORS["access"]
    names = ("chainId", "hub", "workerpool", "taskId", "expiresAt")
    message = access_message(*(vector[name] for name in names))
    assert to_hex32(message) == vector["message"]
    assert recover_message_signer(message, vector["signature"]) == vector["requester"]


@pytest.mark.parametrize(("name", "other"), [("chainId", 1), ("workerpool", "0x" + "11" * 20), ("expiresAt", 0)])
def test_an_access_signature_counts_for_nothing_else(name: str, other: object) -> None:
    vector = VECTORS["access"] | {name: other}
    names = ("chainId", "hub", "workerpool", "taskId", "expiresAt")
    message = access_message(*(vector[name] for name in names))
    assert recover_message_signer(message, vector["signature"]) != vector["requester"]
