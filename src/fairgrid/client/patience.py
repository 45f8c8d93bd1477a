"""Wait for owners that a pool lost a moment ago, before a trust is called out of reach."""

from __future__ import annotations

from fairgrid.client.progress import OnProgress, Phase, Progress
from fairgrid.errors import TrustUnreachable
from fairgrid.pool.client import PoolClient
from fairgrid.protocol.trust import trust_for_workers
from fairgrid.seams.clock import Clock

__all__ = ["trust_in_reach"]

_LONGEST_S = 90.0
"""Workers that come and go all the time do not make a requester wait longer."""
_LOOK_EVERY_S = 1.0


async def trust_in_reach(
    pool: PoolClient, *, asked: int, workers_at_least: int, clock: Clock, on_progress: OnProgress
) -> int:
    """The trust that a deal shall have, once the pool's connected owners reach it.

    A pool that was just restarted, or whose workers were, says for how long others may come back; so long it is asked
    again.

    Raises:
        TrustUnreachable: the connected owners cannot reach the trust, and nobody who could help is expected.
        ServiceUnavailable.
    """
    patience_ends = clock.now() + _LONGEST_S
    while True:
        listing = await pool.trust()
        weights = [owner.weight for owner in listing.owners]
        trust = max(asked, trust_for_workers(weights, workers_at_least)) if workers_at_least > 1 else asked
        if weights and trust <= max(listing.reachable, 1):
            return trust
        wait_s = min(listing.worth_waiting_s(trust), patience_ends - clock.now())
        if wait_s <= 0:
            raise TrustUnreachable(asked=trust, reachable=listing.reachable, owners=len(weights))
        note = f"{len(weights)} owner(s) reach trust {listing.reachable} of {trust}; others may be back within"
        on_progress(Progress(Phase.PREPARING, f"{note} {wait_s:.0f} s"))
        await clock.sleep(min(wait_s, _LOOK_EVERY_S))
