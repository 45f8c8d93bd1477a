"""Let a contract buy a verified computation: deploy it, fill its account, ask, and read the answer out of its storage.

    fairgrid up --detach
    python examples/consumers/ask.py                          the Vyper contract
    python examples/consumers/ask.py --contract solidity      its twin

The first of the local chain's test accounts plays the owner of the contract. On another chain use a signer of your own
(web3.py's `construct_sign_and_send_raw_middleware`) and a network file of its operator.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

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
DATA = HERE.parent / "co2_trend" / "co2.csv"
TRUST = 8  # three newcomers who agree; see `docs/protocol-client.md`
CONFIDENCE = "0.875"  # the same, as 1 - 1/trust
HIGHEST_PRICE = 10**9  # 1 RLC
PATIENCE_S = 120


async def prepare(network, folder):
    """Upload the job; its params, and the signed offers of an app and a workerpool that can do it."""
    signer = open_or_create_key(requester_folder(folder))
    async with Client.connect(network, signer, journal_folder=folder / "deals" / signer.address) as client:
        job = Job.from_files(HERE / "growth.py", [DATA], [], runtime_id=default_runtime_id())
        quote = await client.quote(job, TrustWish(CONFIDENCE))
        prepared = await prepare_job(job, client.storage, timeref=quote.timeref)
        return params_for(network.storage, prepared.manifest_cid), quote.offer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contract", choices=("vyper", "solidity"), default="vyper")
    parser.add_argument("--dir", type=Path, default=default_directory(), help="the network's folder")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()

    network = load_network(options.dir)
    w3 = Web3(Web3.HTTPProvider(network.rpc))
    me = w3.eth.accounts[0]
    rlc = w3.eth.contract(network.rlc, abi=artifact("rlc").abi)
    hub = w3.eth.contract(network.hub, abi=artifact("hub").abi)

    def send(call):
        receipt = w3.eth.wait_for_transaction_receipt(call.transact({"from": me}), timeout=60, poll_latency=0.1)
        assert receipt.status == 1, "the transaction failed"
        return receipt

    def tell(line):
        print(line, file=sys.stderr)

    # A contract with money of its own at the hub.
    compiled = json.loads((HERE / "compiled" / f"{options.contract}.json").read_text())
    creation = w3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
    address = send(creation.constructor(network.hub, TRUST, HIGHEST_PRICE)).contractAddress
    consumer = w3.eth.contract(address, abi=compiled["abi"])
    send(rlc.functions.approve(network.hub, HIGHEST_PRICE))
    send(hub.functions.depositFor(HIGHEST_PRICE, address))
    tell(f"{compiled['contractName']} is at {address} and has {HIGHEST_PRICE / 10**9:g} RLC at the hub")

    # It asks.
    params, offer = asyncio.run(prepare(network, options.dir))
    receipt = send(consumer.functions.ask(offer.app.abi_tuple(), offer.workerpool.abi_tuple(), params))
    asked = consumer.events.Asked().process_receipt(receipt, errors=DISCARD)[0].args
    tell(f"it asked: deal 0x{asked.deal.hex()}, {offer.price} nRLC, {receipt.gasUsed} gas")

    # Workers compute, agree, reveal; the hub calls back.
    end = time.monotonic() + PATIENCE_S
    while not consumer.functions.answered(asked.task).call():
        if time.monotonic() > end:
            raise SystemExit(f"No answer within {PATIENCE_S} s. `fairgrid story 0x{asked.task.hex()}` tells why.")
        time.sleep(0.5)
    answer = consumer.functions.answer(asked.task).call()
    spent = HIGHEST_PRICE - hub.functions.balanceOf(address).call()
    tell(f"answered: CO2 rose by {answer / 1e6} ppmv a year; it cost {spent} nRLC")

    # What was not spent goes home.
    send(consumer.functions.takeBack(HIGHEST_PRICE - spent))
    if options.json:
        task = "0x" + asked.task.hex()
        print(json.dumps({"contract": address, "taskId": task, "answer": answer, "spent": spent, "exitCode": 0}))


if __name__ == "__main__":
    main()
