# pragma version ==0.4.3
"""
@title A spender for tests: takes what it was approved, or refuses
"""

interface Token:
    def transferFrom(sender: address, recipient: address, amount: uint256) -> bool: nonpayable

accepts: public(bool)
data: public(Bytes[128])


@deploy
def __init__(accepts: bool):
    self.accepts = accepts


@external
def receiveApproval(sender: address, amount: uint256, token: address, data: Bytes[128]) -> bool:
    self.data = data
    if self.accepts:
        return extcall Token(token).transferFrom(sender, self, amount)
    return False
