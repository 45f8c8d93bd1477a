"""Certificates of real tasks on a real node: what they prove, and that nothing in them can be changed unnoticed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.rpc import JsonRpc
from fairgrid.cli.main import main
from fairgrid.client.certificates import make_certificate
from fairgrid.errors import UsageError, VerificationError
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol import ids, runs
from fairgrid.protocol.archive import write_archive
from fairgrid.protocol.certificate import Certificate, parse_certificate
from fairgrid.protocol.certificate_check import check_certificate
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex
from fairgrid.protocol.orders import RequestOrder
from fairgrid.protocol.results import results_text
from fairgrid.protocol.run_results import RunResults, TaskResult
from fairgrid.protocol.tags import LANE_MASK
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import MemoryStore
from fairgrid.wallet.keys import dev_signer
from tests.chain.places import (
    APP_OWNER,
    DEPLOYER,
    OTHER_DIGEST,
    POOL_OWNER,
    REQUESTER,
    WORKERS,
    Market,
    contribute,
    match,
    open_market,
    real_place,
    sign,
)

LIAR = dev_signer(7)
CHECK = """
import sys
from fairgrid.cli.main import main
try:
    main(["verify", sys.argv[1], "--json"])
except SystemExit:
    print("hashes by what is loaded:", "Crypto" not in sys.modules)
"""
LANE_TAG = f"0x{LANE_MASK:064x}"


@dataclass
class Site:
    """A real chain with the contracts, and a storage."""

    anvil: AnvilProcess
    chain: JsonRpcChain
    storage: StorageClient
    skip: Callable[[int], object]
    folder: Path

    async def certificate(self, deal: str, index: int = 0, *, files: list[str] | None = None) -> Certificate:
        async with JsonRpc(self.anvil.rpc_url) as rpc:
            return await make_certificate(self.chain, rpc, self.storage, deal, index, files=files)

    async def result(self, name: str) -> tuple[str, str, int]:
        """A result of three files in storage: digest, CID, bytes of its archive."""
        folder = self.folder / name
        folder.mkdir()
        for file in ("a.txt", "b.txt", "c.txt"):
            (folder / file).write_text(f"{name} {file}")
        write_archive(folder, self.folder / f"{name}.zip")
        data = (self.folder / f"{name}.zip").read_bytes()
        await self.storage.add_bytes(data)
        return tree_digest_of_folder(folder), cid_of(data), len(data)

    async def completed(self, market: Market) -> tuple[str, str]:
        """A task on which three of four workers agree; the one that lies comes first. Deal and digest."""
        for call, sender in (
            (calls.transfer(self.chain.rlc, LIAR.address, 1_000), DEPLOYER),
            (calls.approve(self.chain.rlc, self.chain.hub, 1_000), LIAR),
            (calls.deposit(self.chain.hub, 1_000), LIAR),
        ):
            await self.chain.transact(call, sender)
        deal = await match(self.chain, market)
        digest, cid, _ = await self.result("result")
        task = ids.task_id(deal, 0)
        await self.chain.transact(calls.initialize(self.chain.hub, deal, 0), POOL_OWNER)
        await contribute(self.chain, task, LIAR, OTHER_DIGEST)
        for worker in WORKERS:
            await contribute(self.chain, task, worker, digest)
        for worker in WORKERS:
            await self.chain.transact(calls.reveal(self.chain.hub, task, digest), worker)
        await self.chain.transact(calls.finalize(self.chain.hub, task, results_text(cid)), POOL_OWNER)
        return deal, digest


@pytest.fixture
async def site(anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Site]:
    place = await real_place(anvil)
    assert isinstance(place.chain, JsonRpcChain)
    transport = httpx.ASGITransport(storage_application(MemoryStore()))
    async with place.chain, StorageClient("http://storage", transport=transport) as storage:
        yield Site(anvil, place.chain, storage, place.skip, tmp_path)


def changed(certificate: Certificate, change: Callable[[dict[str, Any]], object]) -> Certificate:
    document = json.loads(certificate.to_bytes())
    change(document)
    return parse_certificate(json.dumps(document).encode())


async def test_certificate_of_a_disputed_task_proves_who_agreed_who_lied_and_its_files(
    site: Site, tmp_path: Path
) -> None:
    market = await open_market(site.chain, trust=3)
    deal, digest = await site.completed(market)
    site.skip(5)
    certificate = await site.certificate(deal)
    proven = check_certificate(parse_certificate(certificate.to_bytes()))
    assert (proven.deal_id, proven.task_id, proven.digest) == (deal, ids.task_id(deal, 0), digest)
    assert proven.agreed == tuple(worker.address for worker in WORKERS)
    assert proven.faulty == (LIAR.address,)
    assert [entry.path for entry in proven.files] == ["a.txt", "b.txt", "c.txt"]
    assert proven.signed == {
        "app": APP_OWNER.address,
        "workerpool": POOL_OWNER.address,
        "request": REQUESTER.address,
    }
    assert proven.request == replace(market.request, sign=proven.request.sign if proven.request else "")
    head = site.anvil.request("eth_getBlockByNumber", hex(proven.rests_on[0].number), False)
    assert [header.hash for header in proven.rests_on] == [head["hash"]], "all older blocks are linked to the newest"
    assert len(certificate.to_bytes()) < 100_000
    (tmp_path / "certificate.json").write_bytes(certificate.to_bytes())
    command = [sys.executable, "-c", CHECK, str(tmp_path / "certificate.json")]
    checked = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert '"sound"' in checked.stdout
    if sys.platform == "linux":
        assert checked.stdout.endswith("hashes by what is loaded: True\n")
    only = await site.certificate(deal, files=["b.txt"])
    assert [entry.path for entry in check_certificate(only).files] == ["b.txt"]


def _flip(text: str, position: int = -1) -> str:
    letters = list(text)
    letters[position] = "1" if letters[position] != "1" else "2"
    return "".join(letters)


FORGERIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another digest": lambda d: d.update(digest=OTHER_DIGEST),
    "another task": lambda d: d.update(taskId=_flip(d["taskId"])),
    "another index": lambda d: d.update(index=1),
    "another deal": lambda d: d.update(dealId=_flip(d["dealId"])),
    "another chain": lambda d: d.update(chainId=1),
    "another hub": lambda d: d.update(hub=REQUESTER.address),
    "another start of the deal": lambda d: d.update(botFirst=1),
    "a receipt changed": lambda d: d["receipts"][-1].update(proof=[_flip(d["receipts"][-1]["proof"][-1])]),
    "a receipt of another place": lambda d: d["receipts"][-1].update(index=1),
    "the finalization left out": lambda d: d["receipts"].pop(),
    "the match left out": lambda d: d["receipts"].pop(0),
    "a header changed": lambda d: d["headers"].__setitem__(-1, _flip(d["headers"][-1])),
    "a header left out": lambda d: d["headers"].pop(),
    "a cheaper request": lambda d: d["orders"]["request"].update(workerpoolmaxprice=1),
    "an order of no kind": lambda d: d["orders"].update(loan={}),
    "a file changed": lambda d: d["files"][0].update(sha256=OTHER_DIGEST),
    "a longer file": lambda d: d["files"][0].update(size=-1),
    "a file renamed": lambda d: d["files"][0].update(path="z.txt"),
    "a run that is none": lambda d: d.update(run={"first": 0, "count": 1, "proof": []}),
}


async def test_no_forgery_of_a_certificate_is_believed(site: Site) -> None:
    deal, _ = await site.completed(await open_market(site.chain, trust=3))
    certificate = await site.certificate(deal)
    believed = []
    for what, forge in FORGERIES.items():
        forged = changed(certificate, forge)
        try:
            proven = check_certificate(forged)
        except VerificationError:
            continue
        # A header may be another one: then it is another block's hash that the certificate rests on.
        if what != "a header changed" or proven.rests_on == check_certificate(certificate).rests_on:
            believed.append(what)
    assert believed == []


async def test_a_signature_of_somebody_else_is_not_the_requesters(site: Site) -> None:
    deal, _ = await site.completed(await open_market(site.chain, trust=3))
    certificate = await site.certificate(deal)
    proven = check_certificate(certificate)
    request = proven.request
    assert request is not None
    other = sign(site.chain, request, POOL_OWNER)
    assert isinstance(other, RequestOrder)
    forged = changed(certificate, lambda d: d["orders"]["request"].update(sign=other.sign))
    assert check_certificate(forged).signed["request"] is None, "only the match on chain stands for it"


async def test_without_headers_between_every_block_is_named(site: Site) -> None:
    deal, _ = await site.completed(await open_market(site.chain, trust=3))
    certificate = await site.certificate(deal)
    numbers = sorted({receipt.block for receipt in certificate.receipts})
    assert numbers[1] > numbers[0] + 1, "the match and the first contribution have blocks between them"

    def thin(document: dict[str, Any]) -> None:
        document["headers"].pop(1)  # the block of the initialization

    proven = check_certificate(changed(certificate, thin))
    assert [header.number for header in proven.rests_on] == [numbers[-1], numbers[0]]
    assert [header.number for header in check_certificate(certificate).rests_on] == [numbers[-1]]


async def test_a_fast_path_task_has_one_receipt_beside_the_match(site: Site) -> None:
    market = await open_market(site.chain, trust=1)
    deal = await match(site.chain, market)
    digest, cid, _ = await site.result("fast")
    task, worker = ids.task_id(deal, 0), WORKERS[0]
    await site.chain.transact(calls.initialize(site.chain.hub, deal, 0), POOL_OWNER)
    authorisation = POOL_OWNER.sign_message(ids.authorisation_message(worker.address, task, ZERO_ADDRESS))
    call = calls.contribute_and_finalize(site.chain.hub, task, digest, results_text(cid), b"", authorisation)
    await site.chain.transact(call, worker)
    certificate = await site.certificate(deal)
    assert len(certificate.receipts) == 2
    assert check_certificate(certificate).agreed == (worker.address,)


async def test_a_task_of_a_split_and_settled_run_is_proven_under_the_runs_root(site: Site) -> None:
    market = await open_market(site.chain, trust=3)
    pool_order = sign(site.chain, replace(market.workerpool_order, tag=LANE_TAG), POOL_OWNER)
    market.workerpool_order = pool_order  # type: ignore[assignment]
    market.request = replace(market.request, volume=5, tag=LANE_TAG)
    deal = await match(site.chain, market)
    await site.chain.transact(calls.open_run(site.chain.hub, deal, 5), POOL_OWNER)
    await site.chain.transact(calls.split_run(site.chain.hub, runs.run_id(deal, 0, 5), 2), POOL_OWNER)
    made = [TaskResult(*(await site.result(f"task-{index}"))) for index in range(2, 5)]
    results = RunResults(2, tuple(made))
    await site.storage.add_bytes(results.to_bytes())
    run = runs.run_id(deal, 2, 3)
    for worker in WORKERS[:2]:
        await contribute(site.chain, run, worker, results.digest)
    for worker in WORKERS[:2]:
        await site.chain.transact(calls.reveal(site.chain.hub, run, results.digest), worker)
    await site.chain.transact(calls.finalize_run(site.chain.hub, run, results.root, results.results), POOL_OWNER)
    certificate = await site.certificate(deal, 3)
    proven = check_certificate(certificate)
    assert (proven.run_id, proven.index, proven.digest) == (run, 3, results.task(3).digest)
    assert proven.agreed == tuple(worker.address for worker in WORKERS[:2])
    assert [entry.path for entry in proven.files] == ["a.txt", "b.txt", "c.txt"]
    for forge in (
        lambda d: d.update(digest=results.task(4).digest, files=[]),
        lambda d: d["run"].update(count=4),
        lambda d: d["run"].update(first=3),
        lambda d: d["run"].update(proof=d["run"]["proof"][:-1]),
        lambda d: d.update(run=None),
    ):
        with pytest.raises(VerificationError):
            check_certificate(changed(certificate, forge))
    with pytest.raises(UsageError, match="not finished"):
        await site.certificate(deal, 0)


async def test_what_is_not_there_has_no_certificate_and_the_reason_is_told(site: Site) -> None:
    market = await open_market(site.chain, trust=3)
    deal = await match(site.chain, market)
    with pytest.raises(UsageError, match="does not know deal"):
        await site.certificate(to_hex(keccak(b"no deal")))
    with pytest.raises(UsageError, match="none with number 9"):
        await site.certificate(deal, 9)
    with pytest.raises(UsageError, match="not finished yet"):
        await site.certificate(deal)


@pytest.fixture
async def certified(site: Site) -> tuple[Path, str]:
    """The certificate of a task on disk, and the task's digest."""
    deal, digest = await site.completed(await open_market(site.chain, trust=3))
    file = site.folder / "c.json"
    file.write_bytes((await site.certificate(deal)).to_bytes())
    return file, digest


def test_verify_says_what_is_proven_once_it_knows_the_block(
    site: Site, certified: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    file, digest = certified
    result = site.folder / "result" / "b.txt"

    def verify(*options: str | Path) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["verify", str(file), *map(str, options), "--json"])
        return int(ended.value.code or 0), json.loads(capsys.readouterr().out)

    code, alone = verify()
    assert (code, alone["status"]) == (2, "sound"), "nobody has said of which chain its blocks are"
    (block,) = alone["restsOn"]
    code, proven = verify("--block-hash", block["hash"], "--result", result)
    assert (code, proven["status"], proven["digest"]) == (0, "proven", digest)
    assert (proven["matched"], proven["confirmations"], proven["hubKnown"]) == (["b.txt"], None, False)
    assert proven["sentence"].startswith("PROVEN: 3 worker(s)") and "lost their stake" in proven["sentence"]
    site.skip(5)
    code, asked = verify("--rpc", site.anvil.rpc_url, "--result", result.parent)
    assert (code, asked["matched"], asked["confirmations"]) == (0, ["a.txt", "b.txt", "c.txt"], 1)

    result.write_text("another")
    for options, code, told in (
        (("--result", result), 5, "is none of the certificate's files"),
        (("--result", result.parent), 5, "it was changed"),
        (("--result", site.folder / "nothing"), 2, "cannot be read"),
        (("--block-hash", OTHER_DIGEST), 5, "none of the hashes that you gave"),
        (("--block-hash", "0x12"), 2, "not a bytes32"),
        (("--rpc", "http://127.0.0.1:9"), 4, "chain"),
    ):
        found, answer = verify(*options)
        assert (found, told in answer["message"]) == (code, True), answer
    site.anvil.request("anvil_reorg", 3, [])
    found, answer = verify("--rpc", site.anvil.rpc_url)
    assert found == 5 and "reorganised away" in answer["message"]


async def test_a_file_that_the_result_does_not_have_cannot_be_proven(site: Site) -> None:
    deal, _ = await site.completed(await open_market(site.chain, trust=3))
    with pytest.raises(VerificationError, match="no file 'nothing"):
        await site.certificate(deal, files=["nothing.txt"])


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"fairgridCertificate": 2}', b"\xff", b"[" * 100_000])
def test_what_is_no_certificate_is_refused(text: bytes) -> None:
    with pytest.raises(VerificationError):
        parse_certificate(text)
