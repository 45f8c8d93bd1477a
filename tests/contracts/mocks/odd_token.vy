# pragma version ==0.4.3
"""
@title A token for tests that can refuse by answering false, or call back into the hub while it moves tokens
"""

interface Hub:
    def deposit(amount: uint256) -> bool: nonpayable
    def recover() -> uint256: nonpayable
    def withdraw(amount: uint256) -> bool: nonpayable

GOOD: constant(uint256) = 0
REFUSE: constant(uint256) = 1
DEPOSIT: constant(uint256) = 2
RECOVER: constant(uint256) = 3
WITHDRAW: constant(uint256) = 4

balanceOf: public(HashMap[address, uint256])
mode: public(uint256)


@external
def give(account: address, amount: uint256):
    self.balanceOf[account] += amount


@external
def set_mode(mode: uint256):
    self.mode = mode


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
    if self.mode == DEPOSIT:
        return extcall Hub(msg.sender).deposit(0)
    if self.mode == RECOVER:
        credited: uint256 = extcall Hub(msg.sender).recover()
    if self.mode == WITHDRAW:
        return extcall Hub(msg.sender).withdraw(0)
    return True
