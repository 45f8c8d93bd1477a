# pragma version ==0.4.3
"""
@title State: ALL storage of the hub
@license Apache-2.0
@notice The hub's code is spread over facets that run by delegatecall in the hub's own storage. They agree on it because
        every facet initialises this module first and declares no storage of its own; a test compares their layouts.
        New variables go at the end. The words are packed; only `packing.vy` knows their bits.
"""

# One word per account: balance, frozen, score (packing: account).
accounts: HashMap[address, uint256]

# SRLC in existence: the sum of all balances, the hub's own included.
total_supply: uint256

allowances: HashMap[address, HashMap[address, uint256]]

# order hash → who presigned it.
presigned: HashMap[bytes32, address]

# order hash → units consumed. A request order that one deal filled at once is NOT written here: its deal proves it
# (see `deals.consumed_by_request`).
consumed: HashMap[bytes32, uint256]

# deal key → frontier of a deal in the batch lane (packing: lane). Zero for every deal of the classic lane.
lanes: HashMap[uint256, uint256]

# task id or run id → the whole state machine of the task, or of the run, in one word (packing: task). The same ids are the keys
# of the four mappings that follow.
tasks: HashMap[bytes32, uint256]

# task id → one word per contributor, in order of arrival (packing: contribution).
contributions: HashMap[bytes32, uint256[64]]

# task id → seal of each contributor; cleared by the reveal, because it then follows from the digest.
seals: HashMap[bytes32, bytes32[64]]

# task id → enclave challenge of each contributor, written only if there is one.
challenges: HashMap[bytes32, address[64]]

# task id → result hash of each group of agreeing contributors. The first reveal replaces the winning group's hash by the
# digest, from which the hash follows. Of a materialised task: [0] its digest, [1] its run.
groups: HashMap[bytes32, bytes32[64]]

# category → existence and time reference (packing: category), and its texts.
categories: HashMap[uint256, uint256]
category_names: HashMap[uint256, String[256]]
category_descriptions: HashMap[uint256, String[256]]
category_count: uint256

owner: address
tee_broker: address
callback_gas: uint256

# worker → its score was taken over from the hub before this one.
imported_scores: HashMap[address, bool]

# The bytes of the write-once record being created; the record's init code calls back for them (`blob.vy`).
blob: transient(Bytes[4608])
