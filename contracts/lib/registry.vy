# pragma version ==0.4.3
"""
@title Registry of entries
@license Apache-2.0
@dev What the registries of apps, datasets and workerpools have in common: an ERC-721 token per entry, whose number is
     the entry's address; entries created at addresses that anybody can predict; an older registry behind this one.
@notice An entry is a minimal proxy (ERC-1167) with its metadata behind the proxy's 45 bytes of code: written once,
        readable by everybody, changeable by nobody. The init code of all entries is the same (`proxyCode`); it calls
        `entryCode` of its creator and deploys the answer, so that an entry's address depends on content and owner
        through the salt only. Nobody can stop a registry; its owner sets the base URI and, once, the older registry.
"""

from ..interfaces import IEntryRegistry
from . import erc721
from . import owned
from . import token_word

uses: owned
uses: erc721

MAX_URI: constant(uint256) = 256
MAX_ENTRY_INITCODE: constant(uint256) = 8192
MAX_INITIALIZER: constant(uint256) = 2720
MAX_METADATA: constant(uint256) = 2416
_MAX_ENTRY_CODE: constant(uint256) = 45 + MAX_METADATA

# mstore(0, entryCode.selector << 224); staticcall(caller, 0, 4); return all of its answer.
PROXY_CODE: constant(Bytes[26]) = x"63f0d92c4760e01b5f525f5f60045f335afa503d5f5f3e3d5ff3"

# ERC-1167: these ten bytes, the implementation, these fifteen.
_PROXY_HEAD: constant(Bytes[10]) = x"363d3d373d3d3d363d73"
_PROXY_TAIL: constant(Bytes[15]) = x"5af43d82803e903d91602b57fd5bf3"

master: public(immutable(address))
initialized: public(bool)
previous: public(IEntryRegistry)
baseURI: public(String[MAX_URI])
_entry_code: transient(Bytes[_MAX_ENTRY_CODE])


@deploy
def __init__(entry_initcode: Bytes[MAX_ENTRY_INITCODE]):
    """
    @param entry_initcode Creates the contract that all entries delegate to; it takes its creator for its registry.
    """
    master = raw_create(entry_initcode)


@external
def initialize(_previous: IEntryRegistry):
    """
    @dev Name the registry before this one (zero for none), whose entries stay registered. Once.
    """
    owned._check_owner()
    assert not self.initialized
    self.initialized = True
    self.previous = _previous


@external
def setBaseURI(baseUri: String[MAX_URI]):
    """
    @dev Set where the description of tokens is published.
    """
    owned._check_owner()
    self.baseURI = baseUri


@external
def setName(entry: address, reverse_name: String[MAX_URI]):
    """
    @dev Part of the published interface for chains that have a name service. Always refused.
    """
    owned._check_owner()
    raise "Operation not supported on this chain"


@external
@pure
def proxyCode() -> Bytes[26]:
    """
    @dev The init code of every entry: entry = create2(registry, keccak256(initializer call ‖ owner), proxyCode).
    """
    return PROXY_CODE


@external
@pure
def proxyCodeHash() -> bytes32:
    """
    @dev keccak256 of `proxyCode`.
    """
    return keccak256(PROXY_CODE)


@external
@view
@raw_return
def entryCode() -> Bytes[_MAX_ENTRY_CODE]:
    """
    @dev The code of the entry that is being created in this transaction; without one, nothing. Raw, not ABI-encoded.
    """
    return self._entry_code


@external
@view
def tokenURI(tokenId: uint256) -> String[MAX_URI + 78]:
    """
    @dev Where the entry is described: the base URI and the token's number, or nothing while there is no base URI.
    """
    erc721._existing_word(tokenId)
    base: String[MAX_URI] = self.baseURI
    if len(base) == 0:
        return ""
    return concat(base, uint2str(tokenId))


@external
@view
def isRegistered(_entry: address) -> bool:
    """
    @dev Whether this registry or one before it created the entry.
    """
    if erc721._words[convert(_entry, uint256)] != 0:
        return True
    if self.previous.address == empty(address):
        return False
    return staticcall self.previous.isRegistered(_entry)


@external
@view
def lookup(entry: address) -> (address, uint256, uint256):
    """
    @dev Owner and policy of an entry in one storage read; a registry before this one answers for its own entries.
    @return owner (zero: not registered), worker stake ratio and scheduler reward ratio in percent.
    """
    word: uint256 = erc721._words[convert(entry, uint256)]
    if word == 0 and self.previous.address != empty(address):
        return staticcall self.previous.lookup(entry)
    return token_word._owner(word), token_word._stake_ratio(word), token_word._reward_ratio(word)


@internal
@pure
def _salt(initializer: Bytes[MAX_INITIALIZER], entry_owner: address) -> bytes32:
    return keccak256(concat(initializer, convert(entry_owner, bytes20)))


@internal
@view
def _predict(salt: bytes32) -> address:
    digest: bytes32 = keccak256(concat(x"ff", convert(self, bytes20), salt, keccak256(PROXY_CODE)))
    return convert(convert(digest, uint256) & (2**160 - 1), address)


@internal
def _create(salt: bytes32, entry_owner: address, metadata: Bytes[MAX_METADATA], policy: uint256) -> address:
    """
    @dev Create the entry and give its token to the owner.
    @notice The new code runs nothing but its init code, which only reads from here, so nothing re-enters. Whether the
            entry exists is read from its token: only this function creates entries, and tokens are never burnt.
    """
    entry: address = self._predict(salt)
    token_id: uint256 = convert(entry, uint256)
    assert erc721._words[token_id] == 0, "Create2: Failed on deploy"
    self._entry_code = concat(_PROXY_HEAD, convert(master, bytes20), _PROXY_TAIL, metadata)
    created: address = raw_create(PROXY_CODE, salt=salt)
    # The call back may run out of gas and leave an entry without its code.
    assert created.codesize == 45 + len(metadata), "Create2: Failed on deploy"
    erc721._mint(entry_owner, token_id, policy)
    return entry
