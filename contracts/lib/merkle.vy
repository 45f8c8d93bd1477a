# pragma version ==0.4.3
"""
@title Merkle: the tree over the digests of a run's tasks
@license Apache-2.0
@notice leaf = keccak256(0x10 ‖ digest), node = keccak256(0x11 ‖ left ‖ right), leaves in order of idx; an odd node goes up as it is.
@dev Position and number of leaves fix how many siblings a proof has and on which side each stands. A proof for another position,
     and one that is longer or shorter, proves nothing; nor can a node be taken for a leaf, because their prefixes differ.
"""

from . import types


@internal
@pure
def root_of(
    digest: bytes32, position: uint256, count: uint256, proof: DynArray[bytes32, types.MAX_PROOF]
) -> bytes32:
    """
    @dev The root over `count` leaves that has `digest` at `position`, by the siblings from the leaf up. Needs
         position < count <= types.MAX_RUN: then 20 levels are enough. Reverts without data if the proof has another length.
    """
    node: bytes32 = keccak256(concat(x"10", digest))
    place: uint256 = position
    width: uint256 = count
    used: uint256 = 0
    for _: uint256 in range(types.MAX_PROOF):
        if width == 1:
            break
        if place ^ 1 < width:
            sibling: bytes32 = proof[used]
            used += 1
            if place & 1 == 0:
                node = keccak256(concat(x"11", node, sibling))
            else:
                node = keccak256(concat(x"11", sibling, node))
        place >>= 1
        width = (width + 1) >> 1
    assert used == len(proof)
    return node
