"""Who calls: a wallet proves itself by signing a challenge once."""

from __future__ import annotations

import secrets
import string
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from fairgrid.errors import OrderError
from fairgrid.market.refusals import Unauthorized
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum, hex32
from fairgrid.protocol.seals import recover_typed_data_signer
from fairgrid.protocol.typed_data import typed_data_hash
from fairgrid.seams.clock import Clock

__all__ = ["CHALLENGE_PREFIX", "Challenges", "SignedByContract", "challenge_typed_data"]

SignedByContract = Callable[[str, str, str], Awaitable[bool]]
"""Whether a contract's address says that a hash has its signature (0x-hex)."""

CHALLENGE_PREFIX: Final = "Sign this message to log into iExec Gateway: "

_ALPHABET = string.ascii_letters + string.digits
_NONCE_CHARACTERS = 32
_LIFETIME_S = 300
_MAX_CHALLENGES = 100_000


def challenge_typed_data(chain_id: int, challenge: str) -> dict[str, Any]:
    """The EIP-712 document of a challenge; ``challenge`` is the whole text."""
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
            ],
            "Challenge": [{"name": "challenge", "type": "string"}],
        },
        "domain": {"name": "iExec Gateway", "version": "1", "chainId": str(chain_id)},
        "primaryType": "Challenge",
        "message": {"challenge": challenge},
    }


@dataclass(frozen=True, slots=True)
class _Pending:
    hash: str
    document: dict[str, Any]
    expires_s: float


class Challenges:
    """Challenges that wait to be signed, one per wallet, in memory: after a restart clients ask for another.

    A challenge lives five minutes after it was last asked for, and ends when it is used.
    """

    def __init__(self, chain_id: int, clock: Clock) -> None:
        self._chain_id = chain_id
        self._clock = clock
        self._pending: OrderedDict[str, _Pending] = OrderedDict()

    def issue(self, address: str) -> dict[str, Any]:
        """The typed data that ``address`` signs to prove itself; the same one until it is used."""
        now = self._clock.now()
        pending = self._pending.pop(address, None)
        if pending is None or pending.expires_s < now:
            nonce = "".join(secrets.choice(_ALPHABET) for _ in range(_NONCE_CHARACTERS))
            document = challenge_typed_data(self._chain_id, CHALLENGE_PREFIX + nonce)
            pending = _Pending(typed_data_hash(document), document, 0)
        self._pending[address] = _Pending(pending.hash, pending.document, now + _LIFETIME_S)
        while len(self._pending) > _MAX_CHALLENGES:
            self._pending.popitem(last=False)
        return pending.document

    async def redeem(self, header: str | None, signed_by_contract: SignedByContract) -> str:
        """The wallet that an authorization header ``hash_signature_address`` proves; its challenge is used up.

        Where no key of that address signed, ``signed_by_contract`` is asked: a contract may say that it did (ERC-1271).

        Raises:
            Unauthorized: anything is wrong with it.
        """
        parts = (header or "").split("_")
        if len(parts) != 3:
            raise Unauthorized
        try:
            signed_hash, address = hex32(parts[0]), checksum(parts[2])
            pending = self._pending.get(address)
            if pending is None or pending.hash != signed_hash or pending.expires_s < self._clock.now():
                raise Unauthorized
        except OrderError:
            raise Unauthorized from None
        if _signer_of(pending.document, parts[1]) != address and not await signed_by_contract(
            address, pending.hash, parts[1]
        ):
            raise Unauthorized
        if address == ZERO_ADDRESS or self._pending.get(address) is not pending:
            raise Unauthorized
        del self._pending[address]
        return address


def _signer_of(document: dict[str, Any], signature: str) -> str:
    try:
        return recover_typed_data_signer(document, signature)
    except OrderError:
        return ZERO_ADDRESS  # It is not the signature of a key; a contract may take other forms.
