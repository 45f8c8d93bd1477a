"""Deploy the contracts to any EVM chain: the same addresses for the same owner, whoever asks and however often.

Every contract is created through the CREATE2 deployer (decision 53), so its address follows from its code and its
constructor arguments. A run looks for what is missing, creates it, then sets what is not set yet; it can be stopped
anywhere and run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairgrid.chain.abi import contract_abi
from fairgrid.chain.artifacts import artifact
from fairgrid.chain.create2 import (
    DEPLOY_SALT,
    DEPLOYER,
    DEPLOYER_CODE_HASH,
    ENTRY_PROXY_CODE,
    create2_address,
    creation_code,
)
from fairgrid.chain.deploy_sender import Step, StepSender, gather_all
from fairgrid.chain.rpc import JsonRpc, RpcError
from fairgrid.errors import UsageError
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum, from_hex, keccak, to_hex
from fairgrid.wallet.keys import dev_signer
from fairgrid.wallet.signer import Signer

__all__ = [
    "FACETS",
    "FACTORIES",
    "LOCAL_CHAIN_ID",
    "NATIVE_ESCROW",
    "REGISTRY_ENTRIES",
    "Deployment",
    "PlannedContract",
    "PlannedDeployment",
    "creation_codes",
    "deploy",
    "plan_contracts",
    "plan_deployment",
]

LOCAL_CHAIN_ID = 31337
"""The one chain on which a deployment needs no key: everybody has the money there."""

_RLC_DECIMALS = 9
FACETS = ("hub_orders", "hub_batch", "hub_boost", "hub_escrow", "hub_admin", "hub_legacy", "hub_views")
"""In the order of creation: each is given those before it by name."""
NATIVE_ESCROW = "hub_escrow_native"
"""In the place of ``hub_escrow`` where the chain's own coin is escrowed."""
REGISTRY_ENTRIES = {"app_registry": "app", "dataset_registry": "dataset", "workerpool_registry": "workerpool"}
"""The registries, each with the contract that its entries delegate to."""
FACTORIES = {"role_accounts": "role_account", "deposit_addresses": "deposit_address", "groups": "group"}
"""What stands around the hub, each with the contract that its clones delegate to."""


@dataclass(frozen=True, slots=True)
class PlannedContract:
    """A contract and where it will be."""

    name: str
    address: str
    init_code: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDeployment:
    """What a deployment would create."""

    chain_id: int
    owner: str
    hub: str
    missing: tuple[str, ...]
    """Names of the contracts that are not there yet."""
    gas: int
    """Of their creation; without the hub's and the settings', which depend on what is created before."""
    balance_wei: int
    """What the owner has to pay it with."""

    def to_json(self) -> dict[str, Any]:
        """The object of ``fairgrid contracts deploy --dry-run --json``."""
        return {
            "chainId": self.chain_id,
            "owner": self.owner,
            "hub": self.hub,
            "missing": list(self.missing),
            "gas": self.gas,
            "balanceWei": self.balance_wei,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Where everything is. Addresses are checksummed."""

    chain_id: int
    owner: str
    """Whose deployment it is: first owner of hub and registries, and of a new token's whole supply."""
    flavour: str
    """What is escrowed: ``token`` (RLC) or ``native`` (the chain's own coin)."""
    hub: str
    rlc: str
    """The zero address in the native flavour."""
    app_registry: str
    dataset_registry: str
    workerpool_registry: str
    facets: Mapping[str, str]
    """Contracts that the hub delegates to, by name."""
    role_accounts: str
    deposit_addresses: str
    """The zero address in the native flavour, where plain coins sent to the hub are a deposit."""
    groups: str
    hub_code_hash: str
    """keccak256 of the hub's code, for network files (decision 31)."""
    creation_codes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What each contract was created with, arguments included; see `creation_codes`."""
    gas_used: Mapping[str, int] = field(default_factory=dict)
    """Gas of each transaction that this run sent, by what it did; empty if everything was there."""
    already_deployed: bool
    """True if this run had nothing to do."""

    def to_json(self) -> dict[str, Any]:
        """The object of ``fairgrid contracts deploy --json``."""
        return {
            "hub": self.hub,
            "rlc": self.rlc,
            "appRegistry": self.app_registry,
            "datasetRegistry": self.dataset_registry,
            "workerpoolRegistry": self.workerpool_registry,
            "roleAccounts": self.role_accounts,
            "depositAddresses": self.deposit_addresses,
            "groups": self.groups,
            "flavour": self.flavour,
            "chainId": self.chain_id,
            "owner": self.owner,
            "hubCodeHash": self.hub_code_hash,
            "facets": dict(self.facets),
            "gasUsed": sum(self.gas_used.values()),
            "gas": dict(self.gas_used),
            "alreadyDeployed": self.already_deployed,
            "creationCodes": dict(self.creation_codes),
        }


def plan_contracts(owner: str, *, rlc: str | None = None, native: bool = False) -> dict[str, PlannedContract]:
    """Every contract by name, in the order of creation, with the address that it will have on any chain.

    ``rlc`` names a token that exists already; then none is planned. ``native`` escrows the chain's own coin: there is
    no token then, and there are no deposit addresses.

    Raises:
        UsageError: both are given.
    """
    _check_flavour(rlc, native=native)
    plan: dict[str, PlannedContract] = {}
    # By the names of the constructors' arguments.
    arguments: dict[str, Any] = {
        "token_owner": owner,
        "registry_owner": owner,
        "hub_owner": owner,
        "v3_hub": ZERO_ADDRESS,
    }

    def add(name: str, **own_arguments: Any) -> str:
        init_code = creation_code(artifact(name), arguments | own_arguments)
        plan[name] = PlannedContract(name, create2_address(DEPLOYER, DEPLOY_SALT, init_code), init_code)
        return plan[name].address

    if not native:
        arguments["base_token"] = rlc if rlc is not None else add("rlc")
    for registry, entry in REGISTRY_ENTRIES.items():
        arguments[registry] = add(registry, entry_initcode=artifact(entry).bytecode)
    for facet in FACETS:
        arguments[facet] = add(NATIVE_ESCROW if native and facet == "hub_escrow" else facet)
    arguments["hub_address"] = add("hub")
    for factory, target in FACTORIES.items():
        if not native or factory != "deposit_addresses":
            add(factory, clone_initcode=artifact(target).bytecode)
    return plan


def creation_codes(plan: Mapping[str, PlannedContract]) -> dict[str, Any]:
    """Creation codes as 0x-hex: of what is planned with constructor arguments, of what these create without.

    keccak256 of the first kind, with deployer and salt, gives the address. ``entryProxy`` creates every app, dataset
    and workerpool; ``entries`` and ``clones`` are what entries, and the clones of the factories, delegate to.
    """

    def planned(names: Iterable[str]) -> dict[str, str]:
        return {name: to_hex(plan[name].init_code) for name in names if name in plan}

    def created(names: Iterable[str]) -> dict[str, str]:
        return {name: to_hex(artifact(name).bytecode) for name in names}

    return {
        "token": planned(["rlc"]),
        "registries": planned(REGISTRY_ENTRIES),
        "entries": created(REGISTRY_ENTRIES.values()),
        "entryProxy": to_hex(ENTRY_PROXY_CODE),
        "facets": planned((*FACETS, NATIVE_ESCROW)),
        "hub": to_hex(plan["hub"].init_code),
        "factories": planned(FACTORIES),
        "clones": created(FACTORIES.values()),
    }


async def plan_deployment(
    rpc_url: str, signer: Signer | None = None, *, rlc: str | None = None, native: bool = False
) -> PlannedDeployment:
    """What `deploy` would create; nothing is signed or sent.

    Raises:
        UsageError, ServiceUnavailable: as `deploy`.
    """
    _check_flavour(rlc, native=native)
    async with JsonRpc(rpc_url) as rpc:
        chain_id = int(await rpc.request("eth_chainId"), 16)
        owner = (signer or _local_signer(chain_id)).address
        await _check_deployer(rpc, chain_id)
        token = None if rlc is None else await _check_token(rpc, rlc)
        plan = plan_contracts(owner, rlc=token, native=native)
        missing = [contract for contract in plan.values() if not await _code(rpc, contract.address)]
        gas = 0
        for step in (_creation(contract) for contract in missing if contract.name != "hub"):
            call = {"from": owner, "to": step.to, "data": to_hex(step.data), "gasPrice": "0x0"}
            try:
                gas += int(await rpc.request("eth_estimateGas", call), 16)
            except RpcError as error:
                raise UsageError(f"The node cannot say what gas {step.label} takes: {error}.") from error
        return PlannedDeployment(
            chain_id=chain_id,
            owner=owner,
            hub=plan["hub"].address,
            missing=tuple(contract.name for contract in missing),
            gas=gas,
            balance_wei=int(await rpc.request("eth_getBalance", owner, "latest"), 16),
        )


async def deploy(
    rpc_url: str,
    signer: Signer | None = None,
    *,
    rlc: str | None = None,
    native: bool = False,
    progress: Callable[[str], None] | None = None,
    timeout_s: float = 180.0,
) -> Deployment:
    """Create what is missing and set what is not set yet; the signer owns all of it and pays the gas.

    ``rlc`` is a token to use in place of a new one; ``native`` escrows the chain's own coin and no token. Without
    ``signer`` the first well-known test account is used, on chain 31337 only. ``progress`` is told each step;
    ``timeout_s`` bounds the wait for each transaction.

    Raises:
        UsageError: no signer for a chain that is not local, no CREATE2 deployer on this chain, ``rlc`` is no token, or
            both a token and the native coin are to be escrowed.
        FundsError: the signer cannot pay the gas; nothing was sent.
        ServiceUnavailable: no node answers.
        TransactionFailed: a transaction was refused, failed on chain, or was not mined in time. Run it again.
    """
    _check_flavour(rlc, native=native)
    tell = progress or (lambda _line: None)
    async with JsonRpc(rpc_url) as rpc:
        chain_id = int(await rpc.request("eth_chainId"), 16)
        signer = signer or _local_signer(chain_id)
        await _check_deployer(rpc, chain_id)
        token = None if rlc is None else await _check_token(rpc, rlc)
        plan = plan_contracts(signer.address, rlc=token, native=native)
        sender = StepSender(rpc, signer, chain_id, tell=tell, timeout_s=timeout_s)

        await sender.settle()
        missing = [contract for contract in plan.values() if not await _code(rpc, contract.address)]
        # The hub's constructor looks for its facets, the settings need their registries.
        gas = await sender.send([_creation(contract) for contract in missing if contract.name != "hub"])
        last = [_creation(contract) for contract in missing if contract.name == "hub"]
        gas |= await sender.send([*last, *await _missing_settings(rpc, chain_id, plan)])
        hub_code = await _code(rpc, plan["hub"].address)
        places = {name: contract.address for name, contract in plan.items()}
        return Deployment(
            chain_id=chain_id,
            owner=signer.address,
            flavour="native" if native else "token",
            hub=places["hub"],
            rlc=token or places.get("rlc", ZERO_ADDRESS),
            app_registry=places["app_registry"],
            dataset_registry=places["dataset_registry"],
            workerpool_registry=places["workerpool_registry"],
            facets={name: address for name, address in places.items() if name in (*FACETS, NATIVE_ESCROW)},
            role_accounts=places["role_accounts"],
            deposit_addresses=places.get("deposit_addresses", ZERO_ADDRESS),
            groups=places["groups"],
            hub_code_hash=to_hex(keccak(hub_code)),
            creation_codes=creation_codes(plan),
            gas_used=gas,
            already_deployed=not gas,
        )


def _check_flavour(rlc: str | None, *, native: bool) -> None:
    if native and rlc is not None:
        raise UsageError("An escrow of the chain's own coin has no token: leave --rlc or --native out.")


def _local_signer(chain_id: int) -> Signer:
    if chain_id != LOCAL_CHAIN_ID:
        raise UsageError(
            f"Chain {chain_id} is not a local chain ({LOCAL_CHAIN_ID}): name the key that pays the gas and owns the "
            "contracts, with --key or --keystore."
        )
    return dev_signer(0)


async def _check_deployer(rpc: JsonRpc, chain_id: int) -> None:
    code = await _code(rpc, DEPLOYER)
    if not code:
        raise UsageError(
            f"Chain {chain_id} has no CREATE2 deployer at {DEPLOYER}, through which the contracts get their addresses. "
            "Publish it first (its one presigned transaction: github.com/Arachnid/deterministic-deployment-proxy), or "
            "choose a chain that has it."
        )
    if to_hex(keccak(code)) != DEPLOYER_CODE_HASH:
        raise UsageError(f"Another contract than the CREATE2 deployer is at {DEPLOYER} on chain {chain_id}. Stop here.")


async def _check_token(rpc: JsonRpc, rlc: str) -> str:
    address = checksum(rlc)
    try:
        answer = await _call(rpc, "rlc", address, "decimals")
    except RpcError:  # another contract, which does not know the question
        answer = b""
    if int.from_bytes(answer, "big") != _RLC_DECIMALS:
        raise UsageError(
            f"There is no token with {_RLC_DECIMALS} decimals at {address}. Name the RLC token of this chain, or leave "
            "--rlc out to deploy a test token."
        )
    return address


async def _code(rpc: JsonRpc, address: str) -> bytes:
    return from_hex(await rpc.request("eth_getCode", address, "latest"))


async def _call(rpc: JsonRpc, contract: str, address: str, function: str) -> bytes:
    data = to_hex(contract_abi(contract).encode_call(function, ()))
    return from_hex(await rpc.request("eth_call", {"to": address, "data": data}, "latest"))


async def _read(rpc: JsonRpc, contract: PlannedContract, function: str) -> Any:
    answer = await _call(rpc, contract.name, contract.address, function)
    return contract_abi(contract.name).decode_answer(function, answer)[0]


def _creation(contract: PlannedContract) -> Step:
    return Step(
        label=contract.name,
        message=f"creating {contract.name} at {contract.address}",
        to=DEPLOYER,
        data=DEPLOY_SALT + contract.init_code,
        creates=contract.address,
    )


async def _missing_settings(rpc: JsonRpc, chain_id: int, plan: Mapping[str, PlannedContract]) -> list[Step]:
    """What an owner sets once after creation; a value that is set already stays, whatever it is."""

    def setting(contract: PlannedContract, function: str, argument: str) -> Step:
        label = f"{contract.name}.{function}"
        data = contract_abi(contract.name).encode_call(function, (argument,))
        return Step(label=label, message=f"setting {label}", to=contract.address, data=data)

    async def of_registry(name: str, entry: str) -> list[Step]:
        registry = plan[name]
        initialized, base_uri = await gather_all(
            _read(rpc, registry, function) for function in ("initialized", "baseURI")
        )
        uri = f"https://nfts-metadata.iex.ec/{entry}/{chain_id}/"
        steps = [] if initialized else [setting(registry, "initialize", ZERO_ADDRESS)]
        return steps if base_uri else [*steps, setting(registry, "setBaseURI", uri)]

    return [step for name, entry in REGISTRY_ENTRIES.items() for step in await of_registry(name, entry)]
