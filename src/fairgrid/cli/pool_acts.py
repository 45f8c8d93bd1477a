"""`fairgrid pool drain | ban | label | policy | handover`: what an operator tells a pool; who did it is kept."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from fairgrid.cli import pool_init, pool_looks
from fairgrid.cli.output import emit_json
from fairgrid.cli.pool_desk import PoolDesk, ReasonOption, WorkerArgument, operator_command, show_table
from fairgrid.cli.shared_options import JsonOption
from fairgrid.cli.times import clock_time
from fairgrid.errors import UsageError

__all__ = ["pool_app"]

pool_app = pool_looks.pool_app
assert pool_init.pool_app is pool_app  # each module adds its commands to the one group
_policy_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Show, check and change the pool's policy.")
pool_app.add_typer(_policy_app, name="policy")

_Only = Annotated[str | None, typer.Option("--worker", metavar="ADDRESS", help="This worker only. Default: the pool.")]


@operator_command(pool_app, "drain")
def drain(
    desk: PoolDesk,
    reason: ReasonOption,
    worker: _Only = None,
) -> None:
    """Begin no new task, or lease a worker none; what runs goes on. Counts until `undrain`, over restarts.

    Example: `fairgrid pool drain --reason "new disks"`, then `fairgrid pool status` until nothing is live.
    """
    if worker is None:
        answer: BaseModel = desk.ask(lambda client: client.drain(reason))
    else:
        answer = desk.ask(lambda client: client.drain_worker(worker, reason))
    desk.say(answer, f"{worker or 'The pool'} takes nothing new.")


@operator_command(pool_app, "undrain")
def undrain(
    desk: PoolDesk,
    worker: _Only = None,
) -> None:
    """Take new work again. Example: `fairgrid pool undrain --dir pool`."""
    if worker is None:
        answer: BaseModel = desk.ask(lambda client: client.undrain())
    else:
        answer = desk.ask(lambda client: client.undrain_worker(worker))
    desk.say(answer, f"{worker or 'The pool'} takes work again.")


@operator_command(pool_app, "ban")
def ban(
    desk: PoolDesk,
    worker: WorkerArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; the worker is told.")],
    owner: Annotated[str, typer.Option(metavar="ADDRESS", help="Its owner, if the pool never saw it.")] = "",
) -> None:
    """Give a worker and its owner no more work, at once. Example: `fairgrid pool ban 0x… --reason "too slow"`.

    What it computes is given to others; what it contributed already is settled on chain as ever.
    """
    answer = desk.ask(lambda client: client.ban(worker, reason, owner=owner))
    desk.say(answer, f"{worker} is banned.")


@operator_command(pool_app, "unban")
def unban(
    desk: PoolDesk,
    worker: Annotated[str, typer.Argument(metavar="ADDRESS", help="A worker's address, or an owner's.")],
) -> None:
    """Lift the bans of a worker, or of an owner. Example: `fairgrid pool unban 0x… --dir pool`."""
    answer = desk.ask(lambda client: client.unban(worker))
    desk.say(answer, f"{worker} is not banned.")


@operator_command(pool_app, "label")
def label(
    desk: PoolDesk,
    worker: WorkerArgument,
    labels: Annotated[
        list[str] | None, typer.Argument(metavar="[LABEL]...", help="Its labels; none takes all away.")
    ] = None,
) -> None:
    """Give a worker exactly these labels, beside its owner's. Example: `fairgrid pool label 0x… lab-2 eu`.

    Jobs ask for labels in their needs, the policy's app_labels asks for them for every job of an app.
    """
    answer = desk.ask(lambda client: client.label(worker, labels or []))
    desk.say(answer, f"{worker} has the labels: {' '.join(labels or []) or 'none'}.")


@operator_command(pool_app, "handover")
def handover(desk: PoolDesk) -> None:
    """Let a process that stands by lead: the way to upgrade without a pause. Example: `fairgrid pool handover`.

    The one that leads finishes what is in hand and stands by.
    """
    answer = desk.ask(lambda client: client.hand_over())
    desk.say(answer, f"{answer.leader} takes over.")


# --- the policy ---------------------------------------------------------------------------------------------------


@operator_command(_policy_app, "show")
def show_policy(
    desk: PoolDesk,
    names: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Only these keys.")] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not the default.")] = False,
) -> None:
    """Show every key, its value and where it comes from. Example: `fairgrid pool policy show --changed`."""
    answer = desk.ask(lambda client: client.policy())
    wanted = set(names or ())
    unknown = wanted - {known.name for known in answer.keys}
    if unknown:
        raise UsageError(f"The policy has no key {', '.join(sorted(unknown))}. `fairgrid pool policy show` lists all.")
    keys = [
        known
        for known in answer.keys
        if (not wanted or known.name in wanted) and not (changed and known.source == "default")
    ]
    answer = answer.model_copy(update={"keys": keys})
    desk.show(answer, lambda: _show_policy(answer))


@operator_command(_policy_app, "set")
def set_policy(
    desk: PoolDesk,
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys with values as TOML has them.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Set all keys of this policy file.")] = None,
) -> None:
    """Change keys of the policy while the pool runs. Example: `fairgrid pool policy set max_fee_gwei=80`.

    They count before the file's, over restarts and for every process of the pool, until `policy unset`. The answer
    names keys that count from the next start or takeover on.
    """
    wanted = _values(values or [])
    if file is not None:
        wanted = _keys_of(file) | wanted
    answer = desk.ask(lambda client: client.change_policy(wanted))
    desk.show(answer, lambda: _show_policy(answer, only=set(wanted)))


@operator_command(_policy_app, "unset")
def unset_policy(
    desk: PoolDesk,
    names: Annotated[list[str], typer.Argument(metavar="KEY...", help="Keys that are to be the file's again.")],
) -> None:
    """Give keys back to the policy file. Example: `fairgrid pool policy unset max_fee_gwei`."""
    answer = desk.ask(lambda client: client.change_policy({}, names))
    desk.show(answer, lambda: _show_policy(answer, only=set(names)))


@_policy_app.command("check")
def check_policy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy file, or the pool.toml of a pool's folder.")],
    as_json: JsonOption = False,
) -> None:
    """Say whether a policy file can be used, and what in it differs from the default; asks no pool.

    Example: `fairgrid pool policy check pool/pool.toml`.
    """
    from fairgrid.pool.core.policy import Policy, changed_policy, policy_values

    checked = policy_values(changed_policy(Policy(), _keys_of(file), source=f"the policy file {file}"))
    default = policy_values(Policy())
    different = {name: value for name, value in checked.items() if value != default[name]}
    if as_json:
        emit_json({"status": "ok", "differs": different})
        return
    rows = [(name, value, default[name]) for name, value in different.items()]
    show_table(("key", "value", "default"), rows, title=f"{file} can be used.")


def _values(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UsageError(f"{text!r} is not KEY=VALUE. Example: max_fee_gwei=80")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{value!r} is no value of TOML ({error}). Example: max_fee_gwei=80") from error
    return found


def _keys_of(file: Path) -> dict[str, Any]:
    from fairgrid.pool.processes.pool_file import policy_keys

    return policy_keys(file)


def _show_policy(answer: Any, *, only: set[str] | None = None) -> None:
    rows = [
        (
            known.name,
            known.value,
            f"{known.source} by {known.who} at {clock_time(known.at)}" if known.who else known.source,
            "from the next start or takeover" if known.name in answer.waiting else "now",
        )
        for known in answer.keys
        if only is None or known.name in only
    ]
    show_table(("key", "value", "source", "counts"), rows)
