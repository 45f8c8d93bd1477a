# pragma version ==0.4.3
"""
@title Signatures and restrictions: who may speak for an account
@license Apache-2.0
@notice Every call of a foreign contract here is a static call: it can read but change nothing, so it cannot re-enter.
@dev Deviations from the peer, both stricter or equal: the key is tried before the contract, because since EIP-7702 an account with
     a key may have code as well; and the zero address never signed anything.
"""

from . import state
from . import types

uses: state

IS_VALID_SIGNATURE: constant(bytes4) = 0x1626ba7e
HALF_CURVE_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168


@internal
@view
def recover(hash: bytes32, signature: Bytes[types.MAX_SIGNATURE]) -> address:
    """
    @dev The address whose key made a 65-byte (r, s, v) or 64-byte (r, vs; EIP-2098) signature; zero if it is of another length,
         malleable (high s) or not recoverable.
    """
    s: uint256 = 0
    v: uint256 = 0
    if len(signature) == 65:
        s = extract32(signature, 32, output_type=uint256)
        v = convert(slice(signature, 64, 1), uint256)
    elif len(signature) == 64:
        vs: uint256 = extract32(signature, 32, output_type=uint256)
        s = vs & (2**255 - 1)
        v = 27 + (vs >> 255)
    else:
        return empty(address)
    if s > HALF_CURVE_ORDER:
        return empty(address)
    return ecrecover(hash, v, extract32(signature, 0, output_type=uint256), s)


@internal
@view
def is_signed(account: address, hash: bytes32, signature: Bytes[types.MAX_SIGNATURE]) -> bool:
    """
    @notice True if the account signed the hash: by its key, or as a contract by ERC-1271.
    @dev A contract that reverts says no; one that answers with fewer than 32 bytes makes the call revert without data.
         Reverts with `invalid-signature-format` if the account has no code and the signature is not 64 or 65 bytes.
    """
    if account == empty(address):
        return False
    if self.recover(hash, signature) == account:
        return True
    if account.codesize == 0:
        assert len(signature) == 65 or len(signature) == 64, "invalid-signature-format"
        return False
    success: bool = False
    answer: Bytes[32] = b""
    success, answer = raw_call(
        account,
        abi_encode(hash, signature, method_id=IS_VALID_SIGNATURE),
        max_outsize=32,
        is_static_call=True,
        revert_on_failure=False,
    )
    if not success:
        return False
    assert len(answer) == 32
    return convert(slice(answer, 0, 4), bytes4) == IS_VALID_SIGNATURE


@internal
@view
def is_presigned(account: address, hash: bytes32) -> bool:
    """
    @notice True if the account announced the hash on chain.
    """
    return account != empty(address) and state.presigned[hash] == account


@internal
@view
def is_signed_or_presigned(account: address, hash: bytes32, signature: Bytes[types.MAX_SIGNATURE]) -> bool:
    """
    @notice True if signed or presigned. A presigned hash needs no signature bytes.
    @dev The key is tried first because it costs less than reading the presignature's slot; the outcome is the same.
    """
    if account != empty(address) and self.recover(hash, signature) == account:
        return True
    if self.is_presigned(account, hash):
        return True
    return self.is_signed(account, hash, signature)


@internal
@view
def is_authorised(restriction: address, account: address) -> bool:
    """
    @notice True if the account is the one that an order names, or a member of the group (ERC-734) that it names. No
            restriction admits everybody.
    @dev A group that reverts says no; one that answers with anything but a bool makes the call revert without data.
    """
    if restriction == empty(address) or restriction == account:
        return True
    if restriction.codesize == 0:
        return False
    success: bool = False
    answer: Bytes[32] = b""
    success, answer = raw_call(
        restriction,
        abi_encode(
            convert(convert(account, uint256), bytes32),
            types.GROUPMEMBER_PURPOSE,
            method_id=method_id("keyHasPurpose(bytes32,uint256)"),
        ),
        max_outsize=32,
        is_static_call=True,
        revert_on_failure=False,
    )
    if not success:
        return False
    assert len(answer) == 32
    verdict: uint256 = convert(answer, uint256)
    assert verdict < 2
    return verdict == 1
