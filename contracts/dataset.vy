# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Dataset
@license Apache-2.0
@dev An encrypted or plain data set of the registry of datasets. Layout of the metadata:
     name ‖ multiaddr ‖ checksum (32) ‖ lengths of name, multiaddr (2 each)
"""

from .lib import entry
from .lib import limits

initializes: entry

exports: entry.__interface__


@deploy
def __init__():
    entry.__init__()


@external
def initialize(
    _datasetName: String[limits.MAX_NAME],
    _datasetMultiaddr: Bytes[limits.MAX_MULTIADDR],
    _datasetChecksum: bytes32,
):
    """
    @dev The call that names a dataset in its address. Entries are born with their metadata, so it is always refused.
    """
    raise "already initialized"


@external
@view
def m_datasetName() -> String[entry.MAX_FIELD]:
    """
    @dev The dataset's name.
    """
    return entry._text(0, self._name_length(entry._trailer()))


@external
@view
def m_datasetMultiaddr() -> Bytes[entry.MAX_FIELD]:
    """
    @dev Where the dataset is found.
    """
    lengths: uint256 = entry._trailer()
    return entry._field(self._name_length(lengths), lengths & entry.LENGTH)


@external
@view
def m_datasetChecksum() -> bytes32:
    """
    @dev Checksum of what stands at the multiaddr.
    """
    return entry._word(entry._size() - 36)


@internal
@pure
def _name_length(lengths: uint256) -> uint256:
    return (lengths >> 16) & entry.LENGTH
