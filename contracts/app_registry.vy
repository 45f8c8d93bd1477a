# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Registry of apps
@license Apache-2.0
@dev Creates apps and keeps who owns them (ERC-721). See `lib/registry.vy` for how entries are made.
"""

from .lib import erc721
from .lib import limits
from .lib import owned
from .lib import registry

initializes: owned
initializes: erc721
initializes: registry[owned := owned, erc721 := erc721]

exports: owned.__interface__
exports: erc721.__interface__
exports: registry.__interface__

name: public(constant(String[32])) = "iExec Application Registry (V5)"
symbol: public(constant(String[16])) = "iExecAppsV5"


@deploy
def __init__(registry_owner: address, entry_initcode: Bytes[registry.MAX_ENTRY_INITCODE]):
    """
    @param registry_owner Who may set the base URI and the older registry.
    @param entry_initcode Creates the app that all others delegate to.
    """
    owned.__init__(registry_owner)
    erc721.__init__()
    registry.__init__(entry_initcode)


@external
def createApp(
    _appOwner: address,
    _appName: String[limits.MAX_NAME],
    _appType: String[limits.MAX_TYPE],
    _appMultiaddr: Bytes[limits.MAX_MULTIADDR],
    _appChecksum: bytes32,
    _appMREnclave: Bytes[limits.MAX_MRENCLAVE],
) -> address:
    """
    @dev Create an app for anybody. The same content and owner name the same address, so a second time is refused.
    @return The app's address, which is also its token's number.
    """
    lengths: uint256 = (
        (len(_appName) << 48) | (len(_appType) << 32) | (len(_appMultiaddr) << 16) | len(_appMREnclave)
    )
    metadata: Bytes[registry.MAX_METADATA] = concat(
        convert(_appName, Bytes[limits.MAX_NAME]),
        convert(_appType, Bytes[limits.MAX_TYPE]),
        _appMultiaddr,
        _appMREnclave,
        _appChecksum,
        convert(convert(lengths, uint64), bytes8),
    )
    salt: bytes32 = self._app_salt(_appOwner, _appName, _appType, _appMultiaddr, _appChecksum, _appMREnclave)
    return registry._create(salt, _appOwner, metadata, 0)


@external
@view
def predictApp(
    _appOwner: address,
    _appName: String[limits.MAX_NAME],
    _appType: String[limits.MAX_TYPE],
    _appMultiaddr: Bytes[limits.MAX_MULTIADDR],
    _appChecksum: bytes32,
    _appMREnclave: Bytes[limits.MAX_MRENCLAVE],
) -> address:
    """
    @dev Where `createApp` with the same arguments puts the app.
    """
    return registry._predict(
        self._app_salt(_appOwner, _appName, _appType, _appMultiaddr, _appChecksum, _appMREnclave)
    )


@internal
@pure
def _app_salt(
    app_owner: address,
    app_name: String[limits.MAX_NAME],
    app_type: String[limits.MAX_TYPE],
    multiaddr: Bytes[limits.MAX_MULTIADDR],
    checksum: bytes32,
    mrenclave: Bytes[limits.MAX_MRENCLAVE],
) -> bytes32:
    return registry._salt(
        abi_encode(
            app_name,
            app_type,
            multiaddr,
            checksum,
            mrenclave,
            method_id=method_id("initialize(string,string,bytes,bytes32,bytes)"),
        ),
        app_owner,
    )
