# pragma version ==0.4.3
"""
@title A receiver of results for tests (ERC-1154): keeps their hash, fails, or burns all its gas
"""

KEEP: constant(uint256) = 0
FAIL: constant(uint256) = 1
BURN: constant(uint256) = 2

mode: public(uint256)
task: public(bytes32)
digest: public(bytes32)
gas_seen: public(uint256)


@deploy
def __init__(mode: uint256):
    self.mode = mode


@external
def receiveResult(id: bytes32, result: Bytes[2048]):
    self.gas_seen = msg.gas
    if self.mode == FAIL:
        raise "no"
    if self.mode == BURN:
        for i: uint256 in range(1_000_000):
            self.task = convert(i, bytes32)
    self.task = id
    self.digest = keccak256(result)
