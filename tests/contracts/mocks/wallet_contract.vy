# pragma version ==0.4.3
"""
@title A contract account for tests: accepts, refuses, fails, or answers too little (ERC-1271)
"""

ACCEPT: constant(uint256) = 0
REFUSE: constant(uint256) = 1
FAIL: constant(uint256) = 2
TOO_SHORT: constant(uint256) = 3

mode: public(uint256)
password: Bytes[65]


@deploy
def __init__(mode: uint256, password: Bytes[65]):
    self.mode = mode
    self.password = password


@external
@view
@raw_return
def isValidSignature(hash: bytes32, signature: Bytes[1024]) -> Bytes[32]:
    if self.mode == FAIL:
        raise "no"
    if self.mode == TOO_SHORT:
        return x"1626ba7e"
    if self.mode == ACCEPT and signature == self.password:
        return concat(0x1626ba7e, empty(bytes28))
    return concat(0xffffffff, empty(bytes28))
