# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Group of accounts (ERC-734)
@license Apache-2.0
@notice An order that names this group where it restricts app, data set, pool or requester admits every member: a team, or
        the workers and customers of a private pool. The hub asks `keyHasPurpose` at each match, so who leaves the group
        is in no later deal, and stays in those that were made.
@dev Who can stop it: its owner, who adds and removes members. Nobody else; the registry that made it has no power over it.
     Target of the clones that `groups.vy` makes. Terms of a clone: first owner (20 bytes) ‖ length of the name (1) ‖ name,
     filled up with zeros (64). Of ERC-734 this is what others read: members are keys of purpose 4, the padded address
     being the key; keys that act in the group's name do not exist here. Not offered: `getKeysByPurpose`, which has no bound;
     `members` gives them by pages.
"""

from .lib import cloned
from .lib import succession

initializes: cloned
initializes: succession[cloned := cloned]

exports: (
    succession.owner,
    succession.pendingOwner,
    succession.transferOwnership,
)

interface IGroups:
    def noteOwner(newOwner: address): nonpayable

# ERC-734's own events, names of its arguments included.
event KeyAdded:
    key: indexed(bytes32)
    purpose: indexed(uint256)
    keyType: indexed(uint256)

event KeyRemoved:
    key: indexed(bytes32)
    purpose: indexed(uint256)
    keyType: indexed(uint256)

NAME_BOUND: constant(uint256) = 64
PAGE: constant(uint256) = 256
MEMBER_PURPOSE: constant(uint256) = 4
ECDSA_TYPE: constant(uint256) = 1

_NAME_LENGTH_POSITION: constant(uint256) = 20
_NAME_POSITION: constant(uint256) = 21

registry: public(immutable(address))

memberCount: public(uint256)
_members: HashMap[uint256, address]
# Position and one more; zero for who is no member.
_places: HashMap[address, uint256]


@deploy
def __init__():
    """
    @dev Its creator is the registry of all groups that delegate here.
    """
    cloned.__init__()
    registry = msg.sender


# ── What others read ───────────────────────────────────────────────────────────────────────────────────────────────

@external
@view
def keyHasPurpose(key: bytes32, purpose: uint256) -> bool:
    """
    @notice Whether the key is a member's address, filled up with zeros on the left, and the purpose 4.
    """
    return purpose == MEMBER_PURPOSE and self._is_member_key(key)


@external
@view
def getKey(key: bytes32) -> (DynArray[uint256, 1], uint256, bytes32):
    """
    @notice Purposes, type and key of a member as ERC-734 gives them; nothing for others.
    """
    if self._is_member_key(key):
        return [MEMBER_PURPOSE], ECDSA_TYPE, key
    return [], 0, empty(bytes32)


@external
@view
def isMember(account: address) -> bool:
    """
    @notice Whether the account is a member.
    """
    return self._places[account] != 0


@external
@view
def members(first: uint256) -> DynArray[address, PAGE]:
    """
    @notice At most 256 members from number `first` on, counted from 0. Removing one moves the last into its place.
    """
    found: DynArray[address, PAGE] = []
    for i: uint256 in range(PAGE):
        if first + i >= self.memberCount:
            break
        found.append(self._members[first + i])
    return found


@external
@view
def name() -> String[NAME_BOUND]:
    """
    @notice What the group was called when it was created. Others may have the same name: trust the address.
    """
    length: uint256 = cloned.byte_at(_NAME_LENGTH_POSITION)
    clone: address = self
    filled: Bytes[NAME_BOUND] = slice(clone.code, cloned.PROXY_SIZE + _NAME_POSITION, NAME_BOUND)
    return convert(slice(filled, 0, length), String[NAME_BOUND])


# ── The owner ──────────────────────────────────────────────────────────────────────────────────────────────────────

@external
def addMembers(accounts: DynArray[address, PAGE]):
    """
    @notice The owner lets accounts in, at most 256 a call; who is in already stays in. Events: KeyAdded for each new one.
    """
    succession._check_owner()
    count: uint256 = self.memberCount
    for account: address in accounts:
        assert account != empty(address)
        if self._places[account] != 0:
            continue
        self._members[count] = account
        count += 1
        self._places[account] = count
        log KeyAdded(key=self._key(account), purpose=MEMBER_PURPOSE, keyType=ECDSA_TYPE)
    self.memberCount = count


@external
def removeMembers(accounts: DynArray[address, PAGE]):
    """
    @notice The owner puts accounts out, at most 256 a call; who is not in stays out. Events: KeyRemoved for each.
    """
    succession._check_owner()
    count: uint256 = self.memberCount
    for account: address in accounts:
        place: uint256 = self._places[account]
        if place == 0:
            continue
        last: address = self._members[count - 1]
        self._members[place - 1] = last
        self._places[last] = place
        self._members[count - 1] = empty(address)
        self._places[account] = 0
        count -= 1
        log KeyRemoved(key=self._key(account), purpose=MEMBER_PURPOSE, keyType=ECDSA_TYPE)
    self.memberCount = count


@external
def acceptOwnership():
    """
    @notice The successor that the owner named takes over, and the registry lists the group under it as well.
    """
    succession._accept()
    extcall IGroups(registry).noteOwner(msg.sender)


@internal
@view
def _is_member_key(key: bytes32) -> bool:
    number: uint256 = convert(key, uint256)
    return number < 2**160 and self._places[convert(number, address)] != 0


@internal
@pure
def _key(account: address) -> bytes32:
    return convert(convert(account, uint256), bytes32)
