# pragma version ==0.4.3
"""
@title A token for tests of deposit addresses: refuses by answering false, or calls its holder back while it moves tokens
"""

interface Holder:
    def flush() -> uint256: nonpayable
    def sweep(other: address) -> uint256: nonpayable
    def sweepCoins() -> uint256: nonpayable

GOOD: constant(uint256) = 0
REFUSE_APPROVAL: constant(uint256) = 1
REFUSE_TRANSFER: constant(uint256) = 2
FLUSH: constant(uint256) = 3
SWEEP: constant(uint256) = 4
SWEEP_COINS: constant(uint256) = 5

balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
mode: public(uint256)


@external
def give(account: address, amount: uint256):
    self.balanceOf[account] += amount


@external
def set_mode(mode: uint256):
    self.mode = mode


@external
def approve(spender: address, amount: uint256) -> bool:
    if self.mode == REFUSE_APPROVAL:
        return False
    self.allowance[msg.sender][spender] = amount
    return True


@external
def transfer(receiver: address, amount: uint256) -> bool:
    return self._move(msg.sender, receiver, amount)


@external
def transferFrom(sender: address, receiver: address, amount: uint256) -> bool:
    self.allowance[sender][msg.sender] -= amount
    return self._move(sender, receiver, amount)


@internal
def _move(sender: address, receiver: address, amount: uint256) -> bool:
    ignored: uint256 = 0
    if self.mode == REFUSE_TRANSFER:
        return False
    if self.mode == FLUSH:
        ignored = extcall Holder(sender).flush()
    if self.mode == SWEEP:
        ignored = extcall Holder(sender).sweep(self)
    if self.mode == SWEEP_COINS:
        ignored = extcall Holder(sender).sweepCoins()
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
    return True
