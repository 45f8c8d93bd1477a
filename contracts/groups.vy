# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Registry of groups
@license Apache-2.0
@notice Makes groups (`group.vy`) for whoever calls, and lists them by owner and by name. Names are not unique and mean nothing by
        themselves: whoever takes a known name takes nothing away, and nobody should trust a group for its name. Agree on its
        address.
@dev Who can stop it: nobody; it has no owner, and no power over the groups. Nobody can put a group on another's list without that
     account's own transaction: creating and accepting are the caller's.
"""

from .lib import clones

event GroupCreated:
    group: indexed(address)
    owner: indexed(address)
    nameHash: indexed(bytes32)
    name: String[NAME_BOUND]

NAME_BOUND: constant(uint256) = 64
PAGE: constant(uint256) = 256
_MAX_INITCODE: constant(uint256) = 8192
_LIST_BOUND: constant(uint256) = 2**32

target: public(immutable(address))
isGroup: public(HashMap[address, bool])
_by_owner: HashMap[address, DynArray[address, _LIST_BOUND]]
_by_name: HashMap[bytes32, DynArray[address, _LIST_BOUND]]


@deploy
def __init__(clone_initcode: Bytes[_MAX_INITCODE]):
    """
    @param clone_initcode Creates `group.vy`, which takes its creator for the registry.
    """
    target = raw_create(clone_initcode)


@external
def create(name: String[NAME_BOUND]) -> address:
    """
    @notice Creates an empty group that the caller owns. The same name again makes another group.
    @return The group. Its address follows from owner, name and how many groups the owner's list held.
    """
    terms: Bytes[clones.TERMS_BOUND] = self._terms(msg.sender, name)
    name_hash: bytes32 = keccak256(name)
    group: address = clones.create(target, terms, self._salt(msg.sender))
    self.isGroup[group] = True
    self._by_owner[msg.sender].append(group)
    self._by_name[name_hash].append(group)
    log GroupCreated(group=group, owner=msg.sender, nameHash=name_hash, name=name)
    return group


@external
@view
def nextAddressOf(owner: address, name: String[NAME_BOUND]) -> address:
    """
    @notice Where `create` will put that owner's next group if it has this name.
    """
    return clones.locate(target, self._terms(owner, name), self._salt(owner))


@external
def noteOwner(newOwner: address):
    """
    @notice A group tells that it has a new owner, who accepted it. Only groups of this registry may.
    """
    assert self.isGroup[msg.sender], "caller is no group"
    self._by_owner[newOwner].append(msg.sender)


@external
@view
def countOf(owner: address) -> uint256:
    """
    @notice How many entries that owner's list has.
    """
    return len(self._by_owner[owner])


@external
@view
def groupsOf(owner: address, first: uint256) -> DynArray[address, PAGE]:
    """
    @notice At most 256 of the groups that the account created or accepted, in that order, from number `first` on. Whether
            it owns one still, that group's `owner` says; one that came back is listed twice.
    """
    found: DynArray[address, PAGE] = []
    for i: uint256 in range(PAGE):
        if first + i >= len(self._by_owner[owner]):
            break
        found.append(self._by_owner[owner][first + i])
    return found


@external
@view
def countNamed(nameHash: bytes32) -> uint256:
    """
    @notice How many groups have the name with that keccak256.
    """
    return len(self._by_name[nameHash])


@external
@view
def groupsNamed(nameHash: bytes32, first: uint256) -> DynArray[address, PAGE]:
    """
    @notice At most 256 of the groups of that name, whoever made them, the oldest first, from number `first` on.
    """
    found: DynArray[address, PAGE] = []
    for i: uint256 in range(PAGE):
        if first + i >= len(self._by_name[nameHash]):
            break
        found.append(self._by_name[nameHash][first + i])
    return found


@internal
@view
def _salt(owner: address) -> bytes32:
    return convert(len(self._by_owner[owner]), bytes32)


@internal
@pure
def _terms(owner: address, name: String[NAME_BOUND]) -> Bytes[clones.TERMS_BOUND]:
    filled: Bytes[2 * NAME_BOUND] = concat(convert(name, Bytes[NAME_BOUND]), empty(bytes32), empty(bytes32))
    return concat(
        convert(owner, bytes20),
        convert(convert(len(name), uint8), bytes1),
        slice(filled, 0, NAME_BOUND),
    )
