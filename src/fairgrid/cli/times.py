"""Times as people read them."""

from __future__ import annotations

from datetime import datetime

__all__ = ["clock_time", "duration", "in_chain_time"]


def clock_time(at: float) -> str:
    """A local time of seconds since 1970, to the second; empty for 0."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def duration(seconds: float) -> str:
    """Seconds for people: ``42 s``, ``7 min``, ``5.3 h``, ``2.0 d``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"


def in_chain_time(seconds: float) -> str:
    """How long it takes by the chain's clock, which may stand still."""
    return f"in {duration(max(seconds, 0))} of chain time"
