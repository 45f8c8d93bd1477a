"""`fairgrid worker repay`: the owner of a role account pays its stake back on a real node, once and no more."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.deploy import deploy
from fairgrid.chain.interface import Call
from fairgrid.chain.network import Network, save_network
from fairgrid.cli.main import main
from fairgrid.cli.worker_debts import debts_of, show_debts
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol.hexes import ZERO32
from fairgrid.wallet.keys import KeySigner, dev_signer
from fairgrid.wallet.keystore import save_keystore
from fairgrid.worker.core.debts import Debt
from fairgrid.worker.records.debts import DebtStore
from fairgrid.worker.records.store import WorkerStore

GIVEN = 500
RICH, SPONSOR = dev_signer(0), KeySigner.generate()


@dataclass
class Lent:
    """A stake that was lent to an owner's role account."""

    network: Path
    folder: Path
    owner: KeySigner
    account: str
    deposit_tx: str
    rpc: str
    hub: str

    def repay(self, capsys: pytest.CaptureFixture[str], **changes: str) -> tuple[int, dict[str, Any]]:
        options = {
            "network": str(self.network),
            "wallet": str(self.folder / "cold.json"),
            "password-file": str(self.folder / "password"),
            "sponsor": SPONSOR.address,
            "deposit-tx": self.deposit_tx,
            "as": self.account,
        } | changes
        arguments = [
            text for name, value in options.items() if value for text in (f"--{name.replace('_', '-')}", value)
        ]
        with pytest.raises(SystemExit) as ended:
            main(["worker", "repay", *arguments, "--yes", "--json"])
        return int(ended.value.code or 0), json.loads(capsys.readouterr().out)

    def free(self, address: str) -> int:
        async def read() -> int:
            async with JsonRpcChain(self.rpc, chain_id=31337, hub=self.hub, rlc="") as chain:
                return (await chain.view_account(address)).stake

        return asyncio.run(read())


@pytest.fixture
def lent(module_anvil: AnvilProcess, tmp_path: Path) -> Lent:
    owner, operator = KeySigner.generate(), KeySigner.generate()
    module_anvil.request("anvil_setBalance", owner.address, hex(10**18))
    save_keystore(owner, tmp_path / "cold.json", "secret", scrypt_n=1 << 10)
    (tmp_path / "password").write_text("secret\n")

    async def make() -> Lent:
        there = await deploy(module_anvil.rpc_url)
        network = Network(
            name="test",
            chain_id=there.chain_id,
            rpc=module_anvil.rpc_url,
            hub=there.hub,
            hub_code_hash=there.hub_code_hash,
            rlc=there.rlc,
            market="http://127.0.0.1:1",
            storage="http://127.0.0.1:1",
            pool="http://127.0.0.1:1",
            pool_address=there.hub,
        )
        save_network(network, tmp_path / "network.json")
        module_anvil.request("anvil_setBalance", SPONSOR.address, hex(10**18))
        chain = JsonRpcChain(module_anvil.rpc_url, chain_id=there.chain_id, hub=there.hub, rlc=there.rlc)
        async with chain:
            terms = (owner.address, operator.address, 1, ZERO32)
            account = str(await chain.read("role_accounts", there.role_accounts, "addressOf", *terms))
            await chain.transact(Call("role_accounts", there.role_accounts, "create", terms), RICH)
            await chain.transact(calls.transfer(there.rlc, SPONSOR.address, GIVEN), RICH)
            await chain.transact(calls.approve(there.rlc, there.hub, GIVEN), SPONSOR)
            gift = await chain.transact(calls.deposit_for(there.hub, GIVEN, account), SPONSOR)
        return Lent(tmp_path / "network.json", tmp_path, owner, account, gift.tx_hash, module_anvil.rpc_url, there.hub)

    return asyncio.run(make())


def test_an_owner_pays_its_accounts_stake_back_in_parts_and_never_twice(
    lent: Lent, capsys: pytest.CaptureFixture[str]
) -> None:
    before = lent.free(SPONSOR.address)
    code, first = lent.repay(capsys, amount="200 nRLC")
    assert (code, first["paidNrlc"], first["repaidNrlc"], first["givenNrlc"]) == (0, 200, 200, GIVEN)
    code, too_much = lent.repay(capsys, amount="301 nRLC")
    assert code and "Only 0.0000003 RLC" in too_much["message"]
    code, rest = lent.repay(capsys)
    assert (code, rest["paidNrlc"], rest["repaidNrlc"]) == (0, 300, GIVEN)
    code, again = lent.repay(capsys)
    assert (code, again["paidNrlc"]) == (0, 0)
    assert lent.free(SPONSOR.address) - before == GIVEN and lent.free(lent.account) == 0


def test_who_gave_nothing_gets_nothing_and_only_the_owner_pays(lent: Lent, capsys: pytest.CaptureFixture[str]) -> None:
    for changes, why in (
        ({"sponsor": RICH.address}, "gave nothing to"),
        ({"as": ""}, "gave nothing to"),
        ({"deposit-tx": "0x" + "12" * 32}, "does not know the transaction"),
        ({"deposit-tx": "0x12"}, "is no transaction"),
    ):
        code, answer = lent.repay(capsys, **changes)
        assert code and why in answer["message"], changes
    save_keystore(KeySigner.generate(), lent.folder / "thief.json", "secret", scrypt_n=1 << 10)
    code, answer = lent.repay(capsys, wallet=str(lent.folder / "thief.json"))
    assert code and "belongs to" in answer["message"]
    assert lent.free(lent.account) == GIVEN


def test_the_owner_is_shown_the_exact_command_and_a_refused_claim(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fairgrid.cli.output import console

    store = WorkerStore.open(tmp_path / "worker.sqlite")
    account, tx = "0x" + "ac" * 20, "0x" + "12" * 32
    agreed = Debt(
        workerpool="0x" + "aa" * 20,
        asked_block=1,
        earned_before=0,
        sponsor=SPONSOR.address,
        deposit_tx=tx,
        claimed_nrlc=GIVEN,
        given_nrlc=GIVEN,
        given_block=2,
        repaid_nrlc=100,
    )
    DebtStore(store).put(agreed)
    DebtStore(store).put(Debt(workerpool="0x" + "bb" * 20, asked_block=1, earned_before=0, refusal="The pool lies."))
    found = debts_of(store, worker=account, key="0x" + "0e" * 20)
    assert [(line["owed"], bool(line["command"])) for line in found] == [(400, True), (0, False)]
    show_debts(console(), {"debts": found, "running": {"notRepaying": [{"reason": "No coins."}]}})
    shown = capsys.readouterr().err
    command = f"fairgrid worker repay --network FILE --wallet OWNER.json --as {account} --sponsor {SPONSOR.address}"
    assert f"{command} --deposit-tx {tx}" in shown.replace("\n", "")
    assert "The pool lies." in shown and "No coins." in shown
    assert debts_of(store, worker=account, key=account)[0]["command"] == ""
    store.close()
