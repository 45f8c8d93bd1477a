"""A chain with the contracts on it, real or in memory, and a market of two signed orders there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.decode import created_address
from fairgrid.chain.deploy import deploy
from fairgrid.chain.interface import Chain, Receipt
from fairgrid.chain.twin import ModelChain
from fairgrid.localnet.anvil import LOCAL_CHAIN_ID, AnvilProcess
from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.typed_data import Domain, order_hash, order_typed_data
from fairgrid.wallet.keys import KeySigner, dev_signer

DIGEST = "0x" + "d1" * 32
OTHER_DIGEST = "0x" + "d2" * 32
SALT = "0x" + "07" * 32
DEPLOYER, REQUESTER, APP_OWNER, POOL_OWNER = (dev_signer(index) for index in range(4))
WORKERS = [dev_signer(index) for index in range(4, 7)]


@dataclass
class Place:
    """A chain with the contracts on it, and what a test may do to it beside the seam."""

    chain: JsonRpcChain | ModelChain
    skip: Callable[[int], object]
    mine: Callable[[], object]
    set_automine: Callable[[bool], object]
    set_balance: Callable[[str, int], object]
    break_node: Callable[[], object]


async def real_place(anvil: AnvilProcess) -> Place:
    deployment = await deploy(anvil.rpc_url, DEPLOYER)
    chain = JsonRpcChain(anvil.rpc_url, chain_id=LOCAL_CHAIN_ID, hub=deployment.hub, rlc=deployment.rlc)

    def skip(seconds: int) -> None:
        anvil.request("evm_increaseTime", seconds)
        anvil.request("evm_mine")

    return Place(
        chain=chain,
        skip=skip,
        mine=lambda: anvil.request("evm_mine"),
        set_automine=lambda on: anvil.request("evm_setAutomine", on),
        set_balance=lambda address, wei: anvil.request("anvil_setBalance", address, hex(wei)),
        break_node=anvil.kill,
    )


def model_place() -> Place:
    chain = ModelChain.fresh(owner=DEPLOYER.address)
    return Place(
        chain=chain,
        skip=chain.skip,
        mine=chain.mine,
        set_automine=lambda on: setattr(chain, "automine", on),
        set_balance=chain.set_balance,
        break_node=lambda: setattr(chain, "down", True),
    )


def sign(chain: Chain, order: Order, signer: KeySigner) -> Order:
    domain = Domain(chain.chain_id, chain.hub)
    return order.signed(signer.sign_typed_data(order_typed_data(order, domain)))


@dataclass
class Market:
    """Assets, money and signed orders; the request is not signed yet."""

    app: str
    workerpool: str
    app_order: AppOrder
    workerpool_order: WorkerpoolOrder
    request: RequestOrder


async def open_market(chain: JsonRpcChain | ModelChain, *, trust: int = 4) -> Market:
    apps, pools = await chain.registry("app"), await chain.registry("workerpool")
    made = await chain.transact(
        calls.create_app(apps, APP_OWNER.address, "py", "WASM", b"/ipfs/bafk", DIGEST), APP_OWNER
    )
    app = created_address(made, apps)
    made = await chain.transact(calls.create_workerpool(pools, POOL_OWNER.address, "pool"), POOL_OWNER)
    workerpool = created_address(made, pools)
    await chain.transact(calls.change_policy(workerpool, stake_ratio=50, scheduler_ratio=10), POOL_OWNER)
    for account in (REQUESTER, POOL_OWNER, *WORKERS):
        await chain.transact(calls.transfer(chain.rlc, account.address, 10_000), DEPLOYER)
        await chain.transact(calls.approve(chain.rlc, chain.hub, 10_000), account)
        await chain.transact(calls.deposit(chain.hub, 10_000), account)
    app_order = AppOrder(
        app=app, appprice=5, volume=1000, tag=ZERO32, datasetrestrict=ZERO_ADDRESS, workerpoolrestrict=ZERO_ADDRESS,
        requesterrestrict=ZERO_ADDRESS, salt=SALT,
    )  # fmt: skip
    workerpool_order = WorkerpoolOrder(
        workerpool=workerpool, workerpoolprice=100, volume=1000, tag=ZERO32, category=0, trust=1000,
        apprestrict=ZERO_ADDRESS, datasetrestrict=ZERO_ADDRESS, requesterrestrict=ZERO_ADDRESS, salt=SALT,
    )  # fmt: skip
    request = RequestOrder(
        app=app, appmaxprice=5, dataset=ZERO_ADDRESS, datasetmaxprice=0, workerpool=ZERO_ADDRESS,
        workerpoolmaxprice=100, requester=REQUESTER.address, volume=2, tag=ZERO32, category=0, trust=trust,
        beneficiary=REQUESTER.address, callback=ZERO_ADDRESS, params="{}", salt=SALT,
    )  # fmt: skip
    signed_app = sign(chain, app_order, APP_OWNER)
    signed_pool = sign(chain, workerpool_order, POOL_OWNER)
    assert isinstance(signed_app, AppOrder)
    assert isinstance(signed_pool, WorkerpoolOrder)
    return Market(app, workerpool, signed_app, signed_pool, request)


async def match(chain: JsonRpcChain | ModelChain, market: Market) -> str:
    request = sign(chain, market.request, REQUESTER)
    assert isinstance(request, RequestOrder)
    receipt = await chain.transact(
        calls.match_orders(chain.hub, market.app_order, NULL_DATASET_ORDER, market.workerpool_order, request), REQUESTER
    )
    (matched,) = [event for event in receipt.events if event.name == "OrdersMatched"]
    deal_id = str(matched.arguments["dealid"])
    assert deal_id == ids.deal_id(order_hash(request, Domain(chain.chain_id, chain.hub)), 0)
    return deal_id


async def contribute(chain: Chain, task_id: str, worker: KeySigner, digest: str) -> Receipt:
    authorisation = POOL_OWNER.sign_message(ids.authorisation_message(worker.address, task_id, ZERO_ADDRESS))
    seal = ids.result_seal(worker.address, task_id, digest)
    call = calls.contribute(chain.hub, task_id, ids.result_hash(task_id, digest), seal, authorisation)
    return await chain.transact(call, worker)
