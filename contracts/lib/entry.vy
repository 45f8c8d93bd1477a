# pragma version ==0.4.3
"""
@title Entry of a registry
@license Apache-2.0
@dev What apps, datasets and workerpools have in common. This code runs by delegate call of an entry's proxy; an
     entry has no storage, its metadata stand in its own code from byte 45 on:

         texts and byte strings, one after another ‖ checksum, if the kind has one ‖ a two-byte length for each string

     Each kind's own layout stands in its file.
@notice Metadata cannot change after creation. The owner is whoever holds the entry's ERC-721 token.
"""

from ..interfaces import IEntryRegistry

MAX_REVERSE_NAME: constant(uint256) = 256
_PROXY_SIZE: constant(uint256) = 45
# The longest of the limits.
MAX_FIELD: constant(uint256) = 1024
LENGTH: constant(uint256) = 2**16 - 1

registry: public(immutable(IEntryRegistry))


@deploy
def __init__():
    registry = IEntryRegistry(msg.sender)


@external
@view
def owner() -> address:
    """
    @dev Who holds the entry's token.
    """
    return self._owner()


@external
def setName(name_service: address, reverse_name: String[MAX_REVERSE_NAME]):
    """
    @dev Part of the published interface for chains that have a name service. Always refused.
    """
    self._check_owner()
    raise "Operation not supported on this chain"


@internal
@view
def _owner() -> address:
    return staticcall registry.ownerOf(convert(self, uint256))


@internal
@view
def _check_owner():
    assert msg.sender == self._owner(), "caller is not the owner"


@internal
@view
def _size() -> uint256:
    # `self.code` would be the code of the contract that is delegated to.
    entry: address = self
    return entry.codesize - _PROXY_SIZE


@internal
@view
def _word(position: uint256) -> bytes32:
    """
    @dev 32 bytes of metadata from `position` on, zeros beyond their end.
    """
    entry: address = self
    start: uint256 = _PROXY_SIZE + position
    end: uint256 = entry.codesize
    if start + 32 <= end:
        return convert(slice(entry.code, start, 32), bytes32)
    # The proxy's own code stands before the metadata, so 32 bytes before the end always exist.
    missing: uint256 = start + 32 - end
    return convert(convert(slice(entry.code, end - 32, 32), uint256) << (8 * missing), bytes32)


@internal
@view
def _trailer() -> uint256:
    """
    @dev The last 32 bytes of the metadata as a number: lengths of two bytes each, the last field's lowest.
    """
    return convert(self._word(self._size() - 32), uint256)


@internal
@view
def _field(position: uint256, length: uint256) -> Bytes[MAX_FIELD]:
    words: DynArray[bytes32, MAX_FIELD // 32] = []
    for i: uint256 in range((length + 31) // 32, bound=MAX_FIELD // 32):
        words.append(self._word(position + 32 * i))
    # An ABI-encoded list is two words (offset, count) and then its bytes.
    encoded: Bytes[MAX_FIELD + 64] = abi_encode(words)
    return convert(slice(encoded, 64, length), Bytes[MAX_FIELD])


@internal
@view
def _text(position: uint256, length: uint256) -> String[MAX_FIELD]:
    return convert(self._field(position, length), String[MAX_FIELD])
