# pragma version ==0.4.3
"""
@title Blob: write-once bytes, kept as the code of a contract that nobody can call
@license Apache-2.0
@notice 200 gas per byte instead of 22,100 per 32 bytes, and one cold account instead of many cold slots to read it.
@dev The record with salt `s` is the CREATE2 contract of the hub with a constant init code and that salt, so its address needs
     no slot. The init code calls the hub's `blobData()` and deploys 0x00 (STOP) followed by the answer:
         mstore(0, 0x1f2f2162 << 224); staticcall(gas, caller, 0, 4, 0, 0); pop
         mstore8(0, 0); returndatacopy(1, 0, returndatasize); return(0, returndatasize + 1)
     Safe because: only the hub can create at these addresses (CREATE2 hashes the creator); the code can neither be changed nor
     destroyed; the first byte stops any call; CREATE2 fails if the record exists, so it is written once; and the size of
     what was written is checked, so that a call-back that ran out of gas cannot leave an empty record behind.
"""

from . import state

uses: state

MAX_BLOB: constant(uint256) = 4608
CREATION_CODE: constant(Bytes[33]) = x"631f2f216260e01b5f525f5f60045f335afa505f5f533d5f60013e3d6001015ff3"
CREATION_CODE_HASH: constant(bytes32) = keccak256(CREATION_CODE)


@internal
def create(salt: bytes32):
    """
    @notice Writes `state.blob` as the record `salt`.
    @dev Reverts without data if the record exists already.
    """
    location: address = raw_create(CREATION_CODE, salt=salt)
    assert location.codesize == len(state.blob) + 1


@internal
@view
def location_of(salt: bytes32) -> address:
    """
    @dev Where the record is or would be.
    """
    digest: bytes32 = keccak256(concat(0xff, convert(self, bytes20), salt, CREATION_CODE_HASH))
    return convert(convert(digest, uint256) & (2**160 - 1), address)


@internal
@view
def read(location: address, start: uint256, length: uint256) -> Bytes[MAX_BLOB]:
    """
    @dev `length` bytes of the record from `start` on (the STOP byte is not counted). Meant for views: costs some 150 gas for
         every 32 bytes. Reverts without data beyond the end.
    """
    data: Bytes[MAX_BLOB] = b""
    position: uint256 = start + 1
    end: uint256 = position + length
    for _: uint256 in range(MAX_BLOB // 256):
        if end - position < 256:
            break
        data = convert(concat(data, slice(location.code, position, 256)), Bytes[MAX_BLOB])
        position += 256
    for _: uint256 in range(8):
        if end - position < 32:
            break
        data = convert(concat(data, slice(location.code, position, 32)), Bytes[MAX_BLOB])
        position += 32
    for _: uint256 in range(32):
        if position == end:
            break
        data = convert(concat(data, slice(location.code, position, 1)), Bytes[MAX_BLOB])
        position += 1
    return data
