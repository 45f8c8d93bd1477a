# pragma version ==0.4.3
"""
@title An account of a hub of native coins, for tests: what it does when coins reach it is to be chosen
"""

MAX_CALL: constant(uint256) = 12288

TAKE: constant(uint256) = 0
REFUSE: constant(uint256) = 1
CALL_BACK: constant(uint256) = 2

mode: public(uint256)
calls: public(uint256)
succeeded: public(bool)
answer: public(Bytes[256])
swallows: bool
call: Bytes[MAX_CALL]
coins: uint256


@external
def set_mode(mode: uint256):
    self.mode = mode


@external
def call_back(data: Bytes[MAX_CALL], coins: uint256, swallows: bool):
    """
    @dev From now on who sends coins is called with this, and so many coins; what it reverts with is passed on, or not.
    """
    self.mode = CALL_BACK
    self.call = data
    self.coins = coins
    self.swallows = swallows


@external
@payable
def do(target: address, data: Bytes[MAX_CALL]):
    """
    @dev Call somebody with the coins that came along.
    """
    raw_call(target, data, value=msg.value)


@external
@payable
def __default__():
    self.calls += 1
    if self.mode == REFUSE:
        raise "no coins, please"
    if self.mode == CALL_BACK:
        if self.swallows:
            self.succeeded, self.answer = raw_call(
                msg.sender, self.call, max_outsize=256, value=self.coins, revert_on_failure=False
            )
        else:
            raw_call(msg.sender, self.call, value=self.coins)
