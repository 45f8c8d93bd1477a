"""`fairgrid dataset`, `fairgrid workerpool`, and `register` and `show` of `fairgrid app`: entries of the registries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgrid.cli.money_desk import Act, MoneyDesk, Plan, money_command
from fairgrid.cli.output import console
from fairgrid.cli.shared_options import read_address
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.client.registration import Content

__all__ = ["add_app_commands", "dataset_app", "workerpool_app"]

dataset_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Register data sets, and show them.")
workerpool_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Register workerpools, and show them.")

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
    content = _content(file, multiaddr, checksum)
    arguments = (name, content.multiaddr.encode(), content.checksum)
    _register(desk, "dataset", f"the data set {name!r}", arguments, content)


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
    _register(desk, "workerpool", f"the workerpool {description!r}", (description,), None)


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
        content = _content(file, multiaddr, checksum)
        arguments = (name, kind, content.multiaddr.encode(), content.checksum, b"")
        _register(desk, "app", f"the app {name!r} of type {kind}", arguments, content)

    @money_command(group, "show")
    def show_app(desk: MoneyDesk, address: _Address) -> None:
        """Show a registered app. Example: `fairgrid app show 0x8dF2aCE5b0D9a7Cd4a0A1cD6D1b0d4e2F3a4b5C6`."""
        _show(desk, "app", address)


def _content(file: Path | None, multiaddr: str, checksum: str) -> Content:
    from fairgrid.client.registration import content_elsewhere, content_of_file

    if file is not None:
        if multiaddr or checksum:
            raise UsageError(
                "Either --file, or --multiaddr and --checksum, say what the content is. Nothing was signed."
            )
        return content_of_file(file)
    content = content_elsewhere(multiaddr, checksum)
    if content is None:
        raise UsageError("Name its content: --file FILE, or --multiaddr TEXT and --checksum 0x… (64 digits).")
    return content


def _register(desk: MoneyDesk, kind: str, what: str, arguments: tuple[Any, ...], content: Content | None) -> None:
    async def plan(chain: JsonRpcChain) -> Plan:
        from fairgrid.chain.decode import created_address
        from fairgrid.client.registration import plan_registration

        planned = await plan_registration(chain, kind, what, desk.address, arguments)
        facts = {
            "kind": kind,
            "address": planned.address,
            "owner": desk.address,
            "multiaddr": content.multiaddr if content is not None else "",
            "checksum": content.checksum if content is not None else "",
        }
        acts = [Act(f"Register {what}, owned by {desk.address}, as {planned.address}.", planned.call)]
        if content is not None and content.file is not None:
            place = f"to {desk.place.network.storage}, where everybody can read it, as {content.multiaddr}"
            acts.insert(0, Act(f"Upload {content.file} {place}."))

        async def then(chain: JsonRpcChain, signer: Any, receipts: Any) -> dict[str, Any]:
            if content is not None and content.file is not None:
                await _upload(desk, content)
            return {"address": created_address(receipts[0], planned.registry)}

        return Plan(acts, facts, then, lambda facts: f"Registered {what}: {facts['address']}")

    desk.carry_out(plan)


async def _upload(desk: MoneyDesk, content: Content) -> None:
    from fairgrid.client.registration import upload_content
    from fairgrid.storage.client import StorageClient

    async with StorageClient(desk.place.network.storage) as storage:
        await upload_content(storage, content)


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
    from fairgrid.client.registration import view_entry
    from fairgrid.protocol.terminal import sanitise_terminal
    from fairgrid.protocol.views import AppInfo, WorkerpoolInfo

    entry = await view_entry(chain, kind, address)
    found: dict[str, Any] = {"kind": kind, "address": address, "owner": entry.owner}
    if isinstance(entry, WorkerpoolInfo):
        ratios = {"workerStakePercent": entry.worker_stake_ratio, "schedulerPercent": entry.scheduler_reward_ratio}
        return {**found, "description": sanitise_terminal(entry.description), **ratios}
    more = {"name": entry.name, "multiaddr": entry.multiaddr.decode("utf-8", "replace"), "checksum": entry.checksum}
    if isinstance(entry, AppInfo):
        more["type"] = entry.type
    return {**found, **{key: sanitise_terminal(value) for key, value in more.items()}}
