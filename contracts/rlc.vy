# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title RLC test token
@license Apache-2.0
@dev The ERC-20 token of local and test networks, call for call what the published RLC token offers to users:
     9 decimals, a fixed supply of 87,000,000 RLC, `approveAndCall`. And more: signed permits (EIP-2612) that describe
     their domain (EIP-5267). Every failure reverts without data.
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

DOMAIN_TYPEHASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
PERMIT_TYPEHASH: constant(bytes32) = keccak256(
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
# Not `version`, which is that of the published token's code.
DOMAIN_VERSION: constant(String[1]) = "1"
# Name, version, chain id and contract; neither salt nor extensions.
DOMAIN_FIELDS: constant(bytes1) = 0x0f
IS_VALID_SIGNATURE: constant(bytes4) = 0x1626ba7e
HALF_CURVE_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

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
# How many permits of an account were used; the next one names this number.
nonces: public(HashMap[address, uint256])


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
    self._approve(msg.sender, _spender, _value)
    return True


@external
def approveAndCall(_spender: address, _value: uint256, _extraData: Bytes[MAX_EXTRA_DATA]):
    """
    @dev Allow `_spender` and tell it in the same transaction: `receiveApproval(sender, value, token, data)`.
    @notice The spender's revert data is passed on; what it returns is not looked at, as in the published token.
    """
    self._approve(msg.sender, _spender, _value)
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
def permit(owner: address, spender: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32):
    """
    @dev Allow `spender` to move `amount` nRLC of `owner`, who signed so (EIP-2612); replaces an earlier allowance.
    @notice Anybody may show a permit to the token, until its deadline and once: the nonce is part of what is signed.
            `owner` may be a contract that vouches for the signature (ERC-1271; r, s and v in 65 bytes).
    """
    assert owner != empty(address)
    assert block.timestamp <= deadline
    nonce: uint256 = self.nonces[owner]
    self.nonces[owner] = nonce + 1
    digest: bytes32 = keccak256(
        concat(
            x"1901",
            self._separator(),
            keccak256(abi_encode(PERMIT_TYPEHASH, owner, spender, amount, nonce, deadline)),
        )
    )
    assert self._is_signed(owner, digest, v, r, s)
    self._approve(owner, spender, amount)


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    """
    @dev What every permit's hash contains.
    """
    return self._separator()


@external
@view
def eip712Domain() -> (bytes1, String[15], String[1], uint256, address, bytes32, DynArray[uint256, 1]):
    """
    @dev The domain of permits (EIP-5267): fields, name, version, chain id, contract, salt, extensions.
    """
    return DOMAIN_FIELDS, name, DOMAIN_VERSION, chain.id, self, empty(bytes32), []


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
def _approve(holder: address, spender: address, amount: uint256):
    self.allowance[holder][spender] = amount
    log Approval(owner=holder, spender=spender, value=amount)


@internal
@view
def _is_signed(account: address, digest: bytes32, v: uint8, r: bytes32, s: bytes32) -> bool:
    """
    @dev The key is tried before the contract: since EIP-7702 an account with a key may have code as well.
    """
    if convert(s, uint256) <= HALF_CURVE_ORDER and ecrecover(digest, v, r, s) == account:
        return True
    if not account.is_contract:
        return False
    success: bool = False
    answer: Bytes[32] = b""
    success, answer = raw_call(
        account,
        abi_encode(digest, concat(r, s, convert(v, bytes1)), method_id=IS_VALID_SIGNATURE),
        max_outsize=32,
        is_static_call=True,
        revert_on_failure=False,
    )
    return success and len(answer) == 32 and convert(slice(answer, 0, 4), bytes4) == IS_VALID_SIGNATURE


@internal
@view
def _separator() -> bytes32:
    """
    @notice Computed at each use, so it follows the chain's id: what was signed for one chain is worthless on a fork of it.
    """
    return keccak256(abi_encode(DOMAIN_TYPEHASH, keccak256(name), keccak256(DOMAIN_VERSION), chain.id, self))
