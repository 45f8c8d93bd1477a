# pragma version ==0.4.3
"""
@title A hub for tests that takes any call: keeps who sent it and its bytes, answers what it is told to, or refuses
"""

# The precompile that answers with what it is given.
IDENTITY: constant(address) = 0x0000000000000000000000000000000000000004

sender: public(address)
data: public(Bytes[4096])
answer: Bytes[128]
refusal: String[64]


@external
def prepare(answer: Bytes[128], refusal: String[64]):
    self.answer = answer
    self.refusal = refusal


@external
@payable
@raw_return
def __default__() -> Bytes[128]:
    if len(self.refusal) != 0:
        raise self.refusal
    self.sender = msg.sender
    self.data = raw_call(IDENTITY, msg.data, max_outsize=4096)
    return self.answer
