# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Factory of personal deposit addresses
@license Apache-2.0
@notice Every account has one deposit address (`deposit_address.vy`) for a hub and its token. It follows from hub, token and
        beneficiary, can be paid before it exists, and is created by whoever pushes its money on.
@dev Who can stop it: nobody; it has no owner and no state. On a chain where hub or token are others, so is the address. Money
     sent to it on a chain that has neither is not lost: anybody can deploy this factory there, with the same arguments
     through the same deployer, and sweep it to the beneficiary.
"""

from .lib import clones

interface IDepositAddress:
    def flush() -> uint256: nonpayable

event DepositAddressCreated:
    depositAddress: indexed(address)
    beneficiary: indexed(address)

_MAX_INITCODE: constant(uint256) = 8192

hub: public(immutable(address))
token: public(immutable(address))
target: public(immutable(address))


@deploy
def __init__(hub_address: address, base_token: address, clone_initcode: Bytes[_MAX_INITCODE]):
    """
    @param hub_address The hub of all deposits; it may come later, or never.
    @param base_token What that hub takes.
    @param clone_initcode Creates `deposit_address.vy`.
    """
    hub = hub_address
    token = base_token
    target = raw_create(clone_initcode, hub_address, base_token)


@external
@view
def addressOf(beneficiary: address) -> address:
    """
    @notice The beneficiary's deposit address, whether it exists or not.
    """
    return self._locate(beneficiary)


@external
def create(beneficiary: address) -> address:
    """
    @notice Creates the deposit address if it does not exist. Anybody may.
    @return The deposit address.
    """
    return self._create(beneficiary)


@external
def flush(beneficiary: address) -> uint256:
    """
    @notice Deposits what lies at the beneficiary's deposit address, which is created if need be. Anybody may.
    @return What was deposited.
    """
    return extcall IDepositAddress(self._create(beneficiary)).flush()


@internal
def _create(beneficiary: address) -> address:
    assert beneficiary != empty(address)
    deposit_address: address = self._locate(beneficiary)
    if deposit_address.codesize == 0:
        deposit_address = clones.create(target, self._terms(beneficiary), self._salt(beneficiary))
        log DepositAddressCreated(depositAddress=deposit_address, beneficiary=beneficiary)
    return deposit_address


@internal
@view
def _locate(beneficiary: address) -> address:
    return clones.locate(target, self._terms(beneficiary), self._salt(beneficiary))


@internal
@pure
def _terms(beneficiary: address) -> Bytes[clones.TERMS_BOUND]:
    return concat(convert(beneficiary, bytes20), b"")


@internal
@view
def _salt(beneficiary: address) -> bytes32:
    return keccak256(concat(convert(hub, bytes20), convert(token, bytes20), convert(beneficiary, bytes20)))
