# pragma version ==0.4.3
"""
@title A token for tests whose transfers answer nothing, as some old ones do
"""

balanceOf: public(HashMap[address, uint256])


@external
def give(account: address, amount: uint256):
    self.balanceOf[account] += amount


@external
def transfer(receiver: address, amount: uint256):
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[receiver] += amount
