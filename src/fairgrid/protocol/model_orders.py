"""Orders in the reference model (`spec/poco.md` §7 to §11): signatures, presignatures, closing, categories."""

from __future__ import annotations

from fairgrid.errors import OrderError
from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex
from fairgrid.protocol.model_escrow import NOT_OWNER, Escrow
from fairgrid.protocol.model_registry import Registries
from fairgrid.protocol.model_state import Cell, Revert, Table, World, require, transaction
from fairgrid.protocol.model_token import Rlc
from fairgrid.protocol.orders import Order, RequestOrder
from fairgrid.protocol.seals import recover_address
from fairgrid.protocol.typed_data import CLOSE, SIGN, Domain, domain_separator, operation_hash, order_hash
from fairgrid.protocol.views import Category

__all__ = ["OrderBook"]

_EVENT_NAMES = {"app": "App", "dataset": "Dataset", "workerpool": "Workerpool", "request": "Request"}
_INITIAL_CALLBACK_GAS = 200_000


class OrderBook(Escrow):
    """What the hub knows of orders: who presigned which, and how much of each is used."""

    def __init__(
        self, world: World, chain_id: int, address: str, owner: str, token: Rlc, registries: Registries
    ) -> None:
        super().__init__(world, address, owner, token)
        self.domain = Domain(chain_id, address)
        self.registries = registries
        self.group_members: set[tuple[str, str]] = set()
        """Pairs (group contract, account in it) that restrictions accept: what ERC-734 contracts would answer."""
        self._presigned: Table[str, str] = Table(world, ZERO_ADDRESS)
        self._consumed: Table[str, int] = Table(world, 0)
        self._categories: Cell[tuple[Category, ...]] = Cell(world, ())
        self._tee_broker: Cell[str] = Cell(world, ZERO_ADDRESS)
        self._callback_gas: Cell[int] = Cell(world, _INITIAL_CALLBACK_GAS)

    # --- views --------------------------------------------------------------------------------------------------

    @property
    def domain_separator(self) -> str:
        """The domain that every order's hash contains."""
        return domain_separator(self.domain)

    @property
    def tee_broker(self) -> str:
        """Who authorises contributions of enclaves instead of the pool's owner; the zero address for nobody."""
        return self._tee_broker.value

    @property
    def callback_gas(self) -> int:
        """Gas given to a deal's callback contract."""
        return self._callback_gas.value

    def view_presigned(self, hash_of_order: str) -> str:
        """Who presigned the order; the zero address for nobody."""
        return self._presigned[hash_of_order]

    def view_consumed(self, hash_of_order: str) -> int:
        """Units of the order that are used, or closed."""
        return self._consumed[hash_of_order]

    def count_category(self) -> int:
        """How many categories there are; their ids count from 0."""
        return len(self._categories.value)

    def view_category(self, category: int) -> Category:
        """A category; reverts without data when there is none of this id."""
        require(0 <= category < self.count_category())
        return self._categories.value[category]

    def verify_presignature(self, identity: str, hash_: str) -> bool:
        """True if ``identity`` presigned the order of this hash."""
        return identity != ZERO_ADDRESS and self._presigned[hash_] == identity

    def verify_signature(self, identity: str, hash_: str, signature: str) -> bool:
        """True if ``signature`` (64 or 65 bytes, 0x-hex) over the final ``hash_`` is by ``identity``.

        The zero address never signed anything (the specification's quirk 5 is a decided deviation).
        """
        if identity == ZERO_ADDRESS:
            return False
        try:
            return recover_address(from_hex(hash_), signature) == identity
        except OrderError:
            if self.owner_of(identity) is not None:  # a contract, and none of ours answers `isValidSignature`
                return False
            raise Revert("invalid-signature-format") from None

    def verify_presignature_or_signature(self, identity: str, hash_: str, signature: str) -> bool:
        """True if presigned or signed; a presignature is asked first, so that the signature may then be anything."""
        return self.verify_presignature(identity, hash_) or self.verify_signature(identity, hash_, signature)

    # --- transactions -------------------------------------------------------------------------------------------

    @transaction
    def manage_order(self, caller: str, order: Order, operation: int, sign: str = "0x") -> None:
        """Presign (`SIGN`) or close (`CLOSE`) an order: by its owner, or by anybody with the owner's ``sign``."""
        require(operation in (SIGN, CLOSE))
        owner = order.requester if isinstance(order, RequestOrder) else self.owner_of(_resource(order))
        require(owner is not None)
        assert owner is not None
        if caller != owner:
            signed = self.verify_signature(owner, operation_hash(order, operation, self.domain), sign)
            require(signed, "invalid-sender-or-signature")
        hash_ = order_hash(order, self.domain)
        name = _EVENT_NAMES[order.KIND]
        if operation == SIGN:
            self._presigned[hash_] = owner
            self.world.emit(self.address, f"Signed{name}Order", **{f"{order.KIND}Hash": hash_})
        else:
            self._consumed[hash_] = order.volume
            self.world.emit(self.address, f"Closed{name}Order", **{f"{order.KIND}Hash": hash_})

    @transaction
    def create_category(self, caller: str, name: str, description: str, timeref: int) -> int:
        """Append a category (hub's owner); nothing is validated, and it can never be changed. Returns its id."""
        require(caller == self.owner, NOT_OWNER)
        category = self.count_category()
        self._categories.value = (*self._categories.value, Category(name, description, timeref))
        self.world.emit(
            self.address,
            "CreateCategory",
            catid=category,
            name=name,
            description=description,
            workClockTimeRef=timeref,
        )
        return category

    @transaction
    def set_tee_broker(self, caller: str, broker: str) -> None:
        """Name who authorises contributions of enclaves (hub's owner)."""
        require(caller == self.owner, NOT_OWNER)
        self._tee_broker.value = broker

    @transaction
    def set_callback_gas(self, caller: str, gas: int) -> None:
        """Set the gas of callbacks (hub's owner)."""
        require(caller == self.owner, NOT_OWNER)
        self._callback_gas.value = gas

    # --- inside the chain ---------------------------------------------------------------------------------------

    def owner_of(self, contract: str) -> str | None:
        """What ``owner()`` of a contract returns; None if there is no such contract."""
        if contract == self.address:
            return self.owner
        if contract == self.token.address:
            return self.token.owner
        return self.registries.owner(contract)


def _resource(order: Order) -> str:
    return str(getattr(order, order.KIND))
