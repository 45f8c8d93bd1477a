# pragma version ==0.4.3
"""
@title Deal views: what is shown of deals
@license Apache-2.0
"""

from . import blob
from . import deals
from . import types


@internal
@view
def deal_of(id: bytes32) -> types.Deal:
    """
    @dev All zero if there is no such deal, or if it is one of boost.
    """
    head: deals.Head = deals.find_classic(id)
    if head.location == empty(address):
        return empty(types.Deal)
    options: deals.Options = deals.options(head)
    return types.Deal(
        app=types.Resource(pointer=deals.app(head), owner=deals.app_owner(head), price=deals.app_price(head)),
        dataset=types.Resource(
            pointer=options.dataset, owner=options.dataset_owner, price=options.dataset_price
        ),
        workerpool=types.Resource(
            pointer=deals.pool(head), owner=deals.pool_owner(head), price=deals.pool_price(head)
        ),
        trust=deals.trust(head),
        category=deals.category(head),
        tag=options.tag,
        requester=deals.requester(head),
        beneficiary=options.beneficiary,
        callback=options.callback,
        params=convert(
            convert(
                blob.read(
                    head.location,
                    options.params_start,
                    head.location.codesize - 1 - options.params_start,
                ),
                Bytes[types.MAX_PARAMS],
            ),
            String[types.MAX_PARAMS],
        ),
        startTime=deals.start_time(head),
        botFirst=deals.bot_first(head),
        botSize=deals.bot_size(head),
        workerStake=deals.worker_stake(head),
        schedulerRewardRatio=deals.scheduler_reward_ratio(head),
        sponsor=options.sponsor,
    )
