# pragma version ==0.4.3
"""
@title Limits of entries
@license Apache-2.0
@dev Longest texts and byte strings that a registry accepts, in bytes; a longer one reverts without data.
     An entry keeps them as its own code, which the chain bounds to 24,576 bytes.
"""

MAX_NAME: constant(uint256) = 256
MAX_TYPE: constant(uint256) = 64
MAX_MULTIADDR: constant(uint256) = 1024
MAX_MRENCLAVE: constant(uint256) = 1024
MAX_DESCRIPTION: constant(uint256) = 1024
