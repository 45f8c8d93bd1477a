# pragma version ==0.4.3
"""
@title Owned
@license Apache-2.0
@dev One account that may do the administration of a contract, can hand that role on, or give it up for good.
@notice The owner is an argument of the deployment, because the sender of a CREATE2 deployment is the deployer
        contract. Refusals carry the text of the published contracts, bad owners their custom error.
"""

event OwnershipTransferred:
    previousOwner: indexed(address)
    newOwner: indexed(address)


owner: public(address)


@deploy
def __init__(first_owner: address):
    assert first_owner != empty(address)
    self._set_owner(first_owner)


@external
def transferOwnership(newOwner: address):
    """
    @dev Hand the role on. The zero address is refused with `OwnableInvalidOwner`; giving up has its own function.
    """
    self._check_owner()
    if newOwner == empty(address):
        raw_revert(abi_encode(newOwner, method_id=method_id("OwnableInvalidOwner(address)")))
    self._set_owner(newOwner)


@external
def renounceOwnership():
    """
    @dev Give the role up: nobody administers the contract from then on.
    """
    self._check_owner()
    self._set_owner(empty(address))


@internal
@view
def _check_owner():
    assert msg.sender == self.owner, "Ownable: caller is not the owner"


@internal
def _set_owner(new_owner: address):
    log OwnershipTransferred(previousOwner=self.owner, newOwner=new_owner)
    self.owner = new_owner
