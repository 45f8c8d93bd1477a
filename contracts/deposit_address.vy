# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Personal deposit address
@license Apache-2.0
@notice Whatever reaches this address belongs to one beneficiary. Tokens of the hub's escrow go into the beneficiary's escrow account
        (`flush`), everything else to the beneficiary itself (`sweep`, `sweepCoins`); anybody may push it on, nobody can send it
        elsewhere. So an exchange, which can do no more than a plain transfer, can pay straight into the escrow.
@dev Who can stop it: nobody; there is no owner, nothing is stored, nothing changes. Target of the clones that
     `deposit_addresses.vy` makes; a clone's terms are the beneficiary (20 bytes). What moves money is locked against re-entry.
"""

from .lib import cloned

initializes: cloned

interface IDeposits:
    def depositFor(amount: uint256, target: address) -> bool: nonpayable

interface ITokens:
    def approve(spender: address, amount: uint256) -> bool: nonpayable
    def transfer(receiver: address, amount: uint256) -> bool: nonpayable
    def balanceOf(account: address) -> uint256: view

hub: public(immutable(address))
token: public(immutable(address))


@deploy
def __init__(hub_address: address, base_token: address):
    """
    @param hub_address Where deposits go.
    @param base_token What the hub takes.
    """
    cloned.__init__()
    hub = hub_address
    token = base_token


@external
@payable
def __default__():
    """
    @notice Takes plain coins, for the beneficiary.
    """
    assert len(msg.data) == 0


@external
@view
def beneficiary() -> address:
    """
    @notice Whose address this is.
    """
    return cloned.address_at(0)


@external
@nonreentrant
def flush() -> uint256:
    """
    @notice Deposits all of the token that lies here for the beneficiary; nothing happens if there is none. Reverts, and leaves the
            tokens here, if token or hub refuse.
    @dev The allowance is for this deposit alone, and the hub takes all of it.
    @return What was deposited.
    """
    amount: uint256 = staticcall ITokens(token).balanceOf(self)
    if amount != 0:
        assert extcall ITokens(token).approve(hub, amount), "approval refused"
        assert extcall IDeposits(hub).depositFor(amount, cloned.address_at(0)), "deposit refused"
    return amount


@external
@nonreentrant
def sweep(other: address) -> uint256:
    """
    @notice Pays all of another token that lies here to the beneficiary. The token of the escrow is for `flush`; only the
            beneficiary itself may take it out this way, should the hub ever refuse it.
    @dev A token that answers nothing is believed, one that answers false is not.
    @return What was paid.
    """
    receiver: address = cloned.address_at(0)
    assert other != token or msg.sender == receiver, "flush it"
    amount: uint256 = staticcall ITokens(other).balanceOf(self)
    if amount != 0:
        assert extcall ITokens(other).transfer(receiver, amount, default_return_value=True), "transfer refused"
    return amount


@external
@nonreentrant
def sweepCoins() -> uint256:
    """
    @notice Pays all coins that lie here to the beneficiary. Reverts if it does not take them.
    @return What was paid.
    """
    amount: uint256 = self.balance
    raw_call(cloned.address_at(0), b"", value=amount)
    return amount
