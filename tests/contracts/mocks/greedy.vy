# pragma version ==0.4.3
"""
@title A contract for tests that is a deal's callback, a scheduler and a worker at once, and calls the hub back while it is called
@dev It signs whatever it is asked to sign (ERC-1271). While a result is pushed to it, it makes the calls that were planned.
"""

hub: public(address)
plans: DynArray[Bytes[4096], 16]
done: DynArray[bool, 16]
pushes: public(uint256)
inside: bool


@deploy
def __init__(hub: address):
    self.hub = hub


@external
def act(data: Bytes[8192]):
    """
    @notice Calls the hub as this contract.
    """
    raw_call(self.hub, data)


@external
def plan(data: Bytes[4096]):
    """
    @notice One more call for the next push.
    """
    self.plans.append(data)


@external
@view
def outcomes() -> DynArray[bool, 16]:
    """
    @notice Which of the planned calls happened.
    """
    return self.done


@external
@view
def isValidSignature(hash: bytes32, signature: Bytes[1024]) -> bytes4:
    return 0x1626ba7e


@external
def receiveResult(id: bytes32, result: Bytes[2048]):
    self.pushes += 1
    if self.inside:
        return
    self.inside = True
    for data: Bytes[4096] in self.plans:
        self.done.append(raw_call(self.hub, data, revert_on_failure=False))
    self.inside = False
