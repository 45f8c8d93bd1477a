"""Deploy the contract, fill its account, let it order the job, and read the verified answer out of its storage.

    fairgrid up --detach
    python order.py

The first of the local chain's test accounts plays the owner. On another chain sign with a key of your own (web3.py's
`SignAndSendRawMiddlewareBuilder`), and use the network file of its operator.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from build import contract
from web3 import Web3
from web3.logs import DISCARD  # events of the hub in the same transaction

from fairgrid.chain.artifacts import artifact
from fairgrid.chain.network import load_network
from fairgrid.client.client import Client, TrustWish
from fairgrid.client.job import Job
from fairgrid.client.prepared_job import prepare_job
from fairgrid.localnet.paths import default_directory, requester_folder
from fairgrid.protocol.manifest import params_for
from fairgrid.runtime.wasm.interpreters import default_runtime_id
from fairgrid.wallet.keystore import open_or_create_key

HERE = Path(__file__).resolve().parent
TRUST, CONFIDENCE = 8, "0.875"  # three newcomers of different owners must agree: confidence 1 - 1/trust
HIGHEST_PRICE = 10**9  # nRLC that one answer may cost: 1 RLC
PATIENCE_S = 240


class Market:
    """The local network, as the owner of a consumer uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = load_network(folder)
        self.w3 = Web3(Web3.HTTPProvider(self.network.rpc))
        self.owner = self.w3.eth.accounts[0]
        self.rlc = self.w3.eth.contract(self.network.rlc, abi=artifact("rlc").abi)
        self.hub = self.w3.eth.contract(self.network.hub, abi=artifact("hub").abi)

    def send(self, call: Any, sender: str | None = None) -> Any:
        """Send a transaction and wait until it is mined."""
        done = call.transact({"from": sender or self.owner})
        receipt = self.w3.eth.wait_for_transaction_receipt(done, timeout=60, poll_latency=0.1)
        assert receipt["status"] == 1, "the transaction failed"
        return receipt

    async def offers(self) -> tuple[str, Any]:
        """Upload the job; the params that name it, and signed offers of an app and a workerpool that can do it."""
        signer = open_or_create_key(requester_folder(self.folder))
        async with Client.connect(
            self.network, signer, journal_folder=self.folder / "deals" / signer.address
        ) as client:
            job = Job.from_files(HERE / "job.py", [HERE / "values.csv"], [], runtime_id=default_runtime_id())
            quote = await client.quote(job, TrustWish(CONFIDENCE))
            prepared = await prepare_job(job, client.storage, timeref=quote.timeref)
            return params_for(self.network.storage, prepared.manifest_cid), quote.offer

    def deploy(self, job: str, money: int = HIGHEST_PRICE) -> Any:
        """A new consumer of this job, with so much money (nRLC) in its account at the hub."""
        compiled = contract()
        creation = self.w3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
        receipt = self.send(creation.constructor(self.network.hub, job, TRUST, HIGHEST_PRICE))
        consumer = self.w3.eth.contract(receipt["contractAddress"], abi=compiled["abi"])
        self.send(self.rlc.functions.approve(self.network.hub, money))
        self.send(self.hub.functions.depositFor(money, consumer.address))
        return consumer

    def ask(self, consumer: Any, offer: Any) -> Any:
        """Let it order; its event ``Asked``."""
        receipt = self.send(consumer.functions.ask(offer.app.abi_tuple(), offer.workerpool.abi_tuple()))
        return consumer.events.Asked().process_receipt(receipt, errors=DISCARD)[0]["args"]

    def answer(self, consumer: Any, task: bytes, *, within_s: float = PATIENCE_S) -> int:
        """Wait until workers agreed and the hub called back.

        Raises:
            TimeoutError: no answer came.
        """
        end = time.monotonic() + within_s
        while not consumer.functions.answered(task).call():
            if time.monotonic() > end:
                raise TimeoutError(f"No answer within {within_s:g} s. `fairgrid story 0x{task.hex()}` tells why.")
            time.sleep(0.5)
        return int(consumer.functions.answer(task).call())


def main() -> None:
    """The whole way, once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=default_directory(), help="the network's folder")
    options = parser.parse_args()
    market = Market(options.dir)
    params, offer = asyncio.run(market.offers())
    consumer = market.deploy(params)
    print(f"the contract is at {consumer.address} and has {HIGHEST_PRICE / 10**9:g} RLC at the hub", file=sys.stderr)
    asked = market.ask(consumer, offer)
    print(f"it ordered task 0x{asked['task'].hex()} for {offer.price} nRLC", file=sys.stderr)
    answer = market.answer(consumer, asked["task"])
    left = market.hub.functions.balanceOf(consumer.address).call()
    market.send(consumer.functions.takeBack(left))
    print(json.dumps({"contract": consumer.address, "answer": answer, "spent": HIGHEST_PRICE - left}))


if __name__ == "__main__":
    main()
