# pragma version ==0.4.3
"""
@title Ownable (ERC-173)
@license Apache-2.0
@notice The owner can add categories, name the TEE broker and set the gas of callbacks. It can neither touch anybody's
        money nor change a deal, a registry or the code.
"""

from . import state

uses: state

event OwnershipTransferred:
    previousOwner: indexed(address)
    newOwner: indexed(address)


@internal
@view
def check_owner():
    assert msg.sender == state.owner, "Ownable: caller is not the owner"


@internal
def set_owner(new_owner: address):
    log OwnershipTransferred(previousOwner=state.owner, newOwner=new_owner)
    state.owner = new_owner
