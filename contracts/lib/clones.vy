# pragma version ==0.4.3
"""
@title Clones that carry their terms: the factory's side
@license Apache-2.0
@dev A clone is a minimal proxy (ERC-1167) with bytes behind the proxy's 45 bytes of code: what the clone is for, written once
     and changeable by nobody. The creation code holds these bytes, so the clone's address binds them, together with the target,
     the factory and the salt. `cloned.vy` reads them.
@notice There is no initialising call that somebody could get in before.
"""

TERMS_BOUND: constant(uint256) = 85

# returndatasize; push1 SIZE; dup1; push1 10; returndatasize; codecopy; dup2; return: leaves everything behind these ten bytes.
_CREATOR_HEAD: constant(Bytes[2]) = x"3d60"
_CREATOR_TAIL: constant(Bytes[7]) = x"80600a3d3981f3"
_PROXY_HEAD: constant(Bytes[10]) = x"363d3d373d3d3d363d73"
_PROXY_TAIL: constant(Bytes[15]) = x"5af43d82803e903d91602b57fd5bf3"
_PROXY_SIZE: constant(uint256) = 45
_MAX_CREATION_CODE: constant(uint256) = 10 + _PROXY_SIZE + TERMS_BOUND


@internal
@view
def locate(target: address, terms: Bytes[TERMS_BOUND], salt: bytes32) -> address:
    """
    @dev Where `create` with the same arguments puts the clone.
    """
    code_hash: bytes32 = keccak256(self._creation_code(target, terms))
    digest: bytes32 = keccak256(concat(x"ff", convert(self, bytes20), salt, code_hash))
    return convert(convert(digest, uint256) & (2**160 - 1), address)


@internal
def create(target: address, terms: Bytes[TERMS_BOUND], salt: bytes32) -> address:
    """
    @dev Reverts without data if the clone exists.
    """
    return raw_create(self._creation_code(target, terms), salt=salt)


@internal
@pure
def _creation_code(target: address, terms: Bytes[TERMS_BOUND]) -> Bytes[_MAX_CREATION_CODE]:
    # At most 130, which fits the one byte.
    size: uint256 = _PROXY_SIZE + len(terms)
    return concat(
        _CREATOR_HEAD,
        convert(convert(size, uint8), bytes1),
        _CREATOR_TAIL,
        _PROXY_HEAD,
        convert(target, bytes20),
        _PROXY_TAIL,
        terms,
    )
