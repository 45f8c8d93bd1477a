# pragma version ==0.4.3
"""
@title Clones that carry their terms: the clone's side
@license Apache-2.0
@dev Code of a target, which runs by delegate call of its clones; reads the bytes that `clones.vy` put behind a clone's proxy.
@notice The target itself has no terms: what needs them is refused there, so nobody owns it and nothing can be kept in it.
"""

PROXY_SIZE: constant(uint256) = 45

_TARGET: immutable(address)


@deploy
def __init__():
    _TARGET = self


@internal
@view
def address_at(position: uint256) -> address:
    """
    @dev The address that stands `position` bytes into the terms.
    """
    # `self.code` would be the code of the target.
    clone: address = self
    assert clone != _TARGET
    return convert(convert(slice(clone.code, PROXY_SIZE + position, 20), bytes20), address)


@internal
@view
def byte_at(position: uint256) -> uint256:
    """
    @dev The byte that stands `position` bytes into the terms.
    """
    clone: address = self
    assert clone != _TARGET
    return convert(convert(slice(clone.code, PROXY_SIZE + position, 1), bytes1), uint256)
