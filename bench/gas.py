"""What every call of the hub costs, beside the same calls of the published contracts in the same run.

    python -m bench.gas                        the table
    python -m bench.gas --write docs/gas.md    the page
    python -m bench.gas --json FILE

Two local chains (anvil, hardfork prague), one with the published contracts (their npm package, fetched and checked by
its hash, boost linked, our token), one with ours; the same plays with the same calldata on both. Gas is of real
receipts: base cost, calldata and refunds included, dispatch by diamond and by facets included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tests.contracts.anvil_world import AnvilWorld, deploy_on_anvil, deploy_peer_on_anvil
from tests.contracts.constant_cost import CROWD, cost_beside
from tests.contracts.peer import PEER_NAME, PEER_VERSION, PeerPackage, ensure_peer

from bench.gas_bags import BAG_PLAYS
from bench.gas_batch import SIZES, batch_figures
from bench.gas_scenarios import AGAIN, FIRST, PARAMS, PLAYS, Figures
from fairgrid.errors import FairgridError
from fairgrid.localnet.anvil import ANVIL_VERSION, AnvilOptions, AnvilProcess, start_anvil

__all__ = ["BARS", "BATCH_BARS", "Report", "main", "measure", "page"]

BARS = {
    "matchOrders, data set": 310_000,
    "initialize": 53_000,
    "contribute, consensus of one": 130_000,
    "reveal": 43_000,
    "finalize, one worker": 186_000,
    "deal and task, one worker": 720_000,
    "deal and task, three workers": 1_120_000,
    "createApp": 300_000,
}
"""What the first use may cost at most (decision 20)."""

BATCH_BARS = {"one transaction, no data set": 450, "three workers, with data set": 1_100}
"""Gas a task in a bag of 1,000."""


PUBLISHED, OURS = "published", "ours"


@dataclass(frozen=True, slots=True)
class Report:
    """Gas by operation and state of both, of the batch lane by size, and of calls beside one and many open deals."""

    peer: Figures
    ours: Figures
    batch: dict[str, dict[int, int]]
    beside_one: dict[str, int]
    beside_many: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""

        def table(figures: Figures) -> dict[str, dict[str, int]]:
            names = dict.fromkeys(name for name, _ in figures)
            states = (FIRST, AGAIN)
            return {n: {s: figures[n, s] for s in states if (n, s) in figures} for n in names}

        return {
            "peer": {"package": f"{PEER_NAME} {PEER_VERSION}", "gas": table(self.peer)},
            "ours": table(self.ours),
            "batch": {name: {str(size): gas for size, gas in sizes.items()} for name, sizes in self.batch.items()},
            "constantCost": {"beside1": self.beside_one, f"beside{CROWD}": self.beside_many},
        }

    def missed(self) -> list[str]:
        """Bars that are not kept, and costs that grow."""
        over = [name for name, bar in BARS.items() if self.ours[name, FIRST] > bar]
        over += [name for name, bar in BATCH_BARS.items() if self.batch[name][1_000] > bar * 1_000]
        dearer = [
            f"{name} ({state}) costs more than the peer's" for (name, state), ratio in self._ratios() if ratio >= 1
        ]
        grown = [name for name, gas in self.beside_one.items() if abs(self.beside_many[name] / gas - 1) > 0.005]
        return [*over, *dearer, *(f"{name} grows with the number of deals" for name in grown)]

    def _ratios(self) -> Iterator[tuple[tuple[str, str], float]]:
        return ((key, self.ours[key] / gas) for key, gas in self.peer.items() if key in self.ours)


@contextmanager
def _chain(folder: Path, name: str) -> Iterator[AnvilProcess]:
    options = AnvilOptions(block_time=None, log=folder / f"{name}.log", extra=("--gas-limit", "1000000000"))
    process = asyncio.run(start_anvil(options))
    try:
        yield process
    finally:
        process.stop_now()


def _play_all(world: AnvilWorld, console: Console, who: str) -> Figures:
    figures: Figures = {}
    for name, play in {**PLAYS, **BAG_PLAYS}.items():
        if not world.has(*play.functions) or (who == PUBLISHED and not play.published):
            continue
        console.print(f"[dim]{who}: {name}[/]")
        with world.chain.undone():
            figures |= play.act(world)
    return figures


def measure(console: Console) -> Report:
    """Run everything; some minutes.

    Raises:
        HostFailure: anvil or the published package cannot be had.
    """
    package = PeerPackage(ensure_peer())
    with tempfile.TemporaryDirectory() as folder:
        with _chain(Path(folder), "peer") as process:
            peer = _play_all(deploy_peer_on_anvil(process, package), console, PUBLISHED)
        with _chain(Path(folder), "ours") as process:
            world = deploy_on_anvil(process)
            ours = _play_all(world, console, OURS)
            console.print("[dim]ours: batch lane[/]")
            batch = batch_figures(world, PARAMS)
            console.print(f"[dim]ours: beside {CROWD} open deals[/]")
            return Report(peer, ours, batch, cost_beside(world, 1), cost_beside(world, CROWD))


# --- showing --------------------------------------------------------------------------------------------------------


def _rows(report: Report) -> Iterator[tuple[str, ...]]:
    """Operation; first: peer, ours, ratio, bar; again: peer, ours, ratio."""
    for name in dict.fromkeys(name for name, _ in report.ours):
        cells = [name]
        for state in (FIRST, AGAIN):
            ours, peer = report.ours.get((name, state)), report.peer.get((name, state))
            cells += [f"{peer:,}" if peer else "", f"{ours:,}" if ours else ""]
            cells.append(f"{ours / peer:.2f}" if ours and peer else "")
            if state == FIRST:
                bar = BARS.get(name)
                cells.append("" if bar is None else f"{bar:,} {'met' if ours and ours <= bar else 'MISSED'}")
        yield tuple(cells)


_HEAD = ("operation", "first: peer", "ours", "ratio", "bar", "again: peer", "ours", "ratio")


def show(report: Report, console: Console) -> None:
    """Tables for a terminal."""
    table = Table(*_HEAD, title=f"Gas, {PEER_NAME} {PEER_VERSION} and ours")
    for row in _rows(report):
        table.add_row(*row)
    console.print(table)
    batch = Table("batch lane: gas a task", *(f"{size:,}" for size in SIZES))
    for name, sizes in report.batch.items():
        batch.add_row(name, *(f"{sizes[size] / size:,.0f}" for size in SIZES))
    console.print(batch)
    for fault in report.missed():
        console.print(f"[red]missed[/]: {fault}")


def _markdown(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def page(report: Report) -> str:
    """``docs/gas.md``."""
    batch = _markdown(
        ("settled by", *(f"{size:,} task{'s' if size > 1 else ''}" for size in SIZES)),
        ((name, *(f"{sizes[size] / size:,.0f}" for size in SIZES)) for name, sizes in report.batch.items()),
    )
    constant = _markdown(
        ("call", "beside 1 open deal", f"beside {CROWD:,}"),
        ((name, f"{gas:,}", f"{report.beside_many[name]:,}") for name, gas in report.beside_one.items()),
    )
    return f"""# Gas

Made by `python -m bench.gas --write docs/gas.md`: the published contracts ({PEER_NAME} {PEER_VERSION} from npm, boost
linked) and ours, on anvil {ANVIL_VERSION}, hardfork prague, in one run, with the same calldata. `gasUsed` of receipts:
base cost, calldata, refunds and dispatch included. *First* is the first use of all orders, by people who have an
account; *again* the same people with the offers used before. An account that is paid for the first time costs 17,100
more, there and here. Zero bytes in hashes and signatures move a figure by some tens.

`tests/contracts/test_hub_gas.py` holds the figures that matter within one percent (`tests/contracts/hub_gas.json`).

## Calls

*A task in a bag* is the whole deal over its number of tasks, match included, five workers in turn. The package
{PEER_VERSION} does not match out of an approval.

{_markdown(_HEAD, _rows(report))}

## The batch lane, gas a task

Deal and settlement together, first use of all orders. The published contracts have no such lane.

{batch}

Bars: {", ".join(f"{name}, 1,000 tasks: {bar:,}" for name, bar in BATCH_BARS.items())}.

## No cost grows with the number of deals, orders and users

{constant}
"""


def main() -> int:
    """The command; returns its exit code: 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args()
    console = Console(stderr=True)
    try:
        report = measure(console)
    except FairgridError as error:
        console.print(f"[red]{error}[/]")
        return error.exit_code
    show(report, Console(width=None if sys.stdout.isatty() else 140))
    if options.write:
        options.write.write_text(page(report))
    if options.json:
        options.json.write_text(json.dumps(report.to_json(), indent=2) + "\n")
    return 1 if report.missed() else 0


if __name__ == "__main__":
    sys.exit(main())
