"""Who may administer a pool: the owner's key, or one of the policy's ``operators``, signs each request anew.

The header is ``Authorization: Fairgrid operator=0x…,expires=SECONDS,nonce=0x…,signature=0x…`` over
`fairgrid.protocol.access.operator_message`: method, path, query and body are signed, so nothing of a request can be
changed, sent to another pool, or sent again.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from fairgrid.errors import FairgridError, OrderError
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.workers.rates import Bucket
from fairgrid.protocol.access import MAX_OPERATOR_ACCESS_S, operator_message
from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.seals import recover_message_signer
from fairgrid.wallet.signer import Signer

__all__ = ["AccessRefused", "OperatorAccess", "Signed", "authorisation"]

_HEADER: Final = re.compile(
    r"Fairgrid operator=(0x[0-9a-fA-F]{40}),expires=(\d{1,12}),nonce=(0x[0-9a-f]{64}),"
    r"signature=(0x[0-9a-fA-F]{128,130})"
)
_BURST: Final = 60.0
_PER_S: Final = 20.0
_WRONG_BURST: Final = 10.0
_WRONG_PER_S: Final = 0.5
_MOST_CLIENTS: Final = 10_000
_VALID_S: Final = 60


class AccessRefused(FairgridError):
    """A request that may not be served; ``status`` is HTTP's, ``retry_after_s`` 0 when waiting does not help."""

    def __init__(self, status: int, message: str, *, retry_after_s: int = 0) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Signed:
    """Who signed a request, and the nonce that it has used up."""

    who: str
    nonce: str


def _message(identity: PoolIdentity, method: str, target: str, body: bytes, nonce: str, expires_at: int) -> bytes:
    """What an operator signs for one request to this pool."""
    place = (identity.chain_id, identity.hub, identity.workerpool)
    return operator_message(*place, method=method, target=target, body=body, nonce=nonce, expires_at=expires_at)


def authorisation(signer: Signer, identity: PoolIdentity, *, method: str, target: str, body: bytes, now: float) -> str:
    """The header for one request, good for a minute; ``now`` in seconds since 1970."""
    nonce, expires_at = "0x" + secrets.token_hex(32), int(now) + _VALID_S
    message = _message(identity, method, target, body, nonce, expires_at)
    signature = signer.sign_message(message)
    return f"Fairgrid operator={signer.address},expires={expires_at},nonce={nonce},signature={signature}"


@dataclass(slots=True)
class OperatorAccess:
    """Checks requests for one pool. ``may`` says whether an address is one of its operators now."""

    identity: PoolIdentity
    may: Callable[[str], bool]
    now: Callable[[], float]
    _used: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _buckets: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)
    _wrong: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)

    def check(self, *, method: str, target: str, body: bytes, header: str, client: str) -> Signed:
        """Who signed this request; ``client`` is the network address that it came from.

        Raises:
            AccessRefused: nobody who may, or too often.
        """
        now = self.now()
        try:
            return self._check(method, target, body, header, now)
        except AccessRefused as refused:
            # Only who is wrong is held off: behind a proxy operators and strangers may share an address.
            wrong = refused.status in (401, 403)
            if wrong and not self._bucket(self._wrong, client, _WRONG_BURST, _WRONG_PER_S, now).take(now):
                raise AccessRefused(
                    429, "Too many requests without a signature that counts. Wait a little.", retry_after_s=5
                ) from refused
            raise

    def _check(self, method: str, target: str, body: bytes, header: str, now: float) -> Signed:
        found = _HEADER.fullmatch(header)
        if found is None:
            raise AccessRefused(
                401,
                "This is for the pool's operators. Send Authorization: Fairgrid operator=0x…,expires=…,nonce=0x…,"
                "signature=0x…, or use `fairgrid pool`.",
            )
        expires_at, nonce = int(found[2]), found[3]
        if not now <= expires_at <= now + MAX_OPERATOR_ACCESS_S:
            raise AccessRefused(
                401,
                f"The signature ended, or is for more than {MAX_OPERATOR_ACCESS_S} s (the pool's clock shows "
                f"{int(now)}). Sign again; is a clock off?",
            )
        who = checksum(found[1].lower())
        identity = self.identity
        message = _message(identity, method, target, body, nonce, expires_at)
        try:
            signer = recover_message_signer(message, found[4])
        except OrderError as error:
            raise AccessRefused(401, f"The signature cannot be read: {error}") from error
        if signer != who:
            raise AccessRefused(
                403,
                f"The signature is not {who}'s for this request: method, path, query, body, chain "
                f"{identity.chain_id}, hub {identity.hub} and workerpool {identity.workerpool} are signed. Is it "
                f"another pool's?",
            )
        if not self.may(who):
            raise AccessRefused(
                403, f"{who} is no operator of this pool. Its owner can add it to `operators` in the pool's policy."
            )
        if not self._bucket(self._buckets, who, _BURST, _PER_S, now).take(now):
            raise AccessRefused(429, f"More than {_PER_S:g} requests a second. Wait a little.", retry_after_s=1)
        self._use(nonce, expires_at, now)
        return Signed(who, nonce)

    def _use(self, nonce: str, expires_at: int, now: float) -> None:
        for known, ends_at in list(self._used.items())[:16]:
            if ends_at >= now:
                break
            del self._used[known]
        if nonce in self._used:
            raise AccessRefused(401, "This request came before. Sign a new one; each nonce counts once.")
        self._used[nonce] = expires_at

    def _bucket(self, buckets: OrderedDict[str, Bucket], name: str, burst: float, per_s: float, now: float) -> Bucket:
        bucket = buckets.get(name)
        if bucket is None:
            bucket = buckets[name] = Bucket.full(burst, per_s, at=now)
            while len(buckets) > _MOST_CLIENTS:
                buckets.popitem(last=False)
        buckets.move_to_end(name)
        return bucket
