"""Check a live deployment against this package: code, owners, categories, domain, registries, token.

Code is compared with what the contract's own creation code, arguments included, leaves at that very address: the node
runs it there in a call that changes nothing. Nothing is signed or sent. What the node says is believed: ask one that
you trust.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fairgrid.chain.abi import contract_abi
from fairgrid.chain.artifacts import artifact
from fairgrid.chain.create2 import DEPLOYER, creation_code
from fairgrid.chain.deploy import (
    FACTORIES,
    LOCAL_CHAIN_ID,
    REGISTRY_ENTRIES,
    PlannedContract,
    plan_contracts,
)
from fairgrid.chain.deploy_sender import gather_all
from fairgrid.chain.rpc import JsonRpc, RpcError
from fairgrid.errors import UsageError, VerificationError
from fairgrid.protocol.hexes import ZERO_ADDRESS, address_bytes, checksum, from_hex, keccak, to_hex
from fairgrid.protocol.typed_data import Domain, domain_separator
from fairgrid.wallet.keys import dev_signer

__all__ = ["CATEGORIES", "Check", "Verification", "verify"]

CATEGORIES = (("XS", '""', 300), ("S", '""', 1_200), ("M", '""', 3_600), ("L", '""', 10_800), ("XL", '""', 36_000))
"""The categories that every hub starts with: name, description, time in seconds. Its owner may have added others."""

# Answers with one byte: a node that really runs the code that a call brings along says so.
_CANARY = ("0x00000000000000000000000000000000000Ca7A2", "0x602a5f5360015ff3", "0x2a")

_DECIMALS = 9
_OWN_SUPPLY = 87_000_000 * 10**_DECIMALS
_SUPPLY_BOUND = 2**96
_WEI_PER_NRLC = 10**9


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    """What was found; if not ``ok``, also what should have been."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All checks of one deployment, in order."""

    chain_id: int
    hub: str
    owner: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True if every check holds."""
        return all(check.ok for check in self.checks)

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return 0 if self.ok else VerificationError.exit_code

    def to_json(self) -> dict[str, Any]:
        """The object of ``fairgrid contracts verify --json``."""
        return {
            "ok": self.ok,
            "chainId": self.chain_id,
            "hub": self.hub,
            "owner": self.owner,
            "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in self.checks],
            "exitCode": self.exit_code,
        }


async def verify(
    rpc_url: str,
    *,
    hub: str | None = None,
    owner: str | None = None,
    first_owner: str | None = None,
    rlc: str | None = None,
    native: bool = False,
) -> Verification:
    """Look at everything that `fairgrid.chain.deploy.deploy` leaves.

    ``owner`` should own hub and registries (default: on chain 31337 the first well-known test account);
    ``first_owner`` is whom they were deployed for, if that was somebody else. ``hub`` is where the hub is, by default
    where its planned address is, for the token ``rlc`` if that was not deployed with it, or for ``native`` coins.

    Raises:
        UsageError: an address is none, no owner is named on a chain that is not local, or both ``rlc`` and ``native``
            are given.
        ServiceUnavailable: no node answers.
    """
    async with JsonRpc(rpc_url) as rpc:
        chain_id = int(await rpc.request("eth_chainId"), 16)
        if owner is None and chain_id != LOCAL_CHAIN_ID:
            raise UsageError(f"Chain {chain_id} is not a local chain ({LOCAL_CHAIN_ID}): say with --owner who owns it.")
        holder = dev_signer(0).address if owner is None else checksum(owner)
        deployed_for = holder if first_owner is None else checksum(first_owner)
        planned = plan_contracts(deployed_for, rlc=None if rlc is None else checksum(rlc), native=native)
        address = planned["hub"].address if hub is None else checksum(hub)
        inspector = _Inspector(rpc, chain_id, address, holder)
        checks: tuple[Check, ...] = (Check("hub code", False, f"There is no contract at {address}."),)
        if await inspector.code(address):
            checks = await inspector.everything(deployed_for)
        return Verification(chain_id=chain_id, hub=address, owner=holder, checks=checks)


class _Inspector:
    """Asks one node about one hub and what belongs to it."""

    def __init__(self, rpc: JsonRpc, chain_id: int, hub: str, owner: str) -> None:
        self.rpc = rpc
        self.chain_id = chain_id
        self.hub = hub
        self.owner = owner
        self.runs_creation_code = False

    async def everything(self, deployed_for: str) -> tuple[Check, ...]:
        """Every check; a contract that does not answer fails the checks that ask it."""
        self.runs_creation_code = await self._runs_creation_code()
        token = await self.ask("hub", self.hub, "token")
        own_token = plan_contracts(deployed_for)["rlc"].address
        # A hub that lies about its token has other code than the plan for that token.
        native = token == ZERO_ADDRESS
        rlc = token if isinstance(token, str) and token not in (own_token, ZERO_ADDRESS) else None
        plan = plan_contracts(deployed_for, rlc=rlc, native=native)
        live = {name: contract.address for name, contract in plan.items()} | {"hub": self.hub}
        live["rlc"] = token if isinstance(token, str) else ZERO_ADDRESS
        for entry, function in (
            ("app", "appregistry"),
            ("dataset", "datasetregistry"),
            ("workerpool", "workerpoolregistry"),
        ):
            told = await self.ask("hub", self.hub, function)
            live[f"{entry}_registry"] = told if isinstance(told, str) else ZERO_ADDRESS

        checks = await gather_all(self.code_of(contract, live[name]) for name, contract in plan.items())
        makers = (name for name in (*REGISTRY_ENTRIES, *FACTORIES) if name in plan)
        checks += await gather_all(self.code_of_target(name, live) for name in makers)
        names = ("hub", *REGISTRY_ENTRIES)
        checks += await gather_all(
            self.value(f"{name} owner", name, live[name], "owner", lambda found: found == self.owner, self.owner)
            for name in names
        )
        checks.append(await self.categories())
        checks += await self.domain()
        for registry in REGISTRY_ENTRIES:
            checks += await self.registry(registry, live[registry])
        checks += [await self.coins()] if native else await self.token(live["rlc"], own=rlc is None)
        return tuple(checks)

    # --- code ---------------------------------------------------------------------------------------------------

    async def code(self, address: str) -> bytes:
        """The code at an address."""
        return from_hex(await self.rpc.request("eth_getCode", address, "latest"))

    async def code_of(self, contract: PlannedContract, address: str) -> Check:
        """A contract that the deployment plans."""
        proven = address == contract.address
        return await self._same_code(f"{contract.name} code", address, contract.init_code, DEPLOYER, proven=proven)

    async def code_of_target(self, maker: str, live: Mapping[str, str]) -> Check:
        """What a registry or a factory created when it was created: all its entries or clones delegate to it."""
        name = REGISTRY_ENTRIES.get(maker) or FACTORIES[maker]
        function = "master" if maker in REGISTRY_ENTRIES else "target"
        address = await self.ask(maker, live[maker], function)
        if not isinstance(address, str):
            return Check(f"{name} code", False, f"{maker} does not name it.")
        init_code = creation_code(artifact(name), {"hub_address": self.hub, "base_token": live["rlc"]})
        proven = address == _first_child(live[maker])
        return await self._same_code(f"{name} code", address, init_code, live[maker], proven=proven)

    async def _same_code(self, what: str, address: str, init_code: bytes, creator: str, *, proven: bool) -> Check:
        """``proven``: the address itself follows from the creation code."""
        code = await self.code(address)
        if not code:
            return Check(what, False, f"There is no contract at {address}.")
        found = to_hex(keccak(code))
        if proven and not self.runs_creation_code:
            return Check(what, True, f"{address} {found} (by its address; this node does not run creation code)")
        try:
            expected = to_hex(keccak(await self._left_by(init_code, address, creator)))
        except RpcError as error:
            return Check(what, False, f"{address} {found}; the node cannot say what it should be: {error.message}")
        if found == expected:
            return Check(what, True, f"{address} {found}")
        return Check(what, False, f"The code at {address} has the hash {found}; this package's has {expected}.")

    async def _runs_creation_code(self) -> bool:
        address, code, answer = _CANARY
        try:
            return bool(
                await self.rpc.request("eth_call", {"to": address}, "latest", {address: {"code": code}}) == answer
            )
        except RpcError:
            return False

    async def _left_by(self, init_code: bytes, address: str, creator: str) -> bytes:
        """The code that a creation code leaves at an address: it runs there as if nothing had been there before."""
        overrides = {
            address: {"code": to_hex(init_code), "nonce": "0x1", "state": {}},
            _first_child(address): {"code": "0x", "nonce": "0x0", "state": {}},
        }
        call = {"from": creator, "to": address, "gas": hex(30_000_000)}
        return from_hex(await self.rpc.request("eth_call", call, "latest", overrides))

    # --- what contracts say -------------------------------------------------------------------------------------

    async def ask(self, contract: str, address: str, function: str, *arguments: Any) -> Any:
        """The answer to a view; None if there is none that can be read."""
        abi = contract_abi(contract)
        call = {"to": address, "data": to_hex(abi.encode_call(function, arguments))}
        try:
            values = abi.decode_answer(function, from_hex(await self.rpc.request("eth_call", call, "latest")))
        except (RpcError, UsageError):
            return None
        return values[0] if len(values) == 1 else values

    async def value(
        self,
        what: str,
        contract: str,
        address: str,
        function: str,
        holds: Callable[[Any], bool],
        expected: str,
        *arguments: Any,
    ) -> Check:
        """A view whose answer must hold."""
        found = await self.ask(contract, address, function, *arguments)
        if found is None:
            return Check(what, False, f"{address} does not answer {function}.")
        ok = holds(found)
        return Check(what, ok, str(found) if ok else f"It is {found!s}; it should be {expected}.")

    async def categories(self) -> Check:
        """The five that every hub starts with."""
        what = "categories"
        found = await gather_all(self.ask("hub", self.hub, "viewCategory", index) for index in range(len(CATEGORIES)))
        count = await self.ask("hub", self.hub, "countCategory")
        wrong = [str(index) for index, (is_, ought) in enumerate(zip(found, CATEGORIES, strict=True)) if is_ != ought]
        if wrong or not isinstance(count, int) or count < len(CATEGORIES):
            return Check(
                what, False, f"There are {count}; of the first five these differ: {', '.join(wrong) or 'none'}."
            )
        return Check(what, True, f"{', '.join(name for name, _, _ in CATEGORIES)}; {count} in all")

    async def domain(self) -> list[Check]:
        """The domain of signatures, in words and as a hash."""
        domain = ("iExecODB", "5.0.0", self.chain_id, self.hub)
        separator = domain_separator(Domain(self.chain_id, self.hub))
        return [
            await self.value("domain", "hub", self.hub, "domain", lambda found: tuple(found) == domain, str(domain)),
            await self.value(
                "domain separator",
                "hub",
                self.hub,
                "eip712domain_separator",
                lambda found: found == separator,
                separator,
            ),
        ]

    async def registry(self, name: str, address: str) -> list[Check]:
        """Initialised, with no registry behind it that nobody looked at, and with a base URI."""
        return [
            await self.value(f"{name} initialised", name, address, "initialized", bool, "True"),
            await self.value(
                f"{name} previous", name, address, "previous", lambda it: it == ZERO_ADDRESS, ZERO_ADDRESS
            ),
            await self.value(f"{name} base URI", name, address, "baseURI", bool, "set"),
        ]

    async def token(self, address: str, *, own: bool) -> list[Check]:
        """The token, and that the hub holds what it owes."""
        supply = f"{_OWN_SUPPLY}" if own else f"below {_SUPPLY_BOUND}"
        owed = await self.ask("hub", self.hub, "totalSupply")
        return [
            await self.value("RLC decimals", "rlc", address, "decimals", lambda it: it == _DECIMALS, str(_DECIMALS)),
            await self.value(
                "RLC supply",
                "rlc",
                address,
                "totalSupply",
                lambda it: it == _OWN_SUPPLY if own else it < _SUPPLY_BOUND,
                supply,
            ),
            await self.value(
                "escrow covered",
                "rlc",
                address,
                "balanceOf",
                lambda it: owed is not None and it >= owed,
                f"at least {owed}",
                self.hub,
            ),
        ]

    async def coins(self) -> Check:
        """In the native flavour: that the hub holds what it owes."""
        owed = await self.ask("hub", self.hub, "totalSupply")
        held = int(await self.rpc.request("eth_getBalance", self.hub, "latest"), 16) // _WEI_PER_NRLC
        ok = isinstance(owed, int) and held >= owed
        return Check("escrow covered", ok, f"{held}" if ok else f"It is {held}; it should be at least {owed}.")


def _first_child(creator: str) -> str:
    """Where a contract's first CREATE puts what it creates: RLP of creator and nonce 1."""
    return checksum(to_hex(keccak(b"\xd6\x94" + address_bytes(creator) + b"\x01")[12:]))
