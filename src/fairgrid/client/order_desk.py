"""Orders by hand: what a signature on one means, whether it may be signed, and what the chain says of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar, cast

from fairgrid.chain.interface import Chain
from fairgrid.errors import ContractReverted, OrderError, UsageError
from fairgrid.protocol.amounts import format_amount
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, hex32
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.rewards import pool_stake
from fairgrid.protocol.tags import GRAMINE_BIT, LANE_BIT, SCONE_BIT, TDX_BIT, TEE_BIT
from fairgrid.protocol.trust import trust_from_confidence
from fairgrid.protocol.typed_data import Domain, order_hash, order_typed_data
from fairgrid.wallet.signer import Signer

__all__ = [
    "Standing",
    "asset_of",
    "check_signer",
    "describe_order",
    "identity_of",
    "owner_of",
    "parse_tag",
    "parse_trust",
    "signed_order",
    "standing_of",
    "tag_words",
]

_AnyOrder = TypeVar("_AnyOrder", bound=Order)

_BITS: Final = {"tee": TEE_BIT, "scone": SCONE_BIT, "gramine": GRAMINE_BIT, "tdx": TDX_BIT, "batch": LANE_BIT}
_RESTRICTIONS: Final = (
    ("apprestrict", "with the app"),
    ("datasetrestrict", "with the dataset"),
    ("workerpoolrestrict", "on the pool"),
    ("requesterrestrict", "by the requester"),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the chain says of an order. ``owner`` is who may sign it; None while its asset is not registered."""

    order_hash: str
    owner: str | None
    signed: bool
    consumed: int
    problems: tuple[str, ...]
    """Why it can make no deal now, in sentences."""


def parse_tag(text: str) -> str:
    """A tag of words (``tee``, ``scone``, ``gramine``, ``tdx``, ``batch``, with commas), or of 0x-hex.

    Raises:
        UsageError: it is neither.
    """
    if not text:
        return ZERO32
    if text.startswith("0x"):
        try:
            return hex32(text)
        except OrderError as error:
            raise UsageError(f"{text!r} is no tag: {error}") from error
    words = [word.strip() for word in text.split(",")]
    unknown = [word for word in words if word not in _BITS]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no word of a tag. It has {', '.join(_BITS)}, or give 0x and 64 digits.")
    return f"0x{sum({1 << _BITS[word] for word in words}):064x}"


def parse_trust(trust: int | str) -> int:
    """The chain's number of a trust: itself, 1 at least, or of a confidence as ``"0.99"``.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(trust, int) or (isinstance(trust, str) and trust.isascii() and trust.isdigit()):
        return max(int(trust), 1)
    return trust_from_confidence(trust)


def identity_of(chain: Chain, order: Order) -> str:
    """The order's hash: how the hub of ``chain`` calls it."""
    return order_hash(order, Domain(chain.chain_id, chain.hub))


def signed_order(chain: Chain, order: _AnyOrder, signer: Signer) -> _AnyOrder:
    """The order with a signature that the hub of ``chain`` takes."""
    signature = signer.sign_typed_data(order_typed_data(order, Domain(chain.chain_id, chain.hub)))
    return cast("_AnyOrder", order.signed(signature))


def tag_words(tag: str) -> str:
    """A tag for people: its words, and what else is set as a number; empty for no demand."""
    bits = int(tag, 16)
    words = [word for word, bit in _BITS.items() if bits >> bit & 1]
    rest = bits & ~sum(1 << bit for bit in _BITS.values())
    return ",".join([*words, *([hex(rest)] if rest else [])])


def asset_of(order: Order) -> str:
    """Whose order it is: the address of its asset, or of the requester."""
    return str(getattr(order, "requester" if isinstance(order, RequestOrder) else order.KIND))


def describe_order(order: Order) -> tuple[str, ...]:
    """What a signature on this order does, in sentences."""
    who = _only(order)
    if isinstance(order, AppOrder):
        what = f"Offer {order.volume} run(s) of the app {order.app} at {format_amount(order.appprice)} each, {who}."
        return what, "Each run pays you when its result is verified.", _LASTING
    if isinstance(order, DatasetOrder):
        price = format_amount(order.datasetprice)
        what = f"Offer {order.volume} use(s) of the dataset {order.dataset} at {price} each, {who}."
        return what, "Each use pays you when its result is verified.", _LASTING
    if isinstance(order, WorkerpoolOrder):
        stake = format_amount(pool_stake(order.workerpoolprice))
        what = (
            f"Offer {order.volume} task(s) of category {order.category} on the pool {order.workerpool} at "
            f"{format_amount(order.workerpoolprice)} each, up to trust {order.trust}, {who}."
        )
        return what, f"Each deal locks {stake} a task of your escrow; lost for what does not end in time.", _LASTING
    each = order.appmaxprice + order.datasetmaxprice + order.workerpoolmaxprice
    dataset = "" if order.dataset == ZERO_ADDRESS else f" with the dataset {order.dataset}"
    pool = "any pool" if order.workerpool == ZERO_ADDRESS else f"the pool {order.workerpool}"
    what = (
        f"Ask for {order.volume} task(s) of category {order.category} of the app {order.app}{dataset} on {pool}, at "
        f"trust {order.trust}."
    )
    money = (
        f"Whoever matches it locks up to {format_amount(each)} a task of your escrow, "
        f"{format_amount(each * order.volume)} in all; it is paid for verified results, and comes back for others."
    )
    return what, money, _LASTING


_LASTING: Final = "Whoever has the signed order may use it until its volume is gone, or until you cancel it on chain."


async def owner_of(chain: Chain, order: Order) -> str | None:
    """Who may sign this order; None when its asset is not registered."""
    address = asset_of(order)
    if isinstance(order, RequestOrder):
        return address
    if not await chain.is_registered(order.KIND, address):
        return None
    if isinstance(order, WorkerpoolOrder):
        return (await chain.view_workerpool(address)).owner
    if isinstance(order, DatasetOrder):
        return (await chain.view_dataset(address)).owner
    return (await chain.view_app(address)).owner


async def check_signer(chain: Chain, order: Order, address: str) -> None:
    """Refuse an order that ``address`` may not sign.

    Raises:
        UsageError: its asset is not registered, or belongs to somebody else.
    """
    owner = await owner_of(chain, order)
    if owner is None:
        raise UsageError(f"{asset_of(order)} is no registered {order.KIND} on this network. Nothing was signed.")
    if owner != address:
        raise UsageError(
            f"The {order.KIND} {asset_of(order)} belongs to {owner}, not to {address}. Nothing was signed. Name the "
            f"owner's account with --wallet."
        )


async def standing_of(chain: Chain, order: Order) -> Standing:
    """What the chain says of an order, and every reason for which it makes no deal now."""
    identity = identity_of(chain, order)
    owner = await owner_of(chain, order)
    consumed = await chain.view_consumed(identity)
    signed = owner is not None and await _is_signed(chain, owner, identity, order.sign)
    problems = []
    if owner is None:
        problems.append(f"{asset_of(order)} is not in the registry of its kind.")
    elif not signed:
        problems.append(f"It is not signed by {owner}, who owns {asset_of(order)}.")
    if consumed >= order.volume:
        problems.append("Its volume is used up, or it was cancelled on chain.")
    if isinstance(order, WorkerpoolOrder | RequestOrder) and order.category >= await chain.count_categories():
        problems.append(f"There is no category {order.category} on this hub.")
    if owner is not None and (needed := _locks_a_task(order)):
        stake = (await chain.view_account(owner)).stake
        if stake < needed:
            has = f"{owner} has {format_amount(stake)} free in escrow"
            problems.append(f"{has}, and a single task locks {format_amount(needed)}.")
    return Standing(identity, owner, signed, consumed, tuple(problems))


def _locks_a_task(order: Order) -> int:
    if isinstance(order, WorkerpoolOrder):
        return pool_stake(order.workerpoolprice)
    if isinstance(order, RequestOrder):
        return order.appmaxprice + order.datasetmaxprice + order.workerpoolmaxprice
    return 0


async def _is_signed(chain: Chain, owner: str, identity: str, sign: str) -> bool:
    try:
        return await chain.verify_signature(owner, identity, sign)
    except ContractReverted:
        # The hub reverts on a signature of an impossible length.
        return False


def _only(order: Order) -> str:
    found = [
        f"{words} {getattr(order, name)}"
        for name, words in _RESTRICTIONS
        if getattr(order, name, ZERO_ADDRESS) != ZERO_ADDRESS
    ]
    return "to anybody" if not found else f"only {' and '.join(found)}"
