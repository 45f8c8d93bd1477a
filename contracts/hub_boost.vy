# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Fairgrid hub, facet of boost
@license Apache-2.0
@notice The fast path for deals of trust 1 (`PocoBoost`): a match and one push of the result, without worker stake or reveal.
        Runs by delegatecall in the storage of the hub (`hub.vy`).
@dev Who can stop it: nobody.
"""

from .lib import state

initializes: state


@deploy
def __init__():
    pass


@external
@payable
def __default__():
    """
    @notice What this facet does not know is refused.
    """
    raise "fallback-disabled"
