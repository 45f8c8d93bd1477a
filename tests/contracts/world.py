"""A whole hub on an in-process chain: people with keys, assets, signed orders, deals and tasks, in a few words each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import boa
import coincurve

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum, from_hex, keccak, to_hex, to_hex32
from fairgrid.protocol.orders import (
    NULL_DATASET_ORDER,
    AppOrder,
    DatasetOrder,
    Order,
    RequestOrder,
    WorkerpoolOrder,
)
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.seals import message_hash
from fairgrid.protocol.typed_data import Domain, operation_hash, order_hash
from tests.contracts.hub_parts import create_hub
from tests.contracts.registries import ChainContract, Log, compiled, deploy_contract, public_abi

__all__ = [
    "PARAMS",
    "RICH",
    "TEE_TAG",
    "Orders",
    "Person",
    "Tuple",
    "World",
    "as_tuple",
    "bytes32",
    "deploy_hub",
    "mock",
    "names",
]

TEE_TAG = "0x" + "00" * 31 + "01"
PARAMS = '{"iexec_args":"hello","iexec_result_storage_provider":"ipfs"}'
MOCKS = Path(__file__).parent / "mocks"
RICH = 1_000_000 * 10**9
"""What `World.fund` gives when nothing else is said (nRLC)."""


def bytes32(number: int) -> str:
    """A number as bytes32."""
    return to_hex32(number.to_bytes(32, "big"))


class Person:
    """Somebody with a key; the same role is the same person in every test."""

    def __init__(self, role: str) -> None:
        self.role = role
        self._key = coincurve.PrivateKey(keccak(b"fairgrid/tests/" + role.encode()))
        self.address = checksum(to_hex(keccak(self._key.public_key.format(compressed=False)[1:])[12:]))

    def __repr__(self) -> str:
        return f"Person({self.role})"

    def sign(self, hash_: str | bytes) -> str:
        """A 65-byte signature of a final 32-byte hash."""
        raw = from_hex(hash_) if isinstance(hash_, str) else hash_
        signature = self._key.sign_recoverable(raw, hasher=None)
        return to_hex(signature[:64] + bytes([27 + signature[64]]))

    def sign_message(self, message32: bytes) -> bytes:
        """An EIP-191 signature of a 32-byte message."""
        return from_hex(self.sign(message_hash(message32)))


@dataclass(frozen=True)
class Orders:
    """The four orders of a match."""

    app: AppOrder
    dataset: DatasetOrder
    workerpool: WorkerpoolOrder
    request: RequestOrder

    @property
    def arguments(self) -> tuple[tuple[Any, ...], ...]:
        """As the hub's functions take them."""
        return tuple(as_tuple(getattr(self, field.name)) for field in fields(self))


def as_tuple(order: Order) -> tuple[Any, ...]:
    """An order as an ABI tuple in text forms."""
    return (*(getattr(order, field.name) for field in fields(order) if field.name != "sign"), from_hex(order.sign))


class Tuple:
    """A decoded ABI tuple whose members have names."""

    def __init__(self, components: list[dict[str, Any]], values: tuple[Any, ...]) -> None:
        for component, value in zip(components, values, strict=True):
            inner = component.get("components")
            setattr(self, component["name"], Tuple(inner, value) if inner else value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class World:
    """The hub, its token and registries, and what one does with them."""

    def __init__(self, hub: ChainContract, rlc: ChainContract, registries: Mapping[str, ChainContract]) -> None:
        self.hub = hub
        self.rlc = rlc
        self.registries = registries
        self.facets: dict[str, ChainContract] = {}
        self.owner = Person("owner")
        self.app_owner = Person("app owner")
        self.dataset_owner = Person("dataset owner")
        self.scheduler = Person("scheduler")
        self.requester = Person("requester")
        self.stranger = Person("stranger")
        self._salt = 0

    # --- the chain behind it: here in this process -----------------------------------------------------------------

    @property
    def chain_id(self) -> int:
        return int(boa.env.evm.patch.chain_id)

    @property
    def now(self) -> int:
        """Block time in seconds."""
        return int(boa.env.timestamp)

    @now.setter
    def now(self, seconds: int) -> None:
        boa.env.timestamp = seconds

    def contract(self, name: str, address: str) -> ChainContract:
        """A contract that was not deployed by the world itself."""
        return ChainContract(name, address)

    # --- people ----------------------------------------------------------------------------------------

    def worker(self, number: int = 0) -> Person:
        """A worker; each number is another one."""
        return Person(f"worker {number}")

    def fund(self, person: Person | str, amount: int = RICH) -> None:
        """Put ``amount`` nRLC of the owner's RLC into an escrow account."""
        target = person if isinstance(person, str) else person.address
        self.rlc.call("approve", self.hub.address, amount, sender=self.owner.address)
        self.hub.call("depositFor", amount, target, sender=self.owner.address)

    # --- assets -------------------------------------------------------------------------------------------------

    def create_app(self, owner: Person | None = None, name: str = "app") -> str:
        """Register an app; its address."""
        holder = (owner or self.app_owner).address
        return str(self.registries["app"].call("createApp", holder, name, "WASM", b"/ipfs/app", bytes32(7), b""))

    def create_dataset(self, owner: Person | None = None, name: str = "dataset") -> str:
        """Register a dataset; its address."""
        holder = (owner or self.dataset_owner).address
        return str(self.registries["dataset"].call("createDataset", holder, name, b"/ipfs/dataset", bytes32(8)))

    def create_workerpool(self, owner: Person | None = None, description: str = "pool") -> str:
        """Register a workerpool with the policy that it starts with (30 % stake, 1 % reward); its address."""
        holder = (owner or self.scheduler).address
        return str(self.registries["workerpool"].call("createWorkerpool", holder, description))

    def set_policy(self, pool: str, stake_ratio: int, reward_ratio: int, owner: Person | None = None) -> None:
        """Change a pool's policy."""
        self.contract("workerpool", pool).call(
            "changePolicy", stake_ratio, reward_ratio, sender=(owner or self.scheduler).address
        )

    @cached_property
    def app(self) -> str:
        """The app of default orders."""
        return self.create_app()

    @cached_property
    def dataset(self) -> str:
        """The dataset of default orders that have one."""
        return self.create_dataset()

    @cached_property
    def pool(self) -> str:
        """The pool of default orders."""
        return self.create_workerpool()

    # --- orders -------------------------------------------------------------------------------------------------

    @property
    def domain(self) -> Domain:
        """The domain in which orders are signed."""
        return Domain(self.chain_id, self.hub.address)

    def order_hash(self, order: Order) -> str:
        """The hash that the order's owner signs."""
        return order_hash(order, self.domain)

    def sign(self, order: Order, signer: Person) -> Any:
        """The order with a signature."""
        return order.signed(signer.sign(self.order_hash(order)))

    def unsigned_orders(self, *, with_dataset: bool = False, **changes: Mapping[str, Any]) -> Orders:
        """Four compatible orders; ``app``, ``dataset``, ``workerpool``, ``request`` change their fields."""
        self._salt += 1
        salt = bytes32(self._salt)
        app = AppOrder(app=self.app, appprice=1_000, volume=1_000, salt=salt)
        dataset = NULL_DATASET_ORDER
        if with_dataset:
            dataset = DatasetOrder(dataset=self.dataset, datasetprice=300, volume=1_000, salt=salt)
        workerpool = WorkerpoolOrder(
            workerpool=self.pool, workerpoolprice=10_001, volume=1_000, trust=1_000_000, salt=salt
        )
        request = RequestOrder(
            app=self.app,
            appmaxprice=1_000,
            dataset=dataset.dataset,
            datasetmaxprice=300,
            workerpool=ZERO_ADDRESS,
            workerpoolmaxprice=10_001,
            requester=self.requester.address,
            volume=1,
            params=PARAMS,
            salt=salt,
        )
        return Orders(
            replace(app, **changes.get("app", {})),
            replace(dataset, **changes.get("dataset", {})),
            replace(workerpool, **changes.get("workerpool", {})),
            replace(request, **changes.get("request", {})),
        )

    def sign_all(self, orders: Orders) -> Orders:
        """The same, signed by the owners of the default assets and by the requester."""
        return Orders(
            self.sign(orders.app, self.app_owner),
            orders.dataset if orders.dataset.dataset == ZERO_ADDRESS else self.sign(orders.dataset, self.dataset_owner),
            self.sign(orders.workerpool, self.scheduler),
            self.sign(orders.request, self.requester),
        )

    def orders(self, *, with_dataset: bool = False, **changes: Mapping[str, Any]) -> Orders:
        """Four compatible signed orders."""
        return self.sign_all(self.unsigned_orders(with_dataset=with_dataset, **changes))

    def match(self, orders: Orders, sender: Person | None = None) -> str:
        """Match; the deal id."""
        return str(self.hub.call("matchOrders", *orders.arguments, sender=(sender or self.stranger).address))

    def operation(self, order: Order, kind: int, signer: Person) -> tuple[Any, ...]:
        """An operation on an order, as the hub's functions take it, signed."""
        sign = signer.sign(operation_hash(order, kind, self.domain))
        return (as_tuple(order), kind, from_hex(sign))

    # --- deals and tasks ----------------------------------------------------------------------------------------

    def deal(self, *, with_dataset: bool = False, **changes: Mapping[str, Any]) -> str:
        """Fund requester and scheduler and match default orders; the deal id."""
        self.fund(self.requester)
        self.fund(self.scheduler)
        return self.match(self.orders(with_dataset=with_dataset, **changes))

    def task(self, *, with_dataset: bool = False, index: int = 0, **changes: Mapping[str, Any]) -> str:
        """A task that takes contributions, in a deal of its own."""
        return self.initialize(self.deal(with_dataset=with_dataset, **changes), index)

    def initialize(self, deal: str, index: int = 0, sender: Person | None = None) -> str:
        """Initialize; the task id."""
        return str(self.hub.call("initialize", deal, index, sender=(sender or self.stranger).address))

    def authorisation(
        self, task: str, worker: Person, challenge: str = ZERO_ADDRESS, signer: Person | None = None
    ) -> bytes:
        """The scheduler's signature that lets the worker contribute."""
        message = ids.authorisation_message(worker.address, task, challenge)
        return (signer or self.scheduler).sign_message(message)

    def contribution(
        self,
        task: str,
        worker: Person,
        digest: str,
        *,
        enclave: Person | None = None,
        authority: Person | None = None,
    ) -> tuple[Any, ...]:
        """The arguments of `contribute`."""
        challenge = enclave.address if enclave else ZERO_ADDRESS
        result_hash = ids.result_hash(task, digest)
        seal = ids.result_seal(worker.address, task, digest)
        enclave_sign = enclave.sign_message(ids.enclave_message(result_hash, seal)) if enclave else b""
        return (
            task,
            result_hash,
            seal,
            challenge,
            enclave_sign,
            self.authorisation(task, worker, challenge, authority),
        )

    def contribute(self, task: str, worker: Person, digest: str, *, fund: bool = True, **options: Any) -> list[Log]:
        """Contribute, funded for it; the events."""
        if fund:
            self.fund(worker)
        arguments = self.contribution(task, worker, digest, **options)
        return self.hub.transact("contribute", *arguments, sender=worker.address)[1]

    def reveal(self, task: str, worker: Person, digest: str) -> list[Log]:
        """Reveal; the events."""
        return self.hub.transact("reveal", task, digest, sender=worker.address)[1]

    def finalize(self, task: str, results: bytes = b"results", callback: bytes = b"") -> list[Log]:
        """Finalize as the scheduler; the events."""
        return self.hub.transact("finalize", task, results, callback, sender=self.scheduler.address)[1]

    def complete(self, task: str, worker: Person | None = None, digest: str = bytes32(99)) -> list[Log]:
        """One worker contributes and reveals, the scheduler finalizes; the events of the last."""
        who = worker or self.worker()
        self.contribute(task, who, digest)
        self.reveal(task, who, digest)
        return self.finalize(task)

    # --- views --------------------------------------------------------------------------------------------------

    def view(self, function: str, *arguments: Any) -> Tuple:
        """A view that returns a tuple."""
        components = public_abi("hub").function(function).outputs[0]["components"]
        return Tuple(components, self.hub.call(function, *arguments))

    def view_deal(self, deal: str) -> Tuple:
        return self.view("viewDeal", deal)

    def view_task(self, task: str) -> Tuple:
        return self.view("viewTask", task)

    def view_contribution(self, task: str, worker: Person) -> Tuple:
        return self.view("viewContribution", task, worker.address)

    def balance(self, person: Person | str) -> int:
        """Free money in the escrow."""
        return int(self.hub.call("balanceOf", person if isinstance(person, str) else person.address))

    def frozen(self, person: Person | str) -> int:
        """Locked money."""
        return int(self.hub.call("frozenOf", person if isinstance(person, str) else person.address))

    def score(self, person: Person) -> int:
        return int(self.hub.call("viewScore", person.address))

    def set_score(self, person: Person, score: int) -> None:
        """Give a worker a history: the score in its word, which also holds its money."""
        word = boa.env.get_storage(self.hub.address, _account_slot(person.address))
        word = (word & ((1 << 192) - 1)) | score << 192
        boa.env.set_storage(self.hub.address, _account_slot(person.address), word)
        assert self.score(person) == score

    def stored_account(self, address: str) -> tuple[int, int]:
        """Free and locked money as it stands in storage: what `viewAccount` says, a hundred times faster."""
        word = boa.env.get_storage(self.hub.address, _account_slot(address))
        return word & (2**96 - 1), word >> 96 & (2**96 - 1)

    def check_money(self, *others: Person | str) -> None:
        """Σ balances = supply ≤ what is held; Σ frozen = the hub's own balance. ``others`` have accounts too."""
        hub = self.hub.address
        people = (self.owner, self.app_owner, self.dataset_owner, self.scheduler, self.requester, self.stranger)
        known = {person if isinstance(person, str) else person.address for person in (*people, *others)}
        accounts = {address: self.stored_account(address) for address in {*known, KITTY_ADDRESS, hub}}
        supply = int(self.hub.call("totalSupply"))
        assert sum(balance for balance, _ in accounts.values()) == supply
        assert sum(frozen for _, frozen in accounts.values()) == accounts[hub][0]
        assert supply <= self.held()

    def held(self) -> int:
        """nRLC that the hub has outside."""
        return int(self.rlc.call("balanceOf", self.hub.address))

    @contextmanager
    def anchor(self) -> Iterator[None]:
        """What happens inside is undone at the end."""
        with boa.env.anchor():
            yield


def deploy_hub(
    deploy: Callable[..., ChainContract] = deploy_contract,
    world_class: Callable[..., World] = World,
    *,
    native: bool = False,
) -> World:
    """Everything deployed as `fairgrid contracts deploy` does it, and no deal yet."""
    owner = Person("owner").address
    rlc = deploy("rlc", token_owner=owner)
    registries = {
        kind: deploy(f"{kind}_registry", registry_owner=owner, entry_initcode=compiled(kind).bytecode)
        for kind in ("app", "dataset", "workerpool")
    }
    parts: dict[str, ChainContract] = {}

    def create(name: str, **arguments: Any) -> str:
        parts[name] = deploy(name, **arguments)
        return parts[name].address

    addresses = {kind: registry.address for kind, registry in registries.items()}
    create_hub(create, owner=owner, base_token=None if native else rlc.address, registries=addresses)
    world = world_class(parts.pop("hub"), rlc, registries)
    world.facets = parts
    _ = world.app, world.dataset, world.pool
    return world


def mock(name: str, *arguments: Any) -> Any:
    """Deploy a contract of ``tests/contracts/mocks``; what boa makes of it."""
    return boa.load(str(MOCKS / f"{name}.vy"), *arguments)


def _account_slot(address: str) -> int:
    return int.from_bytes(keccak(bytes(32) + bytes(12) + from_hex(address.lower())), "big")


def names(logs: list[Log]) -> list[str]:
    """The names of events."""
    return [log.name for log in logs]
