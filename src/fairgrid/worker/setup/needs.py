"""What a worker needs before it can earn, and what to do about what is missing: one screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairgrid.chain.interface import Chain

__all__ = ["GAS_OF_A_TASK", "Need", "needs_on_chain"]

GAS_OF_A_TASK: Final = 600_000
"""Gas of contribute and reveal together, on the safe side (`docs/gas.md`)."""
_CHEAPEST_GAS_WEI: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a worker needs. ``remedy`` is empty when it is there."""

    name: str
    is_there: bool
    has: str
    remedy: str = ""


async def needs_on_chain(
    chain: Chain, *, key: str, worker: str, workerpool: str, sponsor: bool = False
) -> tuple[Need, ...]:
    """Coins and deposit of a worker. ``key`` pays the gas; ``worker`` is who stakes and is paid (the key itself, or its
    role account).

    Raises:
        ServiceUnavailable: the chain does not answer.
    """
    wei = await chain.balance_wei(key)
    account = await chain.view_account(worker)
    pool = await chain.view_workerpool(workerpool)
    enough = GAS_OF_A_TASK * _CHEAPEST_GAS_WEI
    asks = "The pool is asked to sponsor them." if sponsor else "Or ask the pool with --sponsor."
    coins = Need(
        "coins",
        wei >= enough,
        f"{wei / 1e18:.6f} coins of chain {chain.chain_id} at {key}",
        "" if wei >= enough else f"Send {key} some, {enough / 1e18:.6f} or more: each task costs gas. {asks}",
    )
    staked = not pool.worker_stake_ratio or account.stake + account.locked > 0
    deposit = Need(
        "deposit",
        staked,
        f"{account.stake} nRLC free and {account.locked} locked in the hub for {worker}",
        ""
        if staked
        else (
            f"This pool asks a stake of {pool.worker_stake_ratio} % of a task's price. Deposit RLC for {worker} in the "
            f"hub (deposit, or depositFor by anybody). {asks}"
        ),
    )
    return coins, deposit
