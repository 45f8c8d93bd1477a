"""Who calls: a wallet proves itself by signing a challenge once."""

from __future__ import annotations

import secrets
import string
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from fairgrid.errors import OrderError
from fairgrid.market.refusals import Unauthorized
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum, hex32
from fairgrid.protocol.seals import recover_typed_data_signer
from fairgrid.protocol.typed_data import typed_data_hash
from fairgrid.seams.clock import Clock

__all__ = ["CHALLENGE_PREFIX", "Challenges", "challenge_typed_data"]

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

    def redeem(self, header: str | None) -> str:
        """The wallet that an authorization header ``hash_signature_address`` proves; its challenge is used up.

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
            signer = recover_typed_data_signer(pending.document, parts[1])
        except OrderError:
            raise Unauthorized from None
        if signer != address or signer == ZERO_ADDRESS:
            raise Unauthorized
        del self._pending[address]
        return address
