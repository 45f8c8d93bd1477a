# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Role account: a cold key owns the money, a hot key does the work
@license Apache-2.0
@notice The hub pays and slashes whoever calls it. This account calls the hub in the place of a worker or a scheduler: its stake and
        its earnings belong to a cold owner, while the key on the machine, the operator, can do no more than the work itself.

        | who             | what                                                                                             |
        |-----------------|--------------------------------------------------------------------------------------------------|
        | owner           | `withdraw`, `execute` (anything), `setOperator`, `transferOwnership`; sign orders and operations |
        | WORKER (1)      | `contribute`, `contributeAndFinalize`, `settleRun` on the hub                                    |
        | SCHEDULER (2)   | `initialize`, `finalize`, `reopen`, `openRun`, `splitRun`, `finalizeRun` on the hub; sign        |
        |                 | authorisations to contribute                                                                     |
        | anybody         | `reveal` on the hub: only the digest that this account sealed passes there                       |

        A stolen operator key moves no money and signs no order. It can still do the work badly: what the account has in escrow
        can be staked on wrong results, and a pool's stakes be lost by missing deadlines. Keep in escrow what the work needs, and take
        the role away with `setOperator`.
@dev Who can stop it: nobody but its owner. Target of the clones that `role_accounts.vy` makes. Terms of a clone: owner (20 bytes) ‖
     operator (20) ‖ roles (1). Calls to the hub have the hub's own form: its function, sent to this address, is passed on byte for
     byte. One operator holds all roles; who wants two keys makes two accounts.
"""

from .lib import cloned
from .lib import succession
from .lib import types

initializes: cloned
initializes: succession[cloned := cloned]

exports: (
    succession.owner,
    succession.pendingOwner,
    succession.transferOwnership,
)

interface IEscrow:
    def withdrawTo(amount: uint256, target: address) -> bool: nonpayable

event OperatorSet:
    operator: indexed(address)
    roles: uint256

WORKER: constant(uint256) = 1
SCHEDULER: constant(uint256) = 2

# reveal(bytes32,bytes32)
REVEAL_SELECTOR: constant(bytes4) = 0xfc334e8c
# contribute, contributeAndFinalize, settleRun
WORKER_SELECTORS: constant(bytes4[3]) = [0x34623484, 0x5facd761, 0x102efb17]
# initialize, finalize, reopen, openRun, splitRun, finalizeRun
SCHEDULER_SELECTORS: constant(bytes4[6]) = [
    0x5b36c66b, 0x8fc375e5, 0xf6c68e10, 0xb75f7560, 0xaae74347, 0xedfaabe7
]

IS_VALID_SIGNATURE: constant(bytes4) = 0x1626ba7e
NO_VALID_SIGNATURE: constant(bytes4) = 0xffffffff
ON_ERC721_RECEIVED: constant(bytes4) = 0x150b7a02
HALF_CURVE_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

_OPERATOR_POSITION: constant(uint256) = 20
_ROLES_POSITION: constant(uint256) = 40
_AUTHORISATION: constant(uint256) = 72
_SET: constant(uint256) = 2**255

hub: public(immutable(address))

# Zero: as in the terms. Else `_SET`, roles above 160 bits of operator.
_operator_word: uint256


@deploy
def __init__(hub_address: address):
    """
    @dev The hub of all accounts that delegate here, for ever.
    """
    cloned.__init__()
    hub = hub_address


# ── Work ───────────────────────────────────────────────────────────────────────────────────────────────────────────

@external
@payable
@raw_return
def __default__() -> Bytes[64]:
    """
    @notice Passes a call on to the hub if it belongs to one of the operator's roles and the operator sends it; a `reveal` is
            passed on for anybody. Plain coins are taken; only the owner can spend them.
    @dev What the hub answers or reverts with comes back as it is.
    """
    if len(msg.data) == 0:
        return b""
    assert msg.value == 0
    selector: bytes4 = convert(slice(msg.data, 0, 4), bytes4)
    if selector != REVEAL_SELECTOR:
        role: uint256 = 0
        if selector in WORKER_SELECTORS:
            role = WORKER
        elif selector in SCHEDULER_SELECTORS:
            role = SCHEDULER
        else:
            raise "no such function"
        operator: address = empty(address)
        roles: uint256 = 0
        operator, roles = self._operator()
        assert msg.sender == operator and roles & role != 0, "caller lacks the role"
    return raw_call(hub, msg.data, max_outsize=64)


@external
@view
def isValidSignature(hash: bytes32, signature: Bytes[types.MAX_SIGNATURE]) -> bytes4:
    """
    @notice ERC-1271. The owner's 65-byte signature is valid for any hash. The operator's is valid only for an authorisation to
            contribute, which it has to spell out: worker (20 bytes) ‖ task or run id (32) ‖ enclave challenge (20) ‖ signature (65).
            So no order, operation or permit can pass for one.
    @return 0x1626ba7e if valid, else 0xffffffff.
    """
    if len(signature) == 65:
        if self._signer(hash, slice(signature, 0, 65)) == succession._owner():
            return IS_VALID_SIGNATURE
    elif len(signature) == _AUTHORISATION + 65:
        operator: address = empty(address)
        roles: uint256 = 0
        operator, roles = self._operator()
        message: bytes32 = keccak256(slice(signature, 0, _AUTHORISATION))
        if (
            roles & SCHEDULER != 0
            and operator != empty(address)
            and hash == keccak256(concat(b"\x19Ethereum Signed Message:\n32", message))
            and self._signer(hash, slice(signature, _AUTHORISATION, 65)) == operator
        ):
            return IS_VALID_SIGNATURE
    return NO_VALID_SIGNATURE


@external
@view
def operator() -> address:
    """
    @notice The hot key; zero for none.
    """
    return self._operator()[0]


@external
@view
def roles() -> uint256:
    """
    @notice What the operator may do: 1 work, 2 schedule, 3 both, 0 nothing.
    """
    return self._operator()[1]


# ── The owner ──────────────────────────────────────────────────────────────────────────────────────────────────────

@external
def setOperator(operator: address, roles: uint256):
    """
    @notice The owner puts another hot key, or other roles, in the place of the present ones, from now on: authorisations
            that the former key signed and nobody used are void.
    """
    succession._check_owner()
    assert roles <= WORKER | SCHEDULER
    self._operator_word = _SET | roles << 160 | convert(operator, uint256)
    log OperatorSet(operator=operator, roles=roles)


@external
def acceptOwnership():
    """
    @notice The successor that the owner named takes over. The operator stays until the new owner sets another one.
    """
    succession._accept()


@external
def withdraw(amount: uint256):
    """
    @notice The owner takes free money out of the hub's escrow; it goes to the owner and to nobody else.
    """
    succession._check_owner()
    assert extcall IEscrow(hub).withdrawTo(amount, msg.sender)


@external
@payable
def execute(target: address, amount: uint256, data: Bytes[types.MAX_CALL]) -> Bytes[types.MAX_RESULT]:
    """
    @notice The owner does anything else in the account's name: orders, policies of a pool, tokens, coins.
    @return The first bytes of the answer; a revert comes back as it is.
    """
    succession._check_owner()
    return raw_call(target, data, value=amount, max_outsize=types.MAX_RESULT)


@external
@pure
def onERC721Received(
    operator: address, sender: address, tokenId: uint256, data: Bytes[types.MAX_METADATA]
) -> bytes4:
    """
    @notice Accepts any ERC-721 token, a workerpool for one. Only the owner can give it away, by `execute`.
    """
    return ON_ERC721_RECEIVED


@internal
@view
def _operator() -> (address, uint256):
    word: uint256 = self._operator_word
    if word == 0:
        return cloned.address_at(_OPERATOR_POSITION), cloned.byte_at(_ROLES_POSITION)
    return convert(word & (2**160 - 1), address), (word ^ _SET) >> 160


@internal
@view
def _signer(hash: bytes32, signature: Bytes[65]) -> address:
    """
    @dev Zero, which is never an owner and never a valid operator, for a malleable or unrecoverable signature.
    """
    s: uint256 = extract32(signature, 32, output_type=uint256)
    if s > HALF_CURVE_ORDER:
        return empty(address)
    return ecrecover(
        hash, convert(slice(signature, 64, 1), uint256), extract32(signature, 0, output_type=uint256), s
    )
