# pragma version ==0.4.3
"""
@title Packing: named getters and setters of every packed word
@license Apache-2.0
@notice Nobody else shifts or masks. Setters revert (without data) on a value that does not fit, so a field can never
        spill into its neighbour; a property test writes every field at random and reads all of them back.
        Bit ranges below are [low, high].

@dev account       balance [0,95] · frozen [96,191] · score [192,255]
     task          status [0,2] · contributors [3,9] · winners [10,16] · revealed [17,23] · groups [24,30]
                   · consensus group [31,36] · reveal deadline [37,74] · count [75,94] · materialised [95]
                   · offset [96,127] · deal key [128,255]
     contribution  status [0,1] · group [2,7] · has challenge [8] · spare [9,15] · weight [16,79] · spare [80,95]
                   · worker [96,255]
     category      time reference [0,31] · exists [255]
     lane          cursor [0,31] · refunded [32]          (of the batch lane; see decision 18)
     pair          number [0,95] · address [96,255]       (used by the records of `deals.vy`)
"""

from . import types

MASK_7: constant(uint256) = 2**7 - 1
MASK_20: constant(uint256) = 2**20 - 1
MASK_32: constant(uint256) = 2**32 - 1
MASK_38: constant(uint256) = 2**38 - 1
MASK_64: constant(uint256) = 2**64 - 1
MASK_96: constant(uint256) = 2**96 - 1
MASK_160: constant(uint256) = 2**160 - 1

# ── account ────────────────────────────────────────────────────────────────────────────────────────────────────────

@internal
@pure
def account_balance(word: uint256) -> uint256:
    return word & MASK_96


@internal
@pure
def account_frozen(word: uint256) -> uint256:
    return (word >> 96) & MASK_96


@internal
@pure
def account_score(word: uint256) -> uint256:
    return word >> 192


@internal
@pure
def account(balance: uint256, frozen: uint256, score: uint256) -> uint256:
    """
    @dev Reverts if a field does not fit. All balances together are at most 2^96 - 1 (`escrow.mint` refuses more).
    """
    assert balance <= MASK_96
    assert frozen <= MASK_96
    assert score <= MASK_64
    return balance | (frozen << 96) | (score << 192)


# ── task ───────────────────────────────────────────────────────────────────────────────────────────────────────────

struct TaskFields:
    status: uint256
    contributors: uint256  # how many contributed, in all rounds
    winners: uint256  # how many of them agree with the consensus
    revealed: uint256
    groups: uint256  # how many different result hashes were contributed
    consensus_group: uint256  # which of them won; meaningful while winners > 0
    reveal_deadline: uint256
    count: uint256  # tasks of a run of the batch lane; 0 if this is a task
    materialised: bool  # a task that was settled in a run, and whose digest was proved afterwards
    offset: uint256  # idx - botFirst; of a run, that of its first task
    deal_key: uint256  # upper 128 bits of the deal id


@internal
@pure
def task_status(word: uint256) -> uint256:
    return word & 7


@internal
@pure
def task_contributors(word: uint256) -> uint256:
    return (word >> 3) & MASK_7


@internal
@pure
def task_count(word: uint256) -> uint256:
    return (word >> 75) & MASK_20


@internal
@pure
def task_deal_key(word: uint256) -> uint256:
    return word >> 128


@internal
@pure
def with_task_status(word: uint256, status: uint256) -> uint256:
    """
    @dev The word with another status and everything else unchanged.
    """
    assert status <= 7
    return ((word >> 3) << 3) | status


@internal
@pure
def unpack_task(word: uint256) -> TaskFields:
    return TaskFields(
        status=word & 7,
        contributors=(word >> 3) & MASK_7,
        winners=(word >> 10) & MASK_7,
        revealed=(word >> 17) & MASK_7,
        groups=(word >> 24) & MASK_7,
        consensus_group=(word >> 31) & 63,
        reveal_deadline=(word >> 37) & MASK_38,
        count=(word >> 75) & MASK_20,
        materialised=(word >> 95) & 1 == 1,
        offset=(word >> 96) & MASK_32,
        deal_key=word >> 128,
    )


@internal
@pure
def pack_task(fields: TaskFields) -> uint256:
    """
    @dev Reverts if a field does not fit.
    """
    assert fields.status <= 7
    assert fields.contributors <= MASK_7
    assert fields.winners <= MASK_7
    assert fields.revealed <= MASK_7
    assert fields.groups <= MASK_7
    assert fields.consensus_group <= 63
    assert fields.reveal_deadline <= MASK_38
    assert fields.count <= MASK_20
    assert fields.offset <= MASK_32
    assert fields.deal_key >> 128 == 0
    return (
        fields.status
        | (fields.contributors << 3)
        | (fields.winners << 10)
        | (fields.revealed << 17)
        | (fields.groups << 24)
        | (fields.consensus_group << 31)
        | (fields.reveal_deadline << 37)
        | (fields.count << 75)
        | (convert(fields.materialised, uint256) << 95)
        | (fields.offset << 96)
        | (fields.deal_key << 128)
    )


# ── contribution ───────────────────────────────────────────────────────────────────────────────────────────────────

@internal
@pure
def contribution_status(word: uint256) -> uint256:
    return word & 3


@internal
@pure
def contribution_group(word: uint256) -> uint256:
    return (word >> 2) & 63


@internal
@pure
def contribution_has_challenge(word: uint256) -> bool:
    return (word >> 8) & 1 == 1


@internal
@pure
def contribution_weight(word: uint256) -> uint256:
    """
    @dev The worker's weight when it contributed (not its logarithm). Zero if it had no say in a consensus.
    """
    return (word >> 16) & MASK_64


@internal
@pure
def contribution_worker(word: uint256) -> address:
    return convert(word >> 96, address)


@internal
@pure
def contribution(status: uint256, group: uint256, has_challenge: bool, weight: uint256, worker: address) -> uint256:
    """
    @dev Reverts if a field does not fit.
    """
    assert status <= 3
    assert group <= 63
    assert weight <= MASK_64
    return (
        status
        | (group << 2)
        | (convert(has_challenge, uint256) << 8)
        | (weight << 16)
        | (convert(worker, uint256) << 96)
    )


@internal
@pure
def with_contribution_status(word: uint256, status: uint256) -> uint256:
    """
    @dev The word with another status and everything else unchanged.
    """
    assert status <= 3
    return ((word >> 2) << 2) | status


# ── category ───────────────────────────────────────────────────────────────────────────────────────────────────────

@internal
@pure
def category(time_reference: uint256) -> uint256:
    """
    @dev The word of an existing category. Time references are below 2^32 seconds (136 years): a bound of ours.
    """
    assert time_reference <= MASK_32
    return time_reference | (1 << 255)


@internal
@pure
def category_exists(word: uint256) -> bool:
    return word >> 255 == 1


@internal
@pure
def category_time_reference(word: uint256) -> uint256:
    return word & MASK_32


# ── lane ───────────────────────────────────────────────────────────────────────────────────────────────────────────

@internal
@pure
def lane(cursor: uint256, refunded: bool) -> uint256:
    assert cursor <= MASK_32
    return cursor | (convert(refunded, uint256) << 32)


@internal
@pure
def lane_cursor(word: uint256) -> uint256:
    """
    @dev The frontier of a deal in the batch lane: each task below this offset was opened exactly once, in one of the lanes; no
         task from it on ever was.
    """
    return word & MASK_32


@internal
@pure
def lane_refunded(word: uint256) -> bool:
    """
    @dev True once the rest of the deal was refunded by the batch lane.
    """
    return (word >> 32) & 1 == 1


# ── pair ───────────────────────────────────────────────────────────────────────────────────────────────────────────

@internal
@pure
def pair(party: address, number: uint256) -> uint256:
    assert number <= MASK_96
    return (convert(party, uint256) << 96) | number


@internal
@pure
def pair_address(word: uint256) -> address:
    return convert(word >> 96, address)


@internal
@pure
def pair_number(word: uint256) -> uint256:
    return word & MASK_96
