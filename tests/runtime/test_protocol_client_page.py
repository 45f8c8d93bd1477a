"""`docs/protocol-client.md` §5 says what the runtime does."""

from __future__ import annotations

from pathlib import Path

from fairgrid.protocol.results import exit_error, limit_error, rule_error
from fairgrid.runtime.job import LOG_BYTES
from fairgrid.runtime.log_sink import cut_marker
from fairgrid.runtime.wasm.guest_run import TRAP_EXIT
from fairgrid.runtime.wasm.interpreters import RUNTIMES, default_runtime_id
from fairgrid.runtime.wasm.wasi_calls import BYTE_FUEL, CALL_FUEL
from fairgrid.runtime.wasm.wasi_state import CLOCK_START_NS, SeededRandom
from tests.protocol.formats import VECTORS
from tests.runtime.test_determinism import KNOWN_FUEL

PAGE = (Path(__file__).parents[2] / "docs" / "protocol-client.md").read_text(encoding="utf-8")


def test_page_names_runtime_interpreter_and_numbers() -> None:
    assert f"`{default_runtime_id()}`" in PAGE
    assert RUNTIMES[default_runtime_id()].wasm_sha256 in PAGE
    assert f"{CALL_FUEL:,} for each system call and {BYTE_FUEL} for each byte" in PAGE
    assert f"{KNOWN_FUEL:,}" in PAGE
    assert f"{CLOCK_START_NS // 10**9:,} s" in PAGE
    assert cut_marker(LOG_BYTES).decode().strip() in PAGE
    assert f"a trap of the interpreter {TRAP_EXIT}" in PAGE


def test_page_lists_every_kind_of_error() -> None:
    documents = [exit_error(1, b"", b"")]
    documents += [limit_error(kind, 1) for kind in ("fuel", "memory", "outputBytes", "outputFiles")]
    documents += [rule_error(kind, "") for kind in ("logName", "computed", "callback", "files")]
    for document in documents:
        assert f"`{document['kind']}`" in PAGE


def test_committed_random_stream_holds() -> None:
    vector = VECTORS["random"]
    assert SeededRandom(bytes.fromhex(vector["seed"])).take(64).hex() == vector["first64"]
