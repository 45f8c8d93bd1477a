# pragma version ==0.4.3
"""
@title Token word
@license Apache-2.0
@dev Everything that a registry knows about one entry, in one storage word, so that a creation, a look-up and a change
     of policy touch one slot:

         bits   0..159   owner (never zero for an entry that exists, so the word is not zero either)
         bits 160..183   worker stake ratio of a workerpool, percent (0 for apps and datasets)
         bits 184..191   scheduler reward ratio of a workerpool, percent (0 for apps and datasets)
         bits 192..223   position in the list of all tokens
         bits 224..255   position in the list of the owner's tokens

@notice Positions cannot overflow their 32 bits: a list of 2**32 tokens would cost more than 10**14 gas to fill.
"""

MAX_STAKE_RATIO: constant(uint256) = 2**24 - 1
MAX_REWARD_RATIO: constant(uint256) = 100

_OWNER: constant(uint256) = 2**160 - 1
_POLICY_SHIFT: constant(uint256) = 160
_REWARD_SHIFT: constant(uint256) = 184
_POSITION_SHIFT: constant(uint256) = 192
_OWNED_SHIFT: constant(uint256) = 224
_POSITION: constant(uint256) = 2**32 - 1
_POLICY: constant(uint256) = 2**32 - 1


@internal
@pure
def _pack(token_owner: address, policy: uint256, position: uint256, owned_position: uint256) -> uint256:
    """
    @dev `policy` as made by `_pack_policy`.
    """
    return (
        convert(token_owner, uint256)
        | (policy << _POLICY_SHIFT)
        | (position << _POSITION_SHIFT)
        | (owned_position << _OWNED_SHIFT)
    )


@internal
@pure
def _pack_policy(stake_ratio: uint256, reward_ratio: uint256) -> uint256:
    """
    @dev A ratio that does not fit reverts without data.
    """
    assert stake_ratio <= MAX_STAKE_RATIO
    assert reward_ratio <= MAX_REWARD_RATIO
    return stake_ratio | (reward_ratio << (_REWARD_SHIFT - _POLICY_SHIFT))


@internal
@pure
def _owner(word: uint256) -> address:
    return convert(word & _OWNER, address)


@internal
@pure
def _policy(word: uint256) -> uint256:
    return (word >> _POLICY_SHIFT) & _POLICY


@internal
@pure
def _stake_ratio(word: uint256) -> uint256:
    return (word >> _POLICY_SHIFT) & MAX_STAKE_RATIO


@internal
@pure
def _reward_ratio(word: uint256) -> uint256:
    return (word >> _REWARD_SHIFT) & 255


@internal
@pure
def _position(word: uint256) -> uint256:
    return (word >> _POSITION_SHIFT) & _POSITION


@internal
@pure
def _owned_position(word: uint256) -> uint256:
    return word >> _OWNED_SHIFT


@internal
@pure
def _with_policy(word: uint256, policy: uint256) -> uint256:
    return (word & ~(_POLICY << _POLICY_SHIFT)) | (policy << _POLICY_SHIFT)


@internal
@pure
def _with_owned_position(word: uint256, owned_position: uint256) -> uint256:
    return (word & ~(_POSITION << _OWNED_SHIFT)) | (owned_position << _OWNED_SHIFT)
