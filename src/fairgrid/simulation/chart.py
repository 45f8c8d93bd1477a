"""The wrong-result rate against the overhead, as a picture. Needs the extra ``plots``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairgrid.errors import UsageError
from fairgrid.simulation.experiment import TARGETS, Measured

__all__ = ["draw", "need_plots"]

_MARKS = {"independent": "o", "colluding": "^"}


def need_plots() -> Any:
    """The plotting module.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UsageError(
            "--plot needs matplotlib, which is not installed. Install it: pip install 'fairgrid[plots]'"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import figure

    return figure


def draw(rows: Sequence[tuple[str, str, float, Measured]], path: Path) -> None:
    """Write a picture of (pool, mode, share of adversaries, what was measured).

    A cell without any wrong result is drawn, hollow, at the upper end of its 95 % interval.

    Raises:
        UsageError: matplotlib is missing, or the file cannot be written as a picture.
    """
    figures = need_plots()
    pools = list(dict.fromkeys(pool for pool, _, _, _ in rows))
    ways = list(dict.fromkeys(measured.way for _, _, _, measured in rows))
    figure = figures.Figure(figsize=(6.4 * len(pools), 5.2), layout="constrained")
    grid = figure.subplots(1, len(pools), sharey=True, squeeze=False)[0]
    for axes, pool in zip(grid, pools, strict=True):
        for _, mode, share, measured in (row for row in rows if row[0] == pool):
            seen = measured.wrong > 0
            color = f"C{ways.index(measured.way)}"
            axes.scatter(
                measured.overhead,
                measured.wrong_rate if seen else measured.wrong_at_most,
                s=20 + 260 * share,
                marker=_MARKS[mode],
                facecolors=color if seen else "none",
                edgecolors=color,
            )
        axes.axvline(TARGETS[pool], color="grey", linestyle=":", label=f"target {TARGETS[pool]:.2f} (≤ 5 %)")
        for number, way in enumerate(ways):
            axes.scatter([], [], color=f"C{number}", label=way)
        for mode, mark in _MARKS.items():
            axes.scatter([], [], marker=mark, color="black", label=mode)
        axes.set(xlabel="executions for one accepted result", yscale="log", title=f"{pool} pool")
        axes.grid(True, alpha=0.3)
    grid[0].set_ylabel("wrong among accepted results (hollow: none seen, 95 % bound)")
    grid[-1].legend(fontsize="small")
    figure.suptitle("Size of a mark: share of adversaries")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise UsageError(f"The picture cannot be written to {path} ({error}). Name a .png or .svg file.") from error
