# pragma version ==0.4.3
"""
@title Callbacks: results pushed to the contract that a deal names (ERC-1154)
@license Apache-2.0
@notice The only call of the hub that could re-enter it. Whoever uses it does so last, when everything is written and logged.
"""

from . import state
from . import types

uses: state


@internal
@pure
def check_data(callback: address, data: Bytes[types.MAX_RESULT], digest: bytes32):
    """
    @dev A deal with a callback demands the very bytes whose hash was agreed on; without, they may be left out.
         Reverts without data.
    """
    if callback != empty(address) or len(data) != 0:
        assert keccak256(data) == digest


@internal
def push(callback: address, task_id: bytes32, data: Bytes[types.MAX_RESULT]):
    """
    @notice Calls `receiveResult`, if there is a callback, with the gas that the hub's owner set.
    @dev Whether it succeeds is the callback's own affair. Reverts without data if it got less than its gas.
    """
    if callback != empty(address):
        assert self.call(callback, task_id, data)


@internal
def call(callback: address, task_id: bytes32, data: Bytes[types.MAX_RESULT]) -> bool:
    """
    @notice The same, of a callback that there is.
    @return False if it got less than its gas: then the caller must revert.
    """
    callback_gas: uint256 = state.callback_gas
    success: bool = raw_call(
        callback,
        abi_encode(task_id, data, method_id=method_id("receiveResult(bytes32,bytes)")),
        gas=callback_gas,
        revert_on_failure=False,
    )
    # Nobody can starve the callback: had it got less than its gas, less than this would be left.
    return msg.gas > callback_gas // 63
