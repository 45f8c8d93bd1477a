"""A grid on a real node: anvil with all contracts, a storage behind a socket, and people with money."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fairgrid.chain import calls
from fairgrid.chain.abi import contract_abi
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.decode import created_address
from fairgrid.chain.deploy import Deployment, deploy
from fairgrid.chain.envelope import read_envelope
from fairgrid.chain.network import Network
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol.hexes import ZERO32, from_hex, to_hex
from fairgrid.protocol.typed_data import Domain
from fairgrid.seams.service import serving
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import MemoryStore
from fairgrid.wallet.keys import KeySigner, dev_signer

from .grid import DEPOSIT, Grid, key


class AnvilGrid(Grid):
    """As `Grid`, on a node. Make it with `anvil_grid`."""

    anvil: AnvilProcess
    deployment: Deployment
    storage_url: str

    def __init__(self, folder: Path, *, policy: Policy) -> None:
        self.folder = folder
        self.policy = policy
        self.url = ""
        self._salt = 0
        self.runs = {}

    def deposit(self, address: str) -> None:
        self.anvil.request("anvil_setBalance", address, hex(10**20))
        hub = self.deployment.hub
        data = contract_abi("hub").encode_call("depositFor", (DEPOSIT, address))
        fields = {"from": self.admin.address, "to": hub, "data": to_hex(data), "gas": hex(500_000)}
        self.anvil.request("eth_sendTransaction", fields)

    def network(self, *, rpc: str = "") -> Network:
        """The network file's content; ``rpc`` names something between pool and node."""
        return Network(
            name="test",
            chain_id=self.deployment.chain_id,
            rpc=rpc or self.anvil.rpc_url,
            hub=self.deployment.hub,
            hub_code_hash=self.deployment.hub_code_hash,
            rlc=self.deployment.rlc,
            market="http://127.0.0.1:1",
            storage=self.storage_url,
            pool="http://127.0.0.1:1",
            pool_address=self.workerpool,
        )


@contextlib.asynccontextmanager
async def anvil_grid(
    anvil: AnvilProcess, folder: Path, *, policy: Policy, scheduler: KeySigner | None = None
) -> AsyncIterator[AnvilGrid]:
    """Deploy everything that is not there yet, and give it."""
    grid = AnvilGrid(folder, policy=policy)
    grid.anvil = anvil
    grid.admin, grid.requester = dev_signer(0), key("requester")
    grid.scheduler = scheduler or key("scheduler")
    grid.deployment = deployment = await deploy(anvil.rpc_url)
    chain = JsonRpcChain(anvil.rpc_url, chain_id=deployment.chain_id, hub=deployment.hub, rlc=deployment.rlc)
    async with (
        chain,
        serving(storage_application(MemoryStore())) as grid.storage_url,
        StorageClient(grid.storage_url) as grid.storage,
    ):
        grid.chain = cast(Any, chain)
        grid.domain = Domain(deployment.chain_id, deployment.hub)
        await chain.transact(calls.approve(deployment.rlc, deployment.hub, 10**16), grid.admin)
        for person in (grid.scheduler, grid.requester):
            grid.deposit(person.address)
        create_app = calls.create_app(deployment.app_registry, grid.admin.address, f"app {folder}", "WASM", b"", ZERO32)
        grid.app = created_address(await chain.transact(create_app, grid.admin), deployment.app_registry)
        registry = deployment.workerpool_registry
        create_pool = calls.create_workerpool(registry, grid.scheduler.address, f"pool {folder}")
        grid.workerpool = created_address(await chain.transact(create_pool, grid.admin), registry)
        yield grid


class NodeBetween:
    """Stands between a pool and its node, sees what it asks, and may do something before or after an answer."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._selectors = {entry.selector: entry.name for entry in contract_abi("hub").functions.values()}
        self.sent: list[str] = []
        """Functions of the transactions that were sent on, in order."""
        self._hashes: set[str] = set()

    def before(self, function: str) -> None:
        """A transaction came; nothing was sent on."""

    def after(self, function: str) -> None:
        """The node has it; the pool does not know yet."""

    def receipt(self) -> None:
        """The node told of a mined transaction; the pool does not know yet."""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as self._http:
            async with serving(Starlette(routes=[Route("/", self._answer, methods=["POST"])])) as url:
                yield url

    async def _answer(self, request: Request) -> Response:
        import json

        body = await request.body()
        document = json.loads(body)
        asked = document if isinstance(document, list) else [document]
        functions = [
            self._selectors.get(read_envelope(from_hex(call["params"][0])).data[:4], "")
            for call in asked
            if call["method"] == "eth_sendRawTransaction"
        ]
        for function in functions:
            self.before(function)
        answer = await self._http.post(self._node, content=body, headers={"content-type": "application/json"})
        self.sent += functions
        for function in functions:
            self.after(function)
        if any(call["method"] == "eth_getTransactionReceipt" for call in asked):
            answers = answer.json()
            if any(item.get("result") for item in (answers if isinstance(answers, list) else [answers])):
                self.receipt()
        return Response(answer.content, answer.status_code, media_type="application/json")
