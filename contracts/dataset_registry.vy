# pragma version ==0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Registry of datasets
@license Apache-2.0
@dev Creates datasets and keeps who owns them (ERC-721). See `lib/registry.vy` for how entries are made.
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

name: public(constant(String[28])) = "iExec Dataset Registry (V5)"
symbol: public(constant(String[16])) = "iExecDatasetsV5"


@deploy
def __init__(registry_owner: address, entry_initcode: Bytes[registry.MAX_ENTRY_INITCODE]):
    """
    @param registry_owner Who may set the base URI and the older registry.
    @param entry_initcode Creates the dataset that all others delegate to.
    """
    owned.__init__(registry_owner)
    erc721.__init__()
    registry.__init__(entry_initcode)


@external
def createDataset(
    _datasetOwner: address,
    _datasetName: String[limits.MAX_NAME],
    _datasetMultiaddr: Bytes[limits.MAX_MULTIADDR],
    _datasetChecksum: bytes32,
) -> address:
    """
    @dev Create a dataset for anybody. The same content and owner name the same address, so a second time is refused.
    @return The dataset's address, which is also its token's number.
    """
    lengths: uint256 = (len(_datasetName) << 16) | len(_datasetMultiaddr)
    metadata: Bytes[registry.MAX_METADATA] = concat(
        convert(_datasetName, Bytes[limits.MAX_NAME]),
        _datasetMultiaddr,
        _datasetChecksum,
        convert(convert(lengths, uint32), bytes4),
    )
    salt: bytes32 = self._dataset_salt(_datasetOwner, _datasetName, _datasetMultiaddr, _datasetChecksum)
    return registry._create(salt, _datasetOwner, metadata, 0)


@external
@view
def predictDataset(
    _datasetOwner: address,
    _datasetName: String[limits.MAX_NAME],
    _datasetMultiaddr: Bytes[limits.MAX_MULTIADDR],
    _datasetChecksum: bytes32,
) -> address:
    """
    @dev Where `createDataset` with the same arguments puts the dataset.
    """
    return registry._predict(
        self._dataset_salt(_datasetOwner, _datasetName, _datasetMultiaddr, _datasetChecksum)
    )


@internal
@pure
def _dataset_salt(
    dataset_owner: address,
    dataset_name: String[limits.MAX_NAME],
    multiaddr: Bytes[limits.MAX_MULTIADDR],
    checksum: bytes32,
) -> bytes32:
    return registry._salt(
        abi_encode(
            dataset_name,
            multiaddr,
            checksum,
            method_id=method_id("initialize(string,bytes,bytes32)"),
        ),
        dataset_owner,
    )
