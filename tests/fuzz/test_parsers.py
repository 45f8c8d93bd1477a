"""Every parser of what a stranger wrote: any bytes are read or refused with the error it promises, and nothing else."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from fairgrid.errors import FairgridError, ManifestError, UsageError, VerificationError
from fairgrid.protocol.archive import archive_digest, archive_entries, extract_archive, write_archive
from fairgrid.protocol.bounded_json import load_json
from fairgrid.protocol.canonical import CanonicalRule, NotCanonical, canonical_bytes
from fairgrid.protocol.cid import cid_of, is_cid, normal_cid
from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.manifest import FileRef, Item, Manifest, Resources, manifest_cid_of_params, parse_manifest
from fairgrid.protocol.results import cid_of_results, describe_error, error_to_bytes, exit_error, parse_error
from fairgrid.protocol.run_results import parse_run_results
from fairgrid.protocol.terminal import sanitise_terminal
from fairgrid.protocol.wire import decode_pool_message, decode_worker_message, encode
from fairgrid.runtime.engines.cell_files import read_outcome
from fairgrid.runtime.interface import Limits, Outcome, SandboxJob, Stop
from fairgrid.runtime.job import TaskContext, run_job
from fairgrid.runtime.outcome_json import outcome_to_json
from fairgrid.runtime.twin import FunctionSandbox
from fairgrid.runtime.vm.disks import ResultTooLarge, read_out_disk
from fairgrid.runtime.vm.image import disk_fault, kernel_fault, read_image
from fairgrid.runtime.watch import read_progress
from tests.fuzz.mutations import FUZZ, relatives

pytestmark = pytest.mark.timeout(240)
CID = cid_of(b"x")
MANIFEST = Manifest(
    script=FileRef("job.py", CID, 1),
    runtime="wasmtime-49/py312/deterministic",
    resources=Resources(fuel=10**9),
    arguments=("a", "ü"),
    inputs=(FileRef("in/ä b.csv", CID, 1),),
    items=(Item(arguments=("1",)), Item(arguments=("2",))),
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("archive")
    (folder / "out" / "sub").mkdir(parents=True)
    for name, content in {"a.txt": b"12345", "sub/ü": b"", "sub/z.bin": bytes(range(256))}.items():
        (folder / "out" / name).write_bytes(content)
    write_archive(folder / "out", folder / "a.zip")
    return (folder / "a.zip").read_bytes()


@FUZZ
@given(relatives(MANIFEST.to_bytes()))
def test_a_manifest_is_read_whole_or_refused(data: bytes) -> None:
    try:
        manifest = parse_manifest(data)
    except ManifestError:
        return
    assert manifest.to_bytes() == data


def test_an_archive_is_read_whole_or_refused_and_nothing_leaves_its_folder(
    archive: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @FUZZ
    @given(relatives(archive))
    def fuzz(data: bytes) -> None:
        folder = tmp_path_factory.mktemp("zip")
        (folder / "a.zip").write_bytes(data)
        (folder / "out").mkdir()
        try:
            entries = extract_archive(folder / "a.zip", folder / "out", max_bytes=10_000, max_files=10)
        except VerificationError:
            with pytest.raises(VerificationError):
                archive_entries(folder / "a.zip", max_bytes=10_000, max_files=10)
        else:
            # One archive has one text: what was taken gives the same bytes again.
            assert tree_digest_of_folder(folder / "out") == archive_digest(data)
            assert len(entries) <= 10 and sum(entry.size for entry in entries) <= 10_000
            write_archive(folder / "out", folder / "again.zip")
            assert (folder / "again.zip").read_bytes() == data
            (folder / "again.zip").unlink()
        assert {path.name for path in folder.iterdir()} == {"a.zip", "out"}

    fuzz()


@FUZZ
@given(relatives(b'{"deterministic-output-path": "/iexec_out/a"}', b'{"callback-data": "0x00ff"}', b"[1, 2.5, null]"))
def test_json_is_read_or_refused(data: bytes) -> None:
    try:
        load_json(data)
    except ValueError:
        return


@FUZZ
@given(
    relatives(b'{"deterministic-output-path": "/iexec_out/sub"}', b'{"deterministic-output-path": "/iexec_out"}', b"{}")
)
def test_any_computed_json_gives_a_result_or_an_agreed_error(data: bytes) -> None:
    _computed(data, callback=False)


@FUZZ
@given(relatives(b'{"callback-data": "0x00ff"}', b'{"callback-data": "0x"}'))
def test_any_computed_json_of_a_callback_does_too(data: bytes) -> None:
    _computed(data, callback=True)


def _computed(data: bytes, *, callback: bool) -> None:
    import asyncio
    import tempfile

    def job(given: SandboxJob) -> bytes:
        (given.output_folder / "sub").mkdir()
        (given.output_folder / "sub" / "a").write_bytes(b"1")
        (given.output_folder / "b").write_bytes(b"2")
        (given.output_folder / "computed.json").write_bytes(data)
        return b""

    context = TaskContext(ZERO32, ZERO32, 0, 0, 1, callback="0x" + ("01" if callback else "00") * 20)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script"
        script.write_bytes(b"x")
        result = asyncio.run(
            run_job(
                Manifest(script=FileRef("job.py", CID, 1), runtime="r", resources=Resources(fuel=1)),
                CID,
                context,
                inputs={CID: script},
                workdir=Path(folder) / "work",
                sandbox=FunctionSandbox(job, runtime_id="r"),
            )
        )
    assert len(result.digest) == 66
    assert (result.error is None) or result.error["kind"] in ("computed", "callback")
    assert "computed.json" not in result.covered


@FUZZ
@given(relatives(error_to_bytes(exit_error(3, b"out", b"err")), error_to_bytes(exit_error(1, None, None))))
def test_an_error_document_is_read_or_none(data: bytes) -> None:
    document = parse_error(data)
    if document is not None:
        assert isinstance(describe_error(document), str)


@FUZZ
@given(relatives(b'{ "storage": "ipfs", "location": "/ipfs/' + CID.encode() + b'" }'))
def test_results_and_params_name_a_file_or_none(data: bytes) -> None:
    cid = cid_of_results(data)
    assert cid is None or is_cid(cid)
    named = manifest_cid_of_params(data.decode("utf-8", "replace"))
    assert named is None or is_cid(named)


@FUZZ
@given(relatives(CID.encode(), b"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"))
def test_a_cid_is_read_or_refused(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        normal = normal_cid(text)
    except UsageError:
        assert not is_cid(text)
    else:
        assert is_cid(text) and normal_cid(normal) == normal


@FUZZ
@given(relatives(b'{"fairgrid":"run-results/1","first":0,"tasks":[]}', MANIFEST.to_bytes()))
def test_a_runs_manifest_of_results_is_read_or_refused(data: bytes) -> None:
    try:
        parse_run_results(data, first=0, count=3)
    except VerificationError:
        return


def _frames() -> list[bytes]:
    from fairgrid.protocol.pool_messages import UploadRequest
    from fairgrid.protocol.worker_messages import LeaseFailed, Ready

    lease = "0x" + "11" * 16
    return [
        encode(message).encode()
        for message in (
            UploadRequest(lease, ZERO32),
            LeaseFailed(lease, ZERO32, "no disk"),
            Ready((), 2),
        )
    ]


@FUZZ
@given(relatives(*_frames()))
def test_a_frame_is_read_or_refused_on_both_sides(data: bytes) -> None:
    for decode in (decode_pool_message, decode_worker_message):
        try:
            message: Any = decode(data)
        except FairgridError:
            continue
        assert decode(encode(message)) == message


@FUZZ
@given(relatives(b'{"a": 1.5, "b": [1, 2]}', b"x,y\n2,b\n1,a\n", b"1.25 2.5e-7 nan\n"))
def test_a_canonical_form_is_made_or_refused_and_made_only_once(data: bytes) -> None:
    for rule in (
        CanonicalRule("json", ("f",)),
        CanonicalRule("rows", ("f",), 1),
        CanonicalRule("round", ("f",), decimals=3, edge_failures_per_million=10),
    ):
        try:
            once = canonical_bytes(data, rule)
        except NotCanonical:
            continue
        assert canonical_bytes(once, rule) == once


@FUZZ
@given(relatives(outcome_to_json(Outcome(Stop.EXITED, 0, b"o", b"e", 1, 1.0, 1))))
def test_an_outcome_of_another_machine_is_read_or_none(tmp_path_factory: Any, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "outcome.json").write_bytes(data)
    outcome = read_outcome(folder)
    assert outcome is None or isinstance(outcome.stop, Stop)


def _disk() -> bytes:
    with io.BytesIO() as memory:
        with tarfile.open(fileobj=memory, mode="w") as archive:
            for name, content in (("exit", b"0"), ("out/a", b"1" * 600), ("out/sub/b", b"2")):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return memory.getvalue()


def test_a_machines_disk_is_a_result_or_none_and_nothing_leaves_its_folder(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    @FUZZ
    @given(relatives(_disk()))
    def fuzz(data: bytes) -> None:
        folder = tmp_path_factory.mktemp("disk")
        (folder / "d").write_bytes(data)
        (folder / "out").mkdir()
        try:
            read_out_disk(folder / "d", Limits(fuel=1, output_bytes=2_000, output_files=5), folder / "out")
        except ResultTooLarge:
            pass
        assert {path.name for path in folder.iterdir()} == {"d", "out"}

    fuzz()


@FUZZ
@given(
    relatives(
        json.dumps({"fairgrid": "vm/1", "kernel": "k", "initrd": "i", "append": "quiet"}).encode(),
        b"QFI\xfb" + struct.pack(">IQ", 3, 0) + bytes(120),
        bytes(0x202) + b"HdrS",
    )
)
def test_an_image_is_read_or_refused(tmp_path_factory: Any, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in ("i.vm.json", "d.qcow2", "d.img"):
        (folder / name).write_bytes(data)
    try:
        image = read_image(folder / "i.vm.json")
    except UsageError:
        pass
    else:
        assert all("/" not in part for part in image.parts)
    for fault in (disk_fault(folder / "d.qcow2"), disk_fault(folder / "d.img"), kernel_fault(folder / "d.img")):
        assert fault is None or fault


@FUZZ
@given(relatives(b"0.5 half\n", b"1 done", "\x1b[31mred\x1b]0;t\x07 \u202e".encode()))
def test_progress_and_logs_are_harmless(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "progress"
    path.write_bytes(data)
    progress = read_progress(path)
    assert progress is None or 0 <= progress.ppm <= 1_000_000
    shown = sanitise_terminal(data.decode("utf-8", "replace"))
    assert "\x1b" not in shown and "\x07" not in shown
