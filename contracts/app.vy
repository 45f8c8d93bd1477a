# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title App
@license Apache-2.0
@dev An application of the registry of apps: what runs, and how its origin is checked. Layout of the metadata:
     name ‖ type ‖ multiaddr ‖ mrenclave ‖ checksum (32) ‖ lengths of name, type, multiaddr, mrenclave (2 each)
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
    _appName: String[limits.MAX_NAME],
    _appType: String[limits.MAX_TYPE],
    _appMultiaddr: Bytes[limits.MAX_MULTIADDR],
    _appChecksum: bytes32,
    _appMREnclave: Bytes[limits.MAX_MRENCLAVE],
):
    """
    @dev The call that names an app in its address. Entries are born with their metadata, so it is always refused.
    """
    raise "already initialized"


@external
@view
def m_appName() -> String[entry.MAX_FIELD]:
    """
    @dev The app's name.
    """
    lengths: uint256 = entry._trailer()
    return entry._text(0, self._name_length(lengths))


@external
@view
def m_appType() -> String[entry.MAX_FIELD]:
    """
    @dev How the app is run, such as `DOCKER` or `WASM`.
    """
    lengths: uint256 = entry._trailer()
    return entry._text(self._name_length(lengths), self._type_length(lengths))


@external
@view
def m_appMultiaddr() -> Bytes[entry.MAX_FIELD]:
    """
    @dev Where the app is found.
    """
    lengths: uint256 = entry._trailer()
    return entry._field(self._name_length(lengths) + self._type_length(lengths), self._multiaddr_length(lengths))


@external
@view
def m_appMREnclave() -> Bytes[entry.MAX_FIELD]:
    """
    @dev What an enclave that runs the app attests; empty for an app without one.
    """
    lengths: uint256 = entry._trailer()
    return entry._field(
        self._name_length(lengths) + self._type_length(lengths) + self._multiaddr_length(lengths), self._mrenclave_length(lengths)
    )


@external
@view
def m_appChecksum() -> bytes32:
    """
    @dev Checksum of what stands at the multiaddr.
    """
    return entry._word(entry._size() - 40)


@internal
@pure
def _name_length(lengths: uint256) -> uint256:
    return (lengths >> 48) & entry.LENGTH


@internal
@pure
def _type_length(lengths: uint256) -> uint256:
    return (lengths >> 32) & entry.LENGTH


@internal
@pure
def _multiaddr_length(lengths: uint256) -> uint256:
    return (lengths >> 16) & entry.LENGTH


@internal
@pure
def _mrenclave_length(lengths: uint256) -> uint256:
    return lengths & entry.LENGTH
