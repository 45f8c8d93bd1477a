# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title RLC test token
@license Apache-2.0
@dev The ERC-20 token of local and test networks, call for call what the published RLC token offers to users:
     9 decimals, a fixed supply of 87,000,000 RLC, `approveAndCall`. Every failure reverts without data.
@notice Nobody can stop this token, mint it or take it from its holders. The owner has no power over balances; the
        role exists because the published interface has it.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256


event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256


event OwnershipTransferred:
    previousOwner: indexed(address)
    newOwner: indexed(address)


SUPPLY_NRLC: constant(uint256) = 87_000_000 * 10**9

# A call of `matchOrders` with four full-size orders fits.
MAX_EXTRA_DATA: constant(uint256) = 12_288

name: public(constant(String[15])) = "iExec RLC Token"
symbol: public(constant(String[3])) = "RLC"
decimals: public(constant(uint8)) = 9
version: public(constant(String[4])) = "v0.1"
initialSupply: public(constant(uint256)) = SUPPLY_NRLC
# The published token could not be moved during its sale; this one always can.
locked: public(constant(bool)) = False

owner: public(address)
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__(token_owner: address):
    """
    @param token_owner Who receives the whole supply (the sender of a CREATE2 deployment is the deployer contract).
    """
    assert token_owner != empty(address)
    self.owner = token_owner
    self.totalSupply = SUPPLY_NRLC
    self.balanceOf[token_owner] = SUPPLY_NRLC
    log OwnershipTransferred(previousOwner=empty(address), newOwner=token_owner)
    log Transfer(sender=empty(address), receiver=token_owner, value=SUPPLY_NRLC)


@external
def transfer(_to: address, _value: uint256) -> bool:
    """
    @dev Move `_value` nRLC of the sender to `_to`.
    """
    self._transfer(msg.sender, _to, _value)
    return True


@external
def transferFrom(_from: address, _to: address, _value: uint256) -> bool:
    """
    @dev Move `_value` nRLC of `_from`, who allowed the sender to; every allowance shrinks, the largest one too.
    """
    self.allowance[_from][msg.sender] -= _value
    self._transfer(_from, _to, _value)
    return True


@external
def approve(_spender: address, _value: uint256) -> bool:
    """
    @dev Allow `_spender` to move `_value` nRLC of the sender; replaces an earlier allowance.
    """
    self._approve(_spender, _value)
    return True


@external
def approveAndCall(_spender: address, _value: uint256, _extraData: Bytes[MAX_EXTRA_DATA]):
    """
    @dev Allow `_spender` and tell it in the same transaction: `receiveApproval(sender, value, token, data)`.
    @notice The spender's revert data is passed on; what it returns is not looked at, as in the published token.
    """
    self._approve(_spender, _value)
    assert _spender.is_contract
    raw_call(
        _spender,
        abi_encode(
            msg.sender,
            _value,
            self,
            _extraData,
            method_id=method_id("receiveApproval(address,uint256,address,bytes)"),
        ),
    )


@external
def burn(_value: uint256) -> bool:
    """
    @dev Destroy `_value` nRLC of the sender.
    """
    self.balanceOf[msg.sender] -= _value
    self.totalSupply -= _value
    log Transfer(sender=msg.sender, receiver=empty(address), value=_value)
    return True


@external
def transferOwnership(newOwner: address):
    """
    @dev Hand the owner's role on. It carries no power over tokens.
    """
    assert msg.sender == self.owner
    assert newOwner != empty(address)
    log OwnershipTransferred(previousOwner=self.owner, newOwner=newOwner)
    self.owner = newOwner


@internal
def _transfer(sender: address, receiver: address, amount: uint256):
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=sender, receiver=receiver, value=amount)


@internal
def _approve(spender: address, amount: uint256):
    self.allowance[msg.sender][spender] = amount
    log Approval(owner=msg.sender, spender=spender, value=amount)
