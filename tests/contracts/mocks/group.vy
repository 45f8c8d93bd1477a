# pragma version ==0.4.3
"""
@title A group of accounts for tests (ERC-734): one member, and ways to misbehave
"""

HONEST: constant(uint256) = 0
FAIL: constant(uint256) = 1
TOO_SHORT: constant(uint256) = 2

member: public(address)
mode: public(uint256)


@deploy
def __init__(member: address, mode: uint256):
    self.member = member
    self.mode = mode


@external
@view
@raw_return
def keyHasPurpose(key: bytes32, purpose: uint256) -> Bytes[32]:
    if self.mode == FAIL:
        raise "no"
    if self.mode == TOO_SHORT:
        return x"01"
    belongs: bool = purpose == 4 and key == convert(convert(self.member, uint256), bytes32)
    return concat(convert(convert(belongs, uint256), bytes32), b"")
