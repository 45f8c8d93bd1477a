"""Networks, wallets, accounts, orders and deals by hand, as they are typed, on a real local network.

The accounts are the test's own, and so is the pool, which nobody schedules: what it locks stays where it is.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.network import save_network
from fairgrid.chain.network_names import find_network
from fairgrid.client.client import Client
from fairgrid.executors.places import find_place
from fairgrid.localnet.accounts import DEPLOYER
from fairgrid.wallet import wallets
from tests.cli.shell import Shell
from tests.e2e.acts import on_chain
from tests.e2e.network import Network

pytestmark = pytest.mark.e2e

RLC = 10**9


PAGE = (Path(__file__).parents[2] / "docs" / "accounts.md").read_text()
OF_ALL_THAT_SIGN = {"network", "account", "signs", "transactions"}


class DocumentedShell(Shell):
    """A shell that lets no key pass which docs/accounts.md does not have for its command."""

    def __call__(self, *words: str | Path | int, code: int = 0) -> dict[str, Any]:
        answer = super().__call__(*words, code=code)
        name = " ".join(map(str, words[:2] if words[0] not in ("funds", "book", "run") else words[:1]))
        if answer["status"] in ("ok", "dry-run") and name != "run":
            row = re.search(rf"^\|[^|]*`{name}`[^|]*\|(.*)\|$", PAGE, re.MULTILINE)
            assert row is not None, f"docs/accounts.md has no row for {name}"
            documented = set(re.findall(r"`(\w+)`", row[1])) | OF_ALL_THAT_SIGN | {"status"}
            assert answer.keys() <= documented, name
        return answer


@dataclass
class Bench:
    """A shell with the network under the name `grid`, and two wallets with money on it."""

    shell: Shell
    network: Network
    ann: str
    bob: str


@pytest.fixture
def bench(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Bench:
    monkeypatch.setenv("FAIRGRID_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("FAIRGRID_DIR", raising=False)
    monkeypatch.delenv("FAIRGRID_NETWORK", raising=False)
    monkeypatch.setattr(wallets, "_SCRYPT_N", 1 << 10)
    shell = DocumentedShell(capsys, tmp_path)
    assert shell("network", "add", "grid", network.local.network.pool, "--yes", "--use")["checked"]
    names = ("ann", "bob")
    addresses = [shell("wallet", "create", name, "--password-file", shell.secret)["address"] for name in names]

    async def pay(chain: JsonRpcChain) -> None:
        for address in addresses:
            await chain.rpc.request("anvil_setBalance", address, hex(10**18))
        rich = network.local.accounts[DEPLOYER]
        await chain.transact(calls.transfer(chain.rlc, addresses[0], 10 * RLC), rich)

    on_chain(network, pay)
    return Bench(shell, network, *addresses)


def test_a_network_by_name_is_checked_before_it_is_kept_and_found_everywhere(bench: Bench) -> None:
    shell, local = bench.shell, bench.network.local.network
    shown = shell("network", "show")
    assert (shown["name"], shown["inUse"], {answer["ok"] for answer in shown["answers"].values()}) == (
        "grid",
        True,
        {True},
    )
    other = "0x" + "12" * 32
    for change, code, says in (
        ({"chain_id": 5}, 2, "is on chain 31337"),
        ({"hub": bench.ann}, 2, "no contract at the hub's address"),
        ({"hub_code_hash": other}, 5, "not what the network"),
    ):
        save_network(replace(local, **change), shell.folder / "net.json")
        assert says in shell("network", "add", "wrong", shell.folder / "net.json", code=code)["message"]
    assert [row["name"] for row in shell("network", "list")["networks"]] == ["local", "grid"]

    assert find_place("grid").runs.is_relative_to(find_network("grid").folder)
    signer = bench.network.local.accounts[DEPLOYER]

    async def connected() -> str:
        async with Client.connect("grid", signer) as client:
            return f"{client.journal.folder}"

    assert asyncio.run(connected()) == str(find_network("grid").folder / "deals" / signer.address)


def test_money_moves_only_when_it_was_agreed_and_never_gets_lost(bench: Bench) -> None:
    shell, ann, bob = bench.shell, bench.ann, bench.bob

    def has(who: str) -> tuple[int, int, int]:
        found = shell("account", "show", "--of", who)
        return found["walletNrlc"], found["stakeNrlc"], found["lockedNrlc"]

    assert has(ann) == (10 * RLC, 0, 0)
    dry = shell("account", "deposit", "4", "RLC", "--dry-run")
    assert (dry["status"], dry["amountNrlc"], dry["transactions"], dry["account"]) == ("dry-run", 4 * RLC, [], ann)
    assert "4 RLC from your wallet" in dry["signs"][0]
    assert "Nothing was signed" in shell("account", "deposit", "4 RLC", code=2)["message"]
    assert has(ann) == (10 * RLC, 0, 0)
    paid = shell("account", "deposit", "4 RLC", "--yes")
    assert (paid["stakeNrlc"], len(paid["transactions"])) == (4 * RLC, 1)
    assert "mined" in shell.tell("account", "deposit", "0.5", "RLC", "--to", bob, "--yes")
    shell("account", "transfer", bob, "1.25 RLC", "--yes")
    shell("account", "transfer", bob, "1 RLC", "--from", "wallet", "--yes")
    assert (has(ann), has(bob)) == ((4_500_000_000, 2_750_000_000, 0), (RLC, 1_750_000_000, 0))
    shell("account", "withdraw", "750000000 nRLC", "--wallet", "bob", "--yes")
    shell("account", "withdraw", "all", "--to", ann, "--wallet", "bob", "--yes")
    assert (has(ann), has(bob)) == ((5_500_000_000, 2_750_000_000, 0), (1_750_000_000, 0, 0))
    hub = bench.network.local.network.hub
    for words, code, says in (
        (("withdraw", "99 RLC"), 3, "fairgrid funds"),
        (("deposit", "99 RLC"), 3, "in its wallet"),
        (("transfer", bob, "99 RLC", "--from", "wallet"), 3, "in its wallet"),
        (("transfer", hub, "1 RLC"), 2, "is lost"),
        (("transfer", ann, "1 RLC"), 2, "this account itself"),
        (("deposit", "1"), 2, "with its unit"),
        (("deposit", "0 RLC"), 2, "nothing to move"),
    ):
        assert says in shell("account", *words, "--yes", code=code)["message"]
    assert (has(ann), has(bob)) == ((5_500_000_000, 2_750_000_000, 0), (1_750_000_000, 0, 0))


def test_orders_become_a_deal_whose_money_is_explained_on_both_sides(bench: Bench) -> None:
    shell, ann, bob = bench.shell, bench.ann, bench.bob
    shell("account", "deposit", "8 RLC", "--yes")
    shell("account", "transfer", bob, "3 RLC", "--yes")
    as_bob = ("--wallet", "bob", "--yes")

    (shell.folder / "sum.wasm").write_bytes(b"not run by anybody")
    app = shell("app", "register", "sum", "--file", shell.folder / "sum.wasm", *as_bob)["address"]
    assert shell("app", "show", app)["multiaddr"].startswith("/ipfs/")
    assert (
        "registered already"
        in shell("app", "register", "sum", "--file", shell.folder / "sum.wasm", *as_bob, code=2)["message"]
    )
    pool = shell("workerpool", "register", "nobody schedules it", *as_bob)["address"]
    changed = shell("workerpool", "policy", pool, "--stake-ratio", 25, "--scheduler-ratio", 7, *as_bob)
    assert (changed["workerStakePercent"], changed["schedulerPercent"]) == (25, 7)
    data = shell("dataset", "register", "rain", "--file", shell.folder / "sum.wasm", *as_bob)["address"]
    assert shell("dataset", "show", data)["owner"] == bob

    files = {kind: shell.folder / f"{kind}.json" for kind in ("app", "workerpool", "request")}
    dry = shell("order", "sign", "app", app, "--price", "0.1 RLC", "--volume", 5, "--wallet", "bob", "--dry-run")
    assert dry["status"] == "dry-run" and "5 run(s)" in dry["signs"][0] and dry["order"]["sign"] == "0x"
    assert "belongs to" in shell("order", "sign", "app", app, "--yes", code=2)["message"]
    shell("order", "sign", "app", app, "--price", "0.1 RLC", "--volume", 5, "--out", files["app"], "--publish", *as_bob)
    terms = ("--price", "0.4 RLC", "--volume", 5, "--trust", 10, "--tag", "batch")
    sold = shell("order", "sign", "workerpool", pool, *terms, "--out", files["workerpool"], *as_bob)
    assert shell("order", "publish", files["workerpool"], *as_bob)["orderHash"] == sold["orderHash"]
    for filters, found in (
        ((), True),
        (("--trust", 10, "--category", 0, "--tag", "batch", "--max-price", "0.4 RLC"), True),
        (("--trust", 11), False),
        (("--max-price", "0.39 RLC"), False),
        (("--min-volume", 6), False),
        (("--tag", "tee"), False),
    ):
        rows = shell("book", "workerpool", "--workerpool", pool, *filters)["orders"]
        assert [row["orderHash"] for row in rows] == ([sold["orderHash"]] if found else [])
    assert pool in shell.tell("book", "--workerpool", pool)
    listed = shell("order", "list", "--of", bob)["orders"]
    assert {row["kind"] for row in listed} == {"app", "workerpool"}

    request = ("--app-price", "0.1 RLC", "--price", "0.4 RLC", "--volume", 2, "--trust", 10, "--for-workerpool", pool)
    shell("order", "sign", "request", app, *request, "--params", "{}", "--out", files["request"], "--yes")
    assert shell("order", "show", files["request"])["problems"] == []
    wanted = [word for kind, file in files.items() for word in (f"--{kind}", str(file))]
    dry = shell("deal", "make", *wanted, "--dry-run")
    assert dry["dealId"] is None and "0.5 RLC a task" in dry["signs"][0]
    deal = shell("deal", "make", *wanted, "--yes")
    assert (deal["tasks"], len(deal["transactions"])) == (2, 1)
    assert "make no deal" in shell("deal", "make", *wanted, "--yes", code=2)["message"]

    shown = shell("deal", "show", deal["dealId"])["deal"]
    assert (shown["payer"], shown["tasks"]["open"], shown["openNrlc"], shown["overdue"]) == (ann, 2, RLC, False)
    assert "can be claimed from" in shell.tell("deal", "show", deal["dealId"])
    assert "until its deadline" in shell("deal", "claim", deal["dealId"], "--dry-run", code=2)["message"]
    for who, role, amount in ((ann, "payer", RLC), (bob, "pool", 240_000_000)):
        funds = shell("funds", "--of", who)
        assert (funds["lockedNrlc"], funds["unexplainedNrlc"]) == (amount, 0)
        (lock,) = funds["locks"]
        assert (lock["role"], lock["amountNrlc"], lock["dealId"]) == (role, amount, deal["dealId"])
        assert lock["until"] == shown["deadline"] and "freed by" in shell.tell("funds", "--of", who)

    gone = shell("order", "cancel", sold["orderHash"], *as_bob)
    assert gone["onChain"] and len(gone["transactions"]) == 1
    assert shell("book", "workerpool", "--workerpool", pool)["orders"] == []
    assert "cancelled on chain" in shell("order", "show", files["workerpool"])["problems"][0]
    assert "makes no deal" in shell("order", "publish", files["workerpool"], *as_bob, code=2)["message"]
    assert shell("order", "cancel", files["app"], "--market-only", *as_bob)["offMarket"]
    assert shell("order", "show", files["app"])["problems"] == []


def test_a_job_of_a_wallet_on_a_named_network_is_among_its_deals(bench: Bench) -> None:
    shell = bench.shell
    script = bench.network.script("four.py", "print(2 + 2)")
    words = ("run", script, "--trust", "0", "--network", "grid", "--wallet", "ann")
    dry = shell(*words, "--tasks", 3, "--dry-run")
    assert (dry["status"], dry["priceNrlc"]) == ("dry-run", 3 * dry["taskPriceNrlc"])
    assert dry["depositNrlc"] == dry["priceNrlc"]
    assert "Nothing was signed" in shell.tell(*words, "--dry-run") and shell("deal", "list")["deals"] == []
    done = shell("run", script, "--trust", "0", "--out", shell.folder / "out", "--network", "grid", "--wallet", "ann")
    assert done["status"] == "ok"
    (row,) = shell("deal", "list")["deals"]
    assert (row["dealId"], row["tasks"]["completed"], row["openNrlc"]) == (done["dealId"], 1, 0)
    assert shell("deal", "show", "last")["deal"]["tasks"]["open"] == 0
    assert "four.py" in shell.tell("deal", "list")
    for claim in (("deal", "claim", "last", "--yes"), ("claim", "last", "--dry-run")):
        assert "is over" in shell(*claim, code=2)["message"]
    funds: dict[str, Any] = shell("funds")
    assert (funds["lockedNrlc"], funds["locks"]) == (0, [])
    assert json.dumps(funds)


def test_a_cold_owner_acts_for_its_role_account_and_nobody_else_does(bench: Bench) -> None:
    shell, ann, bob = bench.shell, bench.ann, bench.bob
    enrol = ("worker", "enrol", "--operator", bob, "--create", "--out", shell.folder / "owner.json")
    dry = shell(*enrol, "--dry-run")
    assert dry["created"] is False and "Create the role account" in dry["signs"][0]
    assert not (shell.folder / "owner.json").exists()
    made = shell(*enrol, "--yes")
    role = made["roleAccount"]
    assert (made["created"], made["owner"], role) == (True, ann, dry["roleAccount"])
    shell("account", "transfer", role, "3 RLC", "--from", "wallet", "--yes")
    as_role = ("--as", role, "--yes")

    def has(who: str) -> tuple[int, int]:
        found = shell("account", "show", "--of", who)
        return found["walletNrlc"], found["stakeNrlc"]

    dry = shell("account", "deposit", "2 RLC", "--as", role, "--dry-run")
    assert (dry["account"], has(role)) == (role, (3 * RLC, 0))
    assert f"{ann}, for {role}, signs" in shell.tell("account", "deposit", "2 RLC", *as_role)
    assert has(role) == (RLC, 2 * RLC)
    shell("account", "deposit", "0.5 RLC", "--to", bob, *as_role)
    shell("account", "withdraw", "0.5 RLC", *as_role)
    shell("account", "transfer", bob, "0.25 RLC", *as_role)
    shell("account", "withdraw", "all", "--to", ann, *as_role)
    assert (has(role), has(ann)[0], has(bob)[1]) == ((RLC, 0), 8_250_000_000, 750_000_000)
    for words, says in (
        (("--as", role, "--wallet", "bob"), f"belongs to {ann}"),
        (("--as", bob), "no role account"),
        (("--as", "somebody"), "is no address"),
    ):
        assert says in shell("account", "deposit", "1 RLC", "--yes", *words, code=2)["message"]

    (shell.folder / "sum.wasm").write_bytes(b"not run by anybody, of a role account")
    app = shell("app", "register", "sum", "--file", shell.folder / "sum.wasm", *as_role)
    assert app["owner"] == role
    sold = shell("order", "sign", "app", app["address"], "--price", "0.1 RLC", "--publish", *as_role)
    assert shell("order", "show", sold["orderHash"])["problems"] == []
    assert [row["orderHash"] for row in shell("order", "list", "app", "--of", role)["orders"]] == [sold["orderHash"]]
    assert "Name the" in shell("order", "cancel", sold["orderHash"], "--yes", code=2)["message"]
    gone = shell("order", "cancel", sold["orderHash"], *as_role)
    assert gone["onChain"] and shell("order", "list", "app", "--of", role)["orders"] == []
    group = shell("group", "create", "ours", *as_role)["group"]
    assert shell("group", "add", group, bob, *as_role)["members"] == [bob]
    assert "belongs to" in shell("group", "add", group, ann, "--yes", code=2)["message"]


def test_what_was_published_is_listed_and_taken_off_the_shelf(bench: Bench) -> None:
    shell, ann, bob = bench.shell, bench.ann, bench.bob
    assert shell("app", "list")["apps"] == [] and f"{ann} has no app" in shell.tell("app", "list")
    (shell.folder / "tool.wasm").write_bytes(b"for sale, and run by nobody")
    app = shell("app", "register", "tool", "--file", shell.folder / "tool.wasm", "--yes")["address"]
    (row,) = shell("app", "list")["apps"]
    assert (row["address"], row["name"], row["orders"]) == (app, "tool", [])
    assert "not for sale" in shell.tell("app", "list", "--of", ann)
    hashes = [
        shell("order", "sign", "app", app, "--price", price, "--volume", 5, "--publish", "--yes")["orderHash"]
        for price in ("0.2 RLC", "0.1 RLC")
    ]
    (row,) = shell("app", "list", "--of", ann)["apps"]
    assert sorted(order["orderHash"] for order in row["orders"]) == sorted(hashes)
    assert "0.1 RLC, 0.2 RLC" in shell.tell("app", "list")
    assert f"belongs to {ann}" in shell("app", "unlist", app, "--wallet", "bob", "--yes", code=2)["message"]
    assert "no app" in shell("app", "unlist", bob, "--yes", code=2)["message"]
    dry = shell("app", "unlist", app, "--dry-run")
    assert sorted(dry["orders"]) == sorted(hashes) and len(dry["signs"]) == 3 and dry["transactions"] == []
    assert shell("order", "show", hashes[0])["problems"] == []
    kept = shell.folder / "kept.json"
    kept.write_text(json.dumps({"kind": "app", "order": shell("order", "show", hashes[0])["order"]}))
    gone = shell("app", "unlist", app, "--yes")
    assert gone["onChain"] and len(gone["transactions"]) == 2
    assert shell("app", "list")["apps"][0]["orders"] == []
    assert "cancelled on chain" in shell("order", "show", kept)["problems"][0]
    assert "not for sale" in shell.tell("app", "unlist", app)

    again = shell("order", "sign", "app", app, "--price", "0.3 RLC", "--publish", "--yes")["orderHash"]
    off = shell("app", "unlist", app, "--market-only", "--yes")
    assert (off["orders"], off["onChain"], off["transactions"]) == ([again], False, [])
    assert shell("app", "list")["apps"][0]["orders"] == []
