# pragma version ==0.4.3
# pragma evm-version prague
"""
@title Deals and blobs of the hub, callable from a test; calls itself back as the hub does
"""

from ....contracts.lib import blob
from ....contracts.lib import deals
from ....contracts.lib import state
from ....contracts.lib import types

initializes: state
initializes: blob[state := state]
initializes: deals[blob := blob, state := state]


@external
@view
@raw_return
def blobData() -> Bytes[blob.MAX_BLOB]:
    return state.blob


@external
def store(salt: bytes32, data: Bytes[blob.MAX_BLOB]) -> address:
    state.blob = data
    blob.create(salt)
    return blob.location_of(salt)


@external
@view
def read(location: address, start: uint256, length: uint256) -> Bytes[blob.MAX_BLOB]:
    return blob.read(location, start, length)


@external
def write(deal_id: bytes32, terms: deals.Terms, params: String[types.MAX_PARAMS]):
    deals.write(deal_id, terms, params)


@external
@view
def find(deal_id: bytes32) -> (deals.Head, deals.Options):
    head: deals.Head = deals.find(deal_id)
    if head.location == empty(address):
        return head, empty(deals.Options)
    return head, deals.options(head)


@external
@view
def stakes(deal_id: bytes32) -> (uint256, uint256):
    head: deals.Head = deals.find(deal_id)
    return deals.worker_stake(head), deals.pool_stake(head)


@external
@view
def id_of(deal_id: bytes32) -> bytes32:
    return deals.id_of(deals.key_of(deal_id), deals.find(deal_id))
