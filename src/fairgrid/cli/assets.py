"""`fairgrid dataset`, `fairgrid workerpool`, and `register` and `show` of `fairgrid app`: entries of the registries."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.money_desk import Act, MoneyDesk, Plan, money_command
from fairgrid.cli.output import console
from fairgrid.cli.shared_options import read_address
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain

__all__ = ["add_app_commands", "dataset_app", "workerpool_app"]

dataset_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Register data sets, and show them.")
workerpool_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Register workerpools, and show them.")

_CHUNK = 1 << 20
_MAX_PERCENT = 100

_Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="Its address.")]
_Multiaddr = Annotated[
    str, typer.Option(metavar="TEXT", help="Where its content is, as /ipfs/CID or a URL. Needs --checksum.")
]
_Checksum = Annotated[str, typer.Option(metavar="HEX", help="SHA-256 of its content, 0x and 64 digits.")]
_File = Annotated[
    Path | None,
    typer.Option(
        "--file", metavar="FILE", help="Its content: it is put into the network's storage, and hashed, for you."
    ),
]


@dataset_app.callback()
def _datasets() -> None:
    """Register data sets, and show them. Whoever owns one sells its uses by orders: `fairgrid order sign dataset`."""


@workerpool_app.callback()
def _workerpools() -> None:
    """Register workerpools, and show them. `fairgrid pool init --register` does it for a new pool of yours."""


@money_command(dataset_app, "register", spends=True)
def register_dataset(
    desk: MoneyDesk,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called. Names are not unique.")],
    file: _File = None,
    multiaddr: _Multiaddr = "",
    checksum: _Checksum = "",
) -> None:
    """Register a data set that this account owns. What is uploaded is public: encrypt before what must not be.

    Example: `fairgrid dataset register weather --file weather.csv`.
    """
    content = _content(desk, file, multiaddr, checksum)
    _register(
        desk, "dataset", f"the data set {name!r}", lambda place, total: (desk.address, name, place, total), content
    )


@money_command(dataset_app, "show")
def show_dataset(desk: MoneyDesk, address: _Address) -> None:
    """Show a registered data set. Example: `fairgrid dataset show 0x8dF2aCE5b0D9a7Cd4a0A1cD6D1b0d4e2F3a4b5C6`."""
    _show(desk, "dataset", address)


@money_command(workerpool_app, "register", spends=True)
def register_workerpool(
    desk: MoneyDesk,
    description: Annotated[str, typer.Argument(metavar="DESCRIPTION", help="What people read of it.")],
) -> None:
    """Register a workerpool that this account owns. Example: `fairgrid workerpool register "Physics, room 12"`."""
    _register(desk, "workerpool", f"the workerpool {description!r}", lambda _, __: (desk.address, description), None)


@money_command(workerpool_app, "show")
def show_workerpool(desk: MoneyDesk, address: _Address) -> None:
    """Show a registered workerpool and its terms.

    Example: `fairgrid workerpool show 0x8dF2aCE5b0D9a7Cd4a0A1cD6D1b0d4e2F3a4b5C6`.
    """
    _show(desk, "workerpool", address)


@money_command(workerpool_app, "policy", spends=True)
def change_policy(
    desk: MoneyDesk,
    address: _Address,
    stake_ratio: Annotated[
        int, typer.Option(min=0, help="Percent of the pool's price that each worker stakes on its result.")
    ],
    scheduler_ratio: Annotated[
        int, typer.Option(min=0, max=_MAX_PERCENT, help="Percent of the pool's price that the scheduler keeps.")
    ],
) -> None:
    """Change a workerpool's terms, for deals that are made later.

    Example: `fairgrid workerpool policy 0x8dF2aCE5b0D9a7Cd4a0A1cD6D1b0d4e2F3a4b5C6 --stake-ratio 30 --scheduler-ratio
    5`.
    """
    pool = read_address(address)

    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.chain import calls

        info = await _info(chain, "workerpool", pool)
        if info["owner"] != desk.address:
            raise UsageError(f"The workerpool {pool} belongs to {info['owner']}, not to {desk.address}.")
        sentence = (
            f"Let workers of {pool} stake {stake_ratio} % of its price on each result, and keep {scheduler_ratio} % of "
            f"the reward for the scheduler, in deals from now on."
        )
        call = calls.change_policy(pool, stake_ratio=stake_ratio, scheduler_ratio=scheduler_ratio)

        async def then(chain: JsonRpcChain, signer: Any, receipts: Any) -> dict[str, Any]:
            return await _info(chain, "workerpool", pool)

        return Plan([Act(sentence, call)], info, then, lambda _: "Changed.")

    desk.carry_out(plan)


def add_app_commands(group: typer.Typer) -> None:
    """Put `register` and `show` into the group of apps."""

    @money_command(group, "register", spends=True)
    def register_app(
        desk: MoneyDesk,
        name: Annotated[
            str, typer.Argument(metavar="NAME", help="What it is called; of a generic app its runtime's id.")
        ],
        kind: Annotated[
            str, typer.Option("--type", metavar="TYPE", help="Its type on chain, such as DOCKER.")
        ] = "DOCKER",
        file: _File = None,
        multiaddr: _Multiaddr = "",
        checksum: _Checksum = "",
    ) -> None:
        """Register an app that this account owns, by its content: only an entry on chain, which sells nothing yet.

        For content that lies elsewhere, for other programs than `fairgrid run --app` (DOCKER images of foreign pools),
        and for runtimes of a network. Whoever has the project of an app takes `fairgrid app publish`, which uploads,
        registers and lists it in one go. `fairgrid order sign app` offers a registered app by hand.

        Example: `fairgrid app register sum --file sum.wasm`.
        """
        content = _content(desk, file, multiaddr, checksum)
        _register(
            desk,
            "app",
            f"the app {name!r} of type {kind}",
            lambda place, total: (desk.address, name, kind, place, total, b""),
            content,
        )

    @money_command(group, "show")
    def show_app(desk: MoneyDesk, address: _Address) -> None:
        """Show a registered app. Example: `fairgrid app show 0x8dF2aCE5b0D9a7Cd4a0A1cD6D1b0d4e2F3a4b5C6`."""
        _show(desk, "app", address)


_Content = tuple[str, str, Path | None]
"""Multiaddr and checksum; and the file that is to be uploaded first."""


def _content(desk: MoneyDesk, file: Path | None, multiaddr: str, checksum: str) -> _Content:
    from fairgrid.protocol.hexes import hex32, is_hex32

    if file is not None and (multiaddr or checksum):
        raise UsageError("Either --file, or --multiaddr and --checksum, say what the content is. Nothing was signed.")
    if file is None:
        if not multiaddr or not is_hex32(checksum):
            raise UsageError("Name its content: --file FILE, or --multiaddr TEXT and --checksum 0x… (64 digits).")
        return multiaddr, hex32(checksum), None
    from fairgrid.protocol.cid import CidBuilder

    total, builder = hashlib.sha256(), CidBuilder()
    try:
        with file.open("rb") as opened:
            while data := opened.read(_CHUNK):
                total.update(data)
                builder.update(data)
        return f"/ipfs/{builder.finish()}", f"0x{total.hexdigest()}", file
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error}).") from error


def _register(desk: MoneyDesk, kind: str, what: str, arguments: Any, content: _Content | None) -> None:
    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.chain import calls
        from fairgrid.chain.decode import created_address

        registry = await chain.registry(kind)
        place, total, file = content or ("", "", None)
        given = arguments(place.encode(), total)
        address = str(await chain.read(f"{kind}_registry", registry, f"predict{kind.capitalize()}", *given))
        facts = {"kind": kind, "address": address, "owner": desk.address, "multiaddr": place, "checksum": total}
        if await chain.is_registered(kind, address):
            raise UsageError(f"{what[0].upper()}{what[1:]} of {desk.address} is registered already: {address}.")
        create = {"app": calls.create_app, "dataset": calls.create_dataset, "workerpool": calls.create_workerpool}[kind]
        acts = [Act(f"Register {what}, owned by {desk.address}, as {address}.", create(registry, *given))]  # type: ignore[operator]
        if file is not None:
            acts.insert(
                0, Act(f"Upload {file} to {desk.place.network.storage}, where everybody can read it, as {place}.")
            )

        async def then(chain: JsonRpcChain, signer: Any, receipts: Any) -> dict[str, Any]:
            if file is not None:
                await _upload(desk, file)
            return {"address": created_address(receipts[0], registry)}

        return Plan(acts, facts, then, lambda facts: f"Registered {what}: {facts['address']}")

    desk.carry_out(plan)


async def _upload(desk: MoneyDesk, file: Path) -> None:
    from fairgrid.storage.client import StorageClient

    async with StorageClient(desk.place.network.storage) as storage:
        await storage.add_file(file)


def _show(desk: MoneyDesk, kind: str, text: str) -> None:
    address = read_address(text)
    info = desk.ask(lambda chain: _info(chain, kind, address))

    def people() -> None:
        screen = console()
        screen.print(f"{kind} {address}", style="bold", markup=False)
        for name, value in info.items():
            if name not in ("kind", "address"):
                screen.print(f"  {name:21} {value}", markup=False, soft_wrap=True)

    desk.show(info, people)


async def _info(chain: JsonRpcChain, kind: str, address: str) -> dict[str, Any]:
    from fairgrid.protocol.terminal import sanitise_terminal
    from fairgrid.protocol.views import AppInfo

    if not await chain.is_registered(kind, address):
        raise UsageError(f"There is no {kind} {address} in the registry of this network.")
    found: dict[str, Any] = {"kind": kind, "address": address}
    if kind == "workerpool":
        pool = await chain.view_workerpool(address)
        ratios = {"workerStakePercent": pool.worker_stake_ratio, "schedulerPercent": pool.scheduler_reward_ratio}
        return {**found, "owner": pool.owner, "description": sanitise_terminal(pool.description), **ratios}
    entry = await (chain.view_dataset(address) if kind == "dataset" else chain.view_app(address))
    more = {"name": entry.name, "multiaddr": entry.multiaddr.decode("utf-8", "replace"), "checksum": entry.checksum}
    if isinstance(entry, AppInfo):
        more["type"] = entry.type
    return {**found, "owner": entry.owner, **{key: sanitise_terminal(value) for key, value in more.items()}}
