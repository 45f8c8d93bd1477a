# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Registry of workerpools
@license Apache-2.0
@dev Creates workerpools, keeps who owns them (ERC-721) and what their policies are. See `lib/registry.vy` for how
     entries are made.
"""

from .lib import erc721
from .lib import limits
from .lib import owned
from .lib import registry
from .lib import token_word

initializes: owned
initializes: erc721
initializes: registry[owned := owned, erc721 := erc721]

exports: owned.__interface__
exports: erc721.__interface__
exports: registry.__interface__

name: public(constant(String[31])) = "iExec Workerpool Registry (V5)"
symbol: public(constant(String[17])) = "iExecWorkerpoolV5"

FIRST_STAKE_RATIO: constant(uint256) = 30
FIRST_REWARD_RATIO: constant(uint256) = 1


@deploy
def __init__(registry_owner: address, entry_initcode: Bytes[registry.MAX_ENTRY_INITCODE]):
    """
    @param registry_owner Who may set the base URI and the older registry.
    @param entry_initcode Creates the workerpool that all others delegate to.
    """
    owned.__init__(registry_owner)
    erc721.__init__()
    registry.__init__(entry_initcode)


@external
def createWorkerpool(_workerpoolOwner: address, _workerpoolDescription: String[limits.MAX_DESCRIPTION]) -> address:
    """
    @dev Create a workerpool for anybody. The same description and owner name the same address, so a second time is
         refused. A new pool asks 30 % of stake from workers and keeps 1 % for its scheduler.
    @return The workerpool's address, which is also its token's number.
    """
    return registry._create(
        self._workerpool_salt(_workerpoolOwner, _workerpoolDescription),
        _workerpoolOwner,
        convert(_workerpoolDescription, Bytes[limits.MAX_DESCRIPTION]),
        token_word._pack_policy(FIRST_STAKE_RATIO, FIRST_REWARD_RATIO),
    )


@external
@view
def predictWorkerpool(
    _workerpoolOwner: address, _workerpoolDescription: String[limits.MAX_DESCRIPTION]
) -> address:
    """
    @dev Where `createWorkerpool` with the same arguments puts the workerpool.
    """
    return registry._predict(self._workerpool_salt(_workerpoolOwner, _workerpoolDescription))


@external
def setPolicy(stake_ratio: uint256, reward_ratio: uint256) -> (uint256, uint256):
    """
    @dev Set the policy of the calling workerpool; its `changePolicy` has asked for its owner. A ratio that does not fit
         reverts without data.
    @return Stake ratio and reward ratio before.
    """
    token_id: uint256 = convert(msg.sender, uint256)
    word: uint256 = erc721._existing_word(token_id)
    erc721._words[token_id] = token_word._with_policy(word, token_word._pack_policy(stake_ratio, reward_ratio))
    return token_word._stake_ratio(word), token_word._reward_ratio(word)


@internal
@pure
def _workerpool_salt(pool_owner: address, description: String[limits.MAX_DESCRIPTION]) -> bytes32:
    return registry._salt(
        abi_encode(description, method_id=method_id("initialize(string)")),
        pool_owner,
    )
