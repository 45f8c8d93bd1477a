# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Factory of role accounts
@license Apache-2.0
@notice Makes role accounts (`role_account.vy`) for anybody. An account's address follows from this factory (which follows from
        the hub), owner, operator, roles and salt, so it can be funded and named in orders before it exists.
@dev Who can stop it: nobody; it has no owner and no state. Accounts are clones: one costs a tenth of a contract of its own (79 k gas
     against 815 k) and 2.7 k more for each call, which some 270 calls make up for. Until then a newcomer has earned
     something, and in the batch lane one call settles a thousand tasks.
"""

from .lib import clones

event RoleAccountCreated:
    account: indexed(address)
    owner: indexed(address)
    operator: indexed(address)
    roles: uint256
    salt: bytes32

ALL_ROLES: constant(uint256) = 3
_MAX_INITCODE: constant(uint256) = 16384

hub: public(immutable(address))
target: public(immutable(address))


@deploy
def __init__(hub_address: address, clone_initcode: Bytes[_MAX_INITCODE]):
    """
    @param hub_address The hub of all accounts; it may come later.
    @param clone_initcode Creates `role_account.vy`.
    """
    hub = hub_address
    target = raw_create(clone_initcode, hub_address)


@external
def create(owner: address, operator: address, roles: uint256, salt: bytes32) -> address:
    """
    @notice Creates the account if it does not exist. Anybody may: who it belongs to is in its address.
    @param roles 1 work, 2 schedule, 3 both, 0 nothing yet.
    @return The account.
    """
    terms: Bytes[clones.TERMS_BOUND] = self._terms(owner, operator, roles)
    account: address = clones.locate(target, terms, salt)
    if account.codesize == 0:
        account = clones.create(target, terms, salt)
        log RoleAccountCreated(account=account, owner=owner, operator=operator, roles=roles, salt=salt)
    return account


@external
@view
def addressOf(owner: address, operator: address, roles: uint256, salt: bytes32) -> address:
    """
    @notice Where that account is or will be. `operator` and `roles` are the first ones, whatever the owner set since.
    """
    return clones.locate(target, self._terms(owner, operator, roles), salt)


@internal
@pure
def _terms(owner: address, operator: address, roles: uint256) -> Bytes[clones.TERMS_BOUND]:
    assert owner != empty(address)
    assert roles <= ALL_ROLES
    return concat(
        convert(owner, bytes20), convert(operator, bytes20), convert(convert(roles, uint8), bytes1)
    )
