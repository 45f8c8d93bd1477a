"""Is this machine's clock right? Deadlines are the chain's and never judged by it; hours, logs and bandwidth are."""

from __future__ import annotations

from typing import Final

__all__ = ["FAR_OFF_S", "clock_warning"]

FAR_OFF_S: Final = 600.0
"""A chain that is idle, or a busy pool, may be this far behind."""


def clock_warning(local: float, *, chain: float | None, pool: float | None) -> tuple[str, bool]:
    """What is wrong with the local clock, compared with the newest block's time and the pool's, and whether it is sure.

    All in seconds since the epoch; None where it is not known. The text is empty if nothing is wrong. Two witnesses
    that agree convict the clock; one alone may be wrong itself, which is said.
    """
    witnesses = [(name, said - local) for name, said in (("the chain", chain), ("the pool", pool)) if said is not None]
    off = [(name, by) for name, by in witnesses if abs(by) > FAR_OFF_S]
    if not off:
        return "", False
    said = " and ".join(f"{name} says {_hours(by)}" for name, by in off)
    sure = len(off) == 2 and abs(off[0][1] - off[1][1]) <= FAR_OFF_S
    verdict = "Set it" if sure else "If it is this machine that is wrong, set it"
    text = (
        f"This machine's clock is off: {said}. {verdict} (NTP). Deadlines are judged by the chain's time in any case; "
        f"the policy's hours are not."
    )
    return text, sure


def _hours(by: float) -> str:
    return f"it is {abs(by) / 3600:.1f} h {'later' if by > 0 else 'earlier'}"
