"""The rules of results: what is hashed, error documents, callbacks."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.protocol.canonical import read_rule
from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.hexes import keccak, to_hex32
from fairgrid.protocol.manifest import Resources
from fairgrid.protocol.results import MAX_CALLBACK_BYTES, error_in_folder, parse_error
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.runtime.twin import FunctionSandbox
from tests.runtime.job_bench import CALLBACK_CONTEXT, FUEL, RUNTIME, Bench, stopped, write


async def test_without_computed_file_the_whole_folder_and_the_logs_are_the_result(bench: Bench) -> None:
    def job(job: SandboxJob) -> Outcome:
        write(job, {"b": "b", "a/ü.txt": "ü", "a/" + "long" * 60: ""})
        return Outcome(Stop.EXITED, 0, b"printed\n", b"", 1, 1.0, 1)

    result = await bench.run_function(job)
    assert result.covered == ("a/" + "long" * 60, "a/ü.txt", "b", "stdout.txt")
    assert result.digest == tree_digest_of_folder(result.result_folder)
    assert (result.exit_code, result.error, result.callback_data) == (0, None, None)
    assert (result.result_folder / "stdout.txt").read_bytes() == b"printed\n"


async def test_declared_canonical_forms_are_what_is_hashed_and_uploaded(bench: Bench) -> None:
    rules = tuple(read_rule(text) for text in ("round:*.csv:decimals=1:edge=5", "rows:*.csv:header=1", "json:*.json"))
    manifest = replace(bench.manifest(), canonicaliser=rules)
    plain, digests = bench.manifest(), {}
    for name, number in (("one machine", "0.5000000001"), ("another", "0.4999999999")):
        files = {"a.csv": f"n\nb {number}\na 1\n", "b.json": f'{{"z": 1, "a": "{len(number)}"}}', "c.txt": "as it is  "}
        sandbox = FunctionSandbox(partial(write, files=files), runtime_id=RUNTIME)
        result = await bench.run(manifest, sandbox)
        assert result.digest == tree_digest_of_folder(result.result_folder)
        assert (result.result_folder / "a.csv").read_text() == "n\na 1\nb 0.5\n"
        assert (result.result_folder / "b.json").read_text() == '{"a":"12","z":1}'
        assert (result.result_folder / "c.txt").read_text() == "as it is  "
        digests[name] = (result.digest, (await bench.run(plain, sandbox)).digest)
    (first, plain_first), (second, plain_second) = digests.values()
    assert first == second and plain_first != plain_second


async def test_a_file_without_the_declared_form_is_an_error_that_every_machine_writes_alike(bench: Bench) -> None:
    manifest = replace(bench.manifest(), canonicaliser=(read_rule("json:*.json"),))
    result = await bench.run(manifest, FunctionSandbox(lambda job: write(job, {"a.json": "{"}), runtime_id=RUNTIME))
    why = "it is not JSON with numbers that every reader keeps"
    message = f"The manifest wants a.json in the canonical form 'json', but {why}."
    document = {"fairgrid": "error/1", "kind": "canonical", "message": message}
    assert result.error == document == error_in_folder(result.result_folder)


async def test_empty_output_has_the_digest_of_no_files(bench: Bench) -> None:
    result = await bench.run_function(lambda job: b"")
    assert result.digest == to_hex32(keccak(b"\x02"))
    assert result.covered == () and result.error is None


@pytest.mark.parametrize("named", ["/iexec_out/keep", "/iexec_out/keep/", "keep"])
async def test_computed_file_narrows_the_result_to_its_folder(bench: Bench, named: str) -> None:
    def job(job: SandboxJob) -> Outcome:
        computed = json.dumps({"deterministic-output-path": named, "unknown": 1})
        write(job, {"keep/a": "a", "keep/deep/b": "b", "keeper": "no", "computed.json": computed})
        return Outcome(Stop.EXITED, 0, b"out", b"err", 1, 1.0, 1)

    result = await bench.run_function(job)
    assert result.covered == ("keep/a", "keep/deep/b", "stderr.txt", "stdout.txt")
    assert sorted(path.name for path in result.result_folder.iterdir()) == ["keep", "stderr.txt", "stdout.txt"]


async def test_computed_file_may_name_one_file_or_everything(bench: Bench) -> None:
    one = json.dumps({"deterministic-output-path": "/iexec_out/b.txt"})
    result = await bench.run_function(lambda job: write(job, {"a": "a", "b.txt": "b", "computed.json": one}))
    assert result.covered == ("b.txt",)
    everything = json.dumps({"deterministic-output-path": "/iexec_out"})
    result = await bench.run_function(lambda job: write(job, {"a": "a", "b": "b", "computed.json": everything}))
    assert result.covered == ("a", "b")


@pytest.mark.parametrize(
    "computed",
    [
        "not json",
        "[]",
        '{"deterministic-output-path": 5}',
        '{"deterministic-output-path": "/iexec_out/none"}',
        '{"deterministic-output-path": "/iexec_out/../in"}',
        '{"deterministic-output-path": "/etc/passwd"}',
        '{"deterministic-output-path": "/iexec_out/computed.json"}',
        '{"deterministic-output-path": ""}',
    ],
)
async def test_bad_computed_file_is_an_error_document(bench: Bench, computed: str) -> None:
    result = await bench.run_function(lambda job: write(job, {"a": "a", "computed.json": computed}))
    assert result.error is not None and result.error["kind"] == "computed"
    assert result.covered == ("error.json",)


@pytest.mark.parametrize("name", ["stdout.txt", "stderr.txt"])
async def test_own_file_with_the_name_of_a_log_is_an_error(bench: Bench, name: str) -> None:
    result = await bench.run_function(lambda job: write(job, {name: "mine"}))
    assert result.error is not None and result.error["kind"] == "logName"
    result = await bench.run_function(lambda job: write(job, {"sub/" + name: "mine"}))
    assert result.error is None


async def test_link_in_the_output_is_an_error(bench: Bench) -> None:
    def job(job: SandboxJob) -> bytes:
        (job.output_folder / "link").symlink_to("/etc/passwd")
        return b""

    result = await bench.run_function(job)
    assert result.error is not None and result.error["kind"] == "files"
    assert [path.name for path in result.result_folder.iterdir()] == ["error.json"]


async def test_limits_are_checked_again_for_sandboxes_that_cannot(bench: Bench) -> None:
    manifest = bench.manifest(resources=Resources(fuel=1, output_bytes=5, output_files=2))
    sandbox = FunctionSandbox(lambda job: write(job, {"a": "123456"}), runtime_id=RUNTIME)
    assert (await bench.run(manifest, sandbox)).error == {"fairgrid": "error/1", "kind": "outputBytes", "limit": 5}
    sandbox = FunctionSandbox(lambda job: write(job, {"a": "", "b": "", "c": ""}), runtime_id=RUNTIME)
    assert (await bench.run(manifest, sandbox)).error == {"fairgrid": "error/1", "kind": "outputFiles", "limit": 2}


async def test_exit_code_makes_a_document_with_the_logs_and_without_the_files(bench: Bench) -> None:
    def job(job: SandboxJob) -> Outcome:
        write(job, {"half": "done"})
        return Outcome(Stop.EXITED, 3, b"out \xff", "grüße\x00".encode(), 9, 1.5, 10)

    result = await bench.run_function(job)
    document = {"fairgrid": "error/1", "kind": "exit", "exitCode": 3, "stdout": "out \\xff", "stderr": "grüße\x00"}
    assert result.error == document == error_in_folder(result.result_folder)
    assert result.exit_code == 3 and result.covered == ("error.json",)
    assert result.digest == tree_digest_of_folder(result.result_folder)


@pytest.mark.parametrize(
    ("outcome", "document"),
    [
        (stopped(Stop.FUEL), {"kind": "fuel", "limit": FUEL}),
        (stopped(Stop.MEMORY), {"kind": "memory", "limit": 1 << 30}),
        (stopped(Stop.OUTPUT, "bytes"), {"kind": "outputBytes", "limit": 256 << 20}),
        (stopped(Stop.OUTPUT, "files"), {"kind": "outputFiles", "limit": 10_000}),
    ],
)
async def test_limit_makes_a_document_of_kind_and_limit_only(
    bench: Bench, outcome: Outcome, document: dict[str, object]
) -> None:
    result = await bench.run_function(lambda job: outcome)
    assert result.error == {"fairgrid": "error/1"} | document
    assert [path.name for path in result.result_folder.iterdir()] == ["error.json"]
    assert result.exit_code is None


@pytest.mark.parametrize("stop", [Stop.WALL_CLOCK, Stop.HOST])
async def test_failure_of_the_machine_is_never_a_result(bench: Bench, stop: Stop) -> None:
    with pytest.raises(HostFailure, match="Nothing is contributed"):
        await bench.run_function(lambda job: stopped(stop, "disk full"))


async def test_callback_bytes_are_what_the_digest_covers(bench: Bench) -> None:
    computed = json.dumps({"callback-data": "0x00Ff"})
    result = await bench.run_function(lambda job: write(job, {"computed.json": computed, "a": "a"}), CALLBACK_CONTEXT)
    assert result.callback_data == b"\x00\xff"
    assert result.digest == to_hex32(keccak(b"\x00\xff"))
    assert result.covered == () and (result.result_folder / "a").exists()


async def test_callback_bytes_may_be_as_long_as_the_hub_takes_and_no_longer(bench: Bench) -> None:
    types = (Path(__file__).parents[2] / "contracts" / "lib" / "types.vy").read_text()
    assert f"MAX_RESULT: constant(uint256) = {MAX_CALLBACK_BYTES}\n" in types
    longest = b"\x5a" * MAX_CALLBACK_BYTES
    computed = json.dumps({"callback-data": "0x" + longest.hex()})
    result = await bench.run_function(lambda job: write(job, {"computed.json": computed}), CALLBACK_CONTEXT)
    assert (result.error, result.callback_data) == (None, longest)


@pytest.mark.parametrize("data", [None, 5, "00ff", "0x0", "0xzz", "0x" + "00" * (MAX_CALLBACK_BYTES + 1)])
async def test_callback_without_usable_bytes_is_an_error_that_fits_the_chain(bench: Bench, data: object) -> None:
    files = {} if data is None else {"computed.json": json.dumps({"callback-data": data})}
    result = await bench.run_function(lambda job: write(job, files), CALLBACK_CONTEXT)
    assert result.error is not None and result.error["kind"] == "callback"
    assert result.callback_data is not None and len(result.callback_data) <= MAX_CALLBACK_BYTES
    assert parse_error(result.callback_data) == result.error
    assert result.digest == to_hex32(keccak(result.callback_data))


async def test_error_of_a_callback_task_leaves_the_logs_out_of_its_document(bench: Bench) -> None:
    outcome = Outcome(Stop.EXITED, 1, b"x" * 100_000, b"why", 1, 1.0, 1)
    result = await bench.run_function(lambda job: outcome, CALLBACK_CONTEXT)
    assert result.error == {"fairgrid": "error/1", "kind": "exit", "exitCode": 1}
    assert result.callback_data == b'{"exitCode":1,"fairgrid":"error/1","kind":"exit"}'
    assert (result.result_folder / "stderr.txt").read_bytes() == b"why"
