"""Whose worker this is: its own, or a cold owner's behind a role account (decisions 21 and 49).

With a role account the chain's worker is the account: it stakes, is paid and keeps the score, and only its owner takes
money out. The key on the machine is its operator, pays the gas and can do no more than the work. ``owner.json`` in the
worker's folder is the owner's signed word; it holds no secret.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from fairgrid.chain.interface import Chain
from fairgrid.errors import OrderError, UsageError
from fairgrid.protocol.hexes import checksum, from_hex
from fairgrid.protocol.seals import recover_typed_data_signer
from fairgrid.protocol.typed_data import Domain, enrolment_typed_data, typed_data_hash
from fairgrid.wallet.signer import Signer

__all__ = [
    "OWNER_NAME",
    "Ownership",
    "check_ownership",
    "load_ownership",
    "own_key",
    "save_ownership",
    "sign_ownership",
]

OWNER_NAME: Final = "owner.json"
_KEYS: Final = {"owner": "owner", "worker": "worker", "workerpool": "workerpool", "chainId": "chain_id", "hub": "hub"}


@dataclass(frozen=True, slots=True)
class Ownership:
    """An owner's enrolment of a worker at a workerpool. ``signature`` is EIP-712, by the owner."""

    owner: str
    worker: str
    """Who contributes on chain: the key itself, or its role account."""
    workerpool: str
    chain_id: int
    hub: str
    signature: str

    def entry(self, key: str) -> str:
        """Where the key sends its calls of the hub: the hub itself, or the role account, which passes them on."""
        return self.hub if self.worker == key else self.worker


def sign_ownership(signer: Signer, worker: str, workerpool: str, *, chain_id: int, hub: str) -> Ownership:
    """Let ``signer``, the owner, enrol ``worker`` at ``workerpool``."""
    document = enrolment_typed_data(signer.address, worker, workerpool, Domain(chain_id, hub))
    signature = signer.sign_typed_data(document)
    return Ownership(signer.address, checksum(worker), checksum(workerpool), chain_id, checksum(hub), signature)


def own_key(signer: Signer, workerpool: str, *, chain_id: int, hub: str) -> Ownership:
    """A worker that is its own owner."""
    return sign_ownership(signer, signer.address, workerpool, chain_id=chain_id, hub=hub)


def save_ownership(ownership: Ownership, path: Path) -> None:
    """Write ``owner.json``, in one step.

    Raises:
        UsageError: it cannot be written.
    """
    values = asdict(ownership)
    document = {key: values[name] for key, name in _KEYS.items()} | {"signature": ownership.signature}
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(json.dumps(document, indent=2) + "\n")
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error}). Name another file with --out.") from error


def load_ownership(path: Path) -> Ownership:
    """Read ``owner.json``.

    Raises:
        UsageError: it cannot be read, or is something else.
    """
    remedy = "Let the owner run `fairgrid worker enrol` again and copy its file here."
    try:
        document = json.loads(path.read_text())
        owner, worker, workerpool, hub = (checksum(document[key]) for key in ("owner", "worker", "workerpool", "hub"))
        chain_id, signature = document["chainId"], document["signature"]
        if type(chain_id) is not int or not from_hex(signature):
            raise ValueError("chain id or signature has another form")
    except (OSError, ValueError, KeyError, TypeError, OrderError) as error:
        raise UsageError(f"The owner's enrolment {path} cannot be used ({error}). {remedy}") from error
    return Ownership(owner, worker, workerpool, chain_id, hub, signature)


async def check_ownership(ownership: Ownership, chain: Chain, *, key: str, workerpool: str) -> None:
    """Hold an enrolment against the chain before anything is staked on it.

    Raises:
        ServiceUnavailable: the chain does not answer.
        UsageError: it is for another network or pool, its account is no role account of this owner with this key as
            worker, or its signature is not the owner's.
    """
    if (ownership.chain_id, ownership.hub) != (chain.chain_id, chain.hub):
        raise UsageError(
            f"The owner enrolled this worker on chain {ownership.chain_id} with hub {ownership.hub}; its network is "
            f"chain {chain.chain_id} with hub {chain.hub}. Enrol it for this one."
        )
    if ownership.workerpool != workerpool:
        raise UsageError(f"The owner enrolled this worker at {ownership.workerpool}, not at {workerpool}.")
    account = await chain.view_role_account(ownership.worker)
    if account is None:
        raise UsageError(f"There is no role account at {ownership.worker}. `fairgrid worker enrol --create` makes one.")
    if account.owner != ownership.owner:
        raise UsageError(f"The role account {ownership.worker} belongs to {account.owner}, not to {ownership.owner}.")
    if account.operator != key or not account.may_work:
        raise UsageError(
            f"The role account {ownership.worker} does not let {key} work (its operator is {account.operator}, roles "
            f"{account.roles}). The owner calls setOperator({key}, 1) on it."
        )
    document = enrolment_typed_data(
        ownership.owner, ownership.worker, workerpool, Domain(ownership.chain_id, ownership.hub)
    )
    if recover_typed_data_signer(document, ownership.signature) != ownership.owner and not await chain.verify_signature(
        ownership.owner, typed_data_hash(document), ownership.signature
    ):
        raise UsageError(f"The enrolment was not signed by {ownership.owner}. Let the owner enrol this worker again.")
