# pragma version ==0.4.3
"""
@title A receiver of results for tests (ERC-1154): keeps their hash, fails, burns all its gas, or calls back who called it
"""

KEEP: constant(uint256) = 0
FAIL: constant(uint256) = 1
BURN: constant(uint256) = 2
MEDDLE: constant(uint256) = 3

mode: public(uint256)
task: public(bytes32)
digest: public(bytes32)
gas_seen: public(uint256)
# Calls from inside that were not refused.
meddled: public(uint256)


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
    if self.mode == MEDDLE:
        self._try(abi_encode(id, method_id=method_id("claim(bytes32)")))
        self._try(abi_encode(id, method_id=method_id("reopen(bytes32)")))
        self._try(abi_encode(id, keccak256(result), method_id=method_id("reveal(bytes32,bytes32)")))
        self._try(abi_encode(id, b"", result, method_id=method_id("finalize(bytes32,bytes,bytes)")))
        self._try(abi_encode(convert(1, uint256), method_id=method_id("withdraw(uint256)")))
    self.task = id
    self.digest = keccak256(result)


@internal
def _try(data: Bytes[4096]):
    if raw_call(msg.sender, data, revert_on_failure=False):
        self.meddled += 1
