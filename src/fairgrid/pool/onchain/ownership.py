"""Whose workerpool it is: before anything is sent in its name."""

from __future__ import annotations

from fairgrid.chain.interface import Chain
from fairgrid.errors import UsageError
from fairgrid.protocol.views import WorkerpoolInfo
from fairgrid.wallet.signer import Signer

__all__ = ["check_ownership"]


async def check_ownership(chain: Chain, workerpool: str, signer: Signer) -> WorkerpoolInfo:
    """Make sure that this key may authorise and finalize for the workerpool; gives the workerpool's terms.

    Raises:
        UsageError: there is no such workerpool, or another account owns it.
        ServiceUnavailable: the chain does not answer.
    """
    if not await chain.is_registered("workerpool", workerpool):
        raise UsageError(
            f"There is no workerpool at {workerpool} on the hub {chain.hub}. Register one, and name it in the network "
            f"file as poolAddress."
        )
    info = await chain.view_workerpool(workerpool)
    if info.owner != signer.address:
        raise UsageError(
            f"The workerpool {workerpool} belongs to {info.owner}, but the key in this pool's folder is "
            f"{signer.address}. Put the owner's keystore into --dir, or name a workerpool of {signer.address} in the "
            f"network file."
        )
    return info
