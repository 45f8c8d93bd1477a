# pragma version ==0.4.3
"""
@title Deals: the immutable terms of a deal, written once as a record (`blob.vy`)
@license Apache-2.0
@notice The record's salt is the deal key (upper 128 bits of the deal id); the other 128 bits are inside, and every function
        that is given a deal id compares them: two deal ids that share a key cannot be taken for one another.
@dev Layout, in bytes:
     0    app owner (20) · app price (12)
     32   pool owner (20) · pool price (12)
     64   pool (20) · start time (5) · bot size (4) · scheduler reward ratio (1) · flags (2)
     96   app (20) · trust (4) · category (3) · tag, low 32 bits (4) · spare (1)
     128  requester (20) · deal id, bits 32 to 127 (12)
     160  deal id, bits 0 to 31 (4) · bot first (8) · time reference (4) · worker stake ratio (4)
     180  dataset owner (20) · dataset price (12) · dataset (20)     if FLAG_DATASET
     …    sponsor (20)                                               if FLAG_SPONSOR, else the requester paid
     …    callback (20)                                              if FLAG_CALLBACK
     …    beneficiary (20)                                           if FLAG_BENEFICIARY
     …    tag (32)                                                   if FLAG_LONG_TAG, else the 32 bits above are all
     …    params, to the end
"""

from . import blob
from . import packing
from . import state
from . import types

uses: blob
uses: state

HEAD_SIZE: constant(uint256) = 180

FLAG_DATASET: constant(uint256) = 1
FLAG_SPONSOR: constant(uint256) = 2
FLAG_CALLBACK: constant(uint256) = 4
FLAG_BENEFICIARY: constant(uint256) = 8
FLAG_REQUESTER_IS_BENEFICIARY: constant(uint256) = 16
FLAG_LONG_TAG: constant(uint256) = 32
FLAG_BATCH_LANE: constant(uint256) = 64
FLAG_BOOST: constant(uint256) = 128


# The fixed part, as it is stored: words 0 to 4, then the 20 bytes at 160 as a number.
struct Head:
    location: address
    app_pay: uint256
    pool_pay: uint256
    pool_terms: uint256
    app_terms: uint256
    requester_id: uint256
    tail: uint256


# The terms of a new deal, all but its params.
struct Terms:
    app: types.Resource
    dataset: types.Resource
    workerpool: types.Resource
    trust: uint256
    category: uint256
    tag: uint256
    requester: address
    beneficiary: address
    callback: address
    sponsor: address
    start_time: uint256
    bot_first: uint256
    bot_size: uint256
    worker_stake_ratio: uint256
    scheduler_reward_ratio: uint256
    time_reference: uint256
    in_batch_lane: bool
    in_boost: bool


# What is only there if its flag is set. `params_start` is where the params begin.
struct Options:
    dataset_owner: address
    dataset_price: uint256
    dataset: address
    sponsor: address
    callback: address
    beneficiary: address
    tag: bytes32
    params_start: uint256


# ── Getters of the head ────────────────────────────────────────────────────────────────────────────────────────────

@internal
@pure
def app_owner(head: Head) -> address:
    return packing.pair_address(head.app_pay)


@internal
@pure
def app_price(head: Head) -> uint256:
    return packing.pair_number(head.app_pay)


@internal
@pure
def pool_owner(head: Head) -> address:
    return packing.pair_address(head.pool_pay)


@internal
@pure
def pool_price(head: Head) -> uint256:
    return packing.pair_number(head.pool_pay)


@internal
@pure
def pool(head: Head) -> address:
    return packing.pair_address(head.pool_terms)


@internal
@pure
def start_time(head: Head) -> uint256:
    return (head.pool_terms >> 56) & (2**40 - 1)


@internal
@pure
def bot_size(head: Head) -> uint256:
    return (head.pool_terms >> 24) & (2**32 - 1)


@internal
@pure
def scheduler_reward_ratio(head: Head) -> uint256:
    return (head.pool_terms >> 16) & (2**8 - 1)


@internal
@pure
def flags(head: Head) -> uint256:
    return head.pool_terms & (2**16 - 1)


@internal
@pure
def app(head: Head) -> address:
    return packing.pair_address(head.app_terms)


@internal
@pure
def trust(head: Head) -> uint256:
    return (head.app_terms >> 64) & (2**32 - 1)


@internal
@pure
def category(head: Head) -> uint256:
    return (head.app_terms >> 40) & (2**24 - 1)


@internal
@pure
def low_tag(head: Head) -> uint256:
    """
    @dev The low 32 bits of the tag: all the bits that the protocol itself looks at.
    """
    return (head.app_terms >> 8) & (2**32 - 1)


@internal
@pure
def requester(head: Head) -> address:
    return packing.pair_address(head.requester_id)


@internal
@pure
def id_low(head: Head) -> uint256:
    """
    @dev The lower 128 bits of the deal id.
    """
    return (packing.pair_number(head.requester_id) << 32) | (head.tail >> 128)


@internal
@pure
def bot_first(head: Head) -> uint256:
    return (head.tail >> 64) & (2**64 - 1)


@internal
@pure
def time_reference(head: Head) -> uint256:
    return (head.tail >> 32) & (2**32 - 1)


@internal
@pure
def worker_stake_ratio(head: Head) -> uint256:
    return head.tail & (2**32 - 1)


@internal
@pure
def worker_stake(head: Head) -> uint256:
    """
    @dev What a worker locks for one task: floor(pool price × ratio / 100).
    """
    return packing.pair_number(head.pool_pay) * (head.tail & (2**32 - 1)) // 100


@internal
@pure
def pool_stake(head: Head) -> uint256:
    """
    @dev What the pool's owner locks for one task: floor(pool price × 30 / 100).
    """
    return packing.pair_number(head.pool_pay) * types.WORKERPOOL_STAKE_RATIO // 100


@internal
@pure
def contribution_deadline(head: Head) -> uint256:
    return self.start_time(head) + types.CONTRIBUTION_DEADLINE_RATIO * self.time_reference(head)


@internal
@pure
def final_deadline(head: Head) -> uint256:
    return self.start_time(head) + types.FINAL_DEADLINE_RATIO * self.time_reference(head)


# ── Identifiers ────────────────────────────────────────────────────────────────────────────────────────────────────

@internal
@pure
def key_of(deal_id: bytes32) -> uint256:
    """
    @dev The upper 128 bits of a deal id.
    """
    return convert(deal_id, uint256) >> 128


@internal
@pure
def id_of(key: uint256, head: Head) -> bytes32:
    return convert((key << 128) | self.id_low(head), bytes32)


# ── Reading ────────────────────────────────────────────────────────────────────────────────────────────────────────

@internal
@view
def load(key: uint256) -> Head:
    """
    @dev The head of a deal that is known to exist. Reverts without data if it does not.
    """
    location: address = blob.location_of(convert(key, bytes32))
    data: Bytes[HEAD_SIZE] = slice(location.code, 1, HEAD_SIZE)
    return Head(
        location=location,
        app_pay=extract32(data, 0, output_type=uint256),
        pool_pay=extract32(data, 32, output_type=uint256),
        pool_terms=extract32(data, 64, output_type=uint256),
        app_terms=extract32(data, 96, output_type=uint256),
        requester_id=extract32(data, 128, output_type=uint256),
        tail=extract32(data, 148, output_type=uint256) & (2**160 - 1),
    )


@internal
@view
def find(deal_id: bytes32) -> Head:
    """
    @dev The head of this very deal, or an empty head (location zero) if there is none.
    """
    key: uint256 = self.key_of(deal_id)
    if blob.location_of(convert(key, bytes32)).codesize == 0:
        return empty(Head)
    head: Head = self.load(key)
    if self.id_of(key, head) != deal_id:
        return empty(Head)
    return head


@internal
@view
def find_classic(deal_id: bytes32) -> Head:
    """
    @dev The same, but deals of boost are none: classic functions and views know nothing of them.
    """
    head: Head = self.find(deal_id)
    if self.flags(head) & FLAG_BOOST != 0:
        return empty(Head)
    return head


@internal
@view
def find_boost(deal_id: bytes32) -> Head:
    """
    @dev The same, but only deals of boost are any.
    """
    head: Head = self.find(deal_id)
    if self.flags(head) & FLAG_BOOST == 0:
        return empty(Head)
    return head


@internal
@view
def options(head: Head) -> Options:
    """
    @dev The optional part, with the values that an absent field stands for.
    """
    present: uint256 = self.flags(head)
    position: uint256 = 1 + HEAD_SIZE
    found: Options = empty(Options)
    if present & FLAG_DATASET != 0:
        word: uint256 = convert(slice(head.location.code, position, 32), uint256)
        found.dataset_owner = packing.pair_address(word)
        found.dataset_price = packing.pair_number(word)
        found.dataset = self._address_at(head.location, position + 32)
        position += 52
    found.sponsor = self.requester(head)
    if present & FLAG_SPONSOR != 0:
        found.sponsor = self._address_at(head.location, position)
        position += 20
    if present & FLAG_CALLBACK != 0:
        found.callback = self._address_at(head.location, position)
        position += 20
    if present & FLAG_BENEFICIARY != 0:
        found.beneficiary = self._address_at(head.location, position)
        position += 20
    elif present & FLAG_REQUESTER_IS_BENEFICIARY != 0:
        found.beneficiary = self.requester(head)
    found.tag = convert(self.low_tag(head), bytes32)
    if present & FLAG_LONG_TAG != 0:
        found.tag = convert(slice(head.location.code, position, 32), bytes32)
        position += 32
    found.params_start = position - 1
    return found


@internal
@view
def _address_at(location: address, position: uint256) -> address:
    return convert(convert(slice(location.code, position, 20), bytes20), address)


@internal
@view
def consumed_by_request(request_hash: bytes32) -> uint256:
    """
    @dev Units of a request order that are consumed. An order that its first deal filled has no entry of its own
         (20,000 gas saved): the deal that starts at unit 0 says how many it took. If there is such a deal and still no
         entry, that deal took everything.
    """
    consumed: uint256 = state.consumed[request_hash]
    if consumed != 0:
        return consumed
    return self.bot_size(self.find(keccak256(concat(request_hash, empty(bytes32)))))


# ── Writing ────────────────────────────────────────────────────────────────────────────────────────────────────────

@internal
def write(deal_id: bytes32, terms: Terms, params: String[types.MAX_PARAMS]):
    """
    @notice Writes the deal, once and for ever.
    @dev Reverts without data if a field does not fit (prices 96 bits; trust, stake ratio and time reference 32; category 24) or if
         the record exists.
    """
    assert terms.trust < 2**32
    assert terms.category < 2**24
    assert terms.worker_stake_ratio < 2**32
    assert terms.time_reference < 2**32
    assert terms.scheduler_reward_ratio <= 100
    assert terms.bot_size < 2**32
    assert terms.bot_first < 2**64
    assert terms.start_time < 2**40
    id_low: uint256 = convert(deal_id, uint256) & (2**128 - 1)

    present: uint256 = 0
    dataset_part: Bytes[52] = b""
    sponsor_part: Bytes[20] = b""
    callback_part: Bytes[20] = b""
    beneficiary_part: Bytes[20] = b""
    tag_part: Bytes[32] = b""
    if terms.dataset.pointer != empty(address):
        present |= FLAG_DATASET
        dataset_part = concat(
            convert(packing.pair(terms.dataset.owner, terms.dataset.price), bytes32),
            convert(terms.dataset.pointer, bytes20),
        )
    if terms.sponsor != terms.requester:
        present |= FLAG_SPONSOR
        sponsor_part = concat(convert(terms.sponsor, bytes20), b"")
    if terms.callback != empty(address):
        present |= FLAG_CALLBACK
        callback_part = concat(convert(terms.callback, bytes20), b"")
    if terms.beneficiary == terms.requester:
        present |= FLAG_REQUESTER_IS_BENEFICIARY
    elif terms.beneficiary != empty(address):
        present |= FLAG_BENEFICIARY
        beneficiary_part = concat(convert(terms.beneficiary, bytes20), b"")
    if terms.tag >> 32 != 0:
        present |= FLAG_LONG_TAG
        tag_part = concat(convert(terms.tag, bytes32), b"")
    if terms.in_batch_lane:
        present |= FLAG_BATCH_LANE
    if terms.in_boost:
        present |= FLAG_BOOST
    pool_terms: uint256 = (
        (terms.start_time << 56) | (terms.bot_size << 24) | (terms.scheduler_reward_ratio << 16) | present
    )
    app_terms: uint256 = (terms.trust << 64) | (terms.category << 40) | ((terms.tag & (2**32 - 1)) << 8)
    tail: uint256 = (
        ((id_low & (2**32 - 1)) << 128)
        | (terms.bot_first << 64)
        | (terms.time_reference << 32)
        | terms.worker_stake_ratio
    )

    state.blob = concat(
        convert(packing.pair(terms.app.owner, terms.app.price), bytes32),
        convert(packing.pair(terms.workerpool.owner, terms.workerpool.price), bytes32),
        convert(packing.pair(terms.workerpool.pointer, pool_terms), bytes32),
        convert(packing.pair(terms.app.pointer, app_terms), bytes32),
        convert(packing.pair(terms.requester, id_low >> 32), bytes32),
        convert(convert(tail, uint160), bytes20),
        dataset_part,
        sponsor_part,
        callback_part,
        beneficiary_part,
        tag_part,
        convert(params, Bytes[types.MAX_PARAMS]),
    )
    blob.create(convert(self.key_of(deal_id), bytes32))
