# pragma version ==0.4.3
"""
@title The owner of a clone, and how another one takes over
@license Apache-2.0
@dev The first owner stands at the beginning of a clone's terms; storage is used from the first handover on.
@notice Ownership goes over in two steps: the owner names a successor, who accepts. A mistyped address therefore loses nothing.
        It cannot be given up.
"""

from . import cloned

uses: cloned

event OwnershipTransferStarted:
    previousOwner: indexed(address)
    newOwner: indexed(address)

event OwnershipTransferred:
    previousOwner: indexed(address)
    newOwner: indexed(address)

# Zero until the first handover.
_later_owner: address
pendingOwner: public(address)


@external
@view
def owner() -> address:
    """
    @notice Who owns this.
    """
    return self._owner()


@external
def transferOwnership(newOwner: address):
    """
    @notice The owner names a successor, who then calls `acceptOwnership`; the zero address takes an offer back.
    """
    self._check_owner()
    self.pendingOwner = newOwner
    log OwnershipTransferStarted(previousOwner=msg.sender, newOwner=newOwner)


@internal
def _accept():
    assert msg.sender == self.pendingOwner, "caller is not the successor"
    log OwnershipTransferred(previousOwner=self._owner(), newOwner=msg.sender)
    self._later_owner = msg.sender
    self.pendingOwner = empty(address)


@internal
@view
def _owner() -> address:
    later: address = self._later_owner
    if later != empty(address):
        return later
    return cloned.address_at(0)


@internal
@view
def _check_owner():
    assert msg.sender == self._owner(), "caller is not the owner"
