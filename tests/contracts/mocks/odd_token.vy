# pragma version ==0.4.3
"""
@title A token for tests that can refuse by answering false or by reverting, or call somebody while it moves tokens or takes a
       permit
"""

MAX_CALL: constant(uint256) = 12288

GOOD: constant(uint256) = 0
REFUSE: constant(uint256) = 1
FAIL: constant(uint256) = 2
CALL_BACK: constant(uint256) = 3
NO_PERMITS: constant(uint256) = 4

balanceOf: public(HashMap[address, uint256])
mode: public(uint256)
# What the last call back answered, and whether it succeeded.
called: public(bool)
succeeded: public(bool)
answer: public(Bytes[256])
swallows: bool
call: Bytes[MAX_CALL]


@external
def give(account: address, amount: uint256):
    self.balanceOf[account] += amount


@external
def set_mode(mode: uint256):
    self.mode = mode


@external
def call_back(data: Bytes[MAX_CALL], swallows: bool):
    """
    @dev From now on the hub is called with this before a move or a permit ends; what it reverts with is passed on, or not.
    """
    self.mode = CALL_BACK
    self.call = data
    self.swallows = swallows


@external
def permit(owner: address, spender: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32):
    if self.mode == NO_PERMITS:
        raise "which permit?"
    self._act()


@external
def transfer(receiver: address, amount: uint256) -> bool:
    return self._move(msg.sender, receiver, amount)


@external
def transferFrom(sender: address, receiver: address, amount: uint256) -> bool:
    return self._move(sender, receiver, amount)


@internal
def _move(sender: address, receiver: address, amount: uint256) -> bool:
    if self.mode == REFUSE:
        return False
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
    self._act()
    return True


@internal
def _act():
    if self.mode == FAIL:
        raise "odd"
    if self.mode == CALL_BACK:
        self.called = True
        if self.swallows:
            self.succeeded, self.answer = raw_call(
                msg.sender, self.call, max_outsize=256, revert_on_failure=False
            )
        else:
            raw_call(msg.sender, self.call)
