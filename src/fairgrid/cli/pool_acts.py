"""`fairgrid pool drain | ban | label | policy | handover`: what an operator tells a pool; who did it is kept."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from fairgrid.cli import pool_init, pool_looks
from fairgrid.cli.output import console, emit_json
from fairgrid.cli.pool_desk import (
    As,
    Folder,
    Json,
    NetworkFile,
    Reason,
    Url,
    Worker,
    asked,
    clock_time,
    show_json,
    show_table,
)
from fairgrid.errors import UsageError

__all__ = ["pool_app"]

pool_app = pool_looks.pool_app
assert pool_init.pool_app is pool_app  # each module adds its commands to the one group
_policy_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Show, check and change the pool's policy.")
pool_app.add_typer(_policy_app, name="policy")

_DEFAULT = Path("pool")
_Only = Annotated[str | None, typer.Option("--worker", metavar="ADDRESS", help="This worker only. Default: the pool.")]


@pool_app.command("drain")
def drain(
    reason: Reason,
    worker: _Only = None,
    directory: Folder = _DEFAULT,
    url: Url = None,
    key: As = None,
    network: NetworkFile = None,
    as_json: Json = False,
) -> None:
    """Begin no new task, or lease a worker none; what runs goes on. Counts until `undrain`, over restarts.

    Example: `fairgrid pool drain --reason "new disks"`, then `fairgrid pool status` until nothing is live.
    """
    if worker is None:
        answer: BaseModel = asked(lambda client: client.drain(reason), directory, url, key, network)
    else:
        answer = asked(lambda client: client.drain_worker(worker, reason), directory, url, key, network)
    _done(answer, f"{worker or 'The pool'} takes nothing new.", as_json=as_json)


@pool_app.command("undrain")
def undrain(
    worker: _Only = None,
    directory: Folder = _DEFAULT,
    url: Url = None,
    key: As = None,
    network: NetworkFile = None,
    as_json: Json = False,
) -> None:
    """Take new work again. Example: `fairgrid pool undrain --dir pool`."""
    if worker is None:
        answer: BaseModel = asked(lambda client: client.undrain(), directory, url, key, network)
    else:
        answer = asked(lambda client: client.undrain_worker(worker), directory, url, key, network)
    _done(answer, f"{worker or 'The pool'} takes work again.", as_json=as_json)


@pool_app.command("ban")
def ban(
    worker: Worker,
    reason: Annotated[str, typer.Option("--reason", help="Why; the worker is told.")],
    owner: Annotated[str, typer.Option(metavar="ADDRESS", help="Its owner, if the pool never saw it.")] = "",
    directory: Folder = _DEFAULT,
    url: Url = None,
    key: As = None,
    network: NetworkFile = None,
    as_json: Json = False,
) -> None:
    """Give a worker and its owner no more work, at once. Example: `fairgrid pool ban 0x… --reason "too slow"`.

    What it computes is given to others; what it contributed already is settled on chain as ever.
    """
    answer = asked(lambda client: client.ban(worker, reason, owner=owner), directory, url, key, network)
    _done(answer, f"{worker} is banned.", as_json=as_json)


@pool_app.command("unban")
def unban(
    worker: Annotated[str, typer.Argument(metavar="ADDRESS", help="A worker's address, or an owner's.")],
    directory: Folder = _DEFAULT,
    url: Url = None,
    key: As = None,
    network: NetworkFile = None,
    as_json: Json = False,
) -> None:
    """Lift the bans of a worker, or of an owner. Example: `fairgrid pool unban 0x… --dir pool`."""
    answer = asked(lambda client: client.unban(worker), directory, url, key, network)
    _done(answer, f"{worker} is not banned.", as_json=as_json)


@pool_app.command("label")
def label(
    worker: Worker,
    labels: Annotated[
        list[str] | None, typer.Argument(metavar="[LABEL]...", help="Its labels; none takes all away.")
    ] = None,
    directory: Folder = _DEFAULT,
    url: Url = None,
    key: As = None,
    network: NetworkFile = None,
    as_json: Json = False,
) -> None:
    """Give a worker exactly these labels, beside its owner's. Example: `fairgrid pool label 0x… lab-2 eu`.

    Jobs ask for labels in their needs, the policy's app_labels asks for them for every job of an app.
    """
    answer = asked(lambda client: client.label(worker, labels or []), directory, url, key, network)
    _done(answer, f"{worker} has the labels: {' '.join(labels or []) or 'none'}.", as_json=as_json)


@pool_app.command("handover")
def handover(
    directory: Folder = _DEFAULT, url: Url = None, key: As = None, network: NetworkFile = None, as_json: Json = False
) -> None:
    """Let a process that stands by lead: the way to upgrade without a pause. Example: `fairgrid pool handover`.

    The one that leads finishes what is in hand and stands by.
    """
    answer = asked(lambda client: client.hand_over(), directory, url, key, network)
    _done(answer, f"{answer.leader} takes over.", as_json=as_json)


# --- the policy ---------------------------------------------------------------------------------------------------


@_policy_app.command("show")
def show_policy(
    names: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Only these keys.")] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not the default.")] = False,
    directory: Folder = _DEFAULT,
    url: Url = None,
    key: As = None,
    network: NetworkFile = None,
    as_json: Json = False,
) -> None:
    """Show every key, its value and where it comes from. Example: `fairgrid pool policy show --changed`."""
    answer = asked(lambda client: client.policy(), directory, url, key, network)
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
    if as_json:
        show_json(answer)
    else:
        _show_policy(answer)


@_policy_app.command("set")
def set_policy(
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys with values as TOML has them.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Set all keys of this policy file.")] = None,
    directory: Folder = _DEFAULT,
    url: Url = None,
    key: As = None,
    network: NetworkFile = None,
    as_json: Json = False,
) -> None:
    """Change keys of the policy while the pool runs. Example: `fairgrid pool policy set max_fee_gwei=80`.

    They count before the file's, over restarts and for every process of the pool, until `policy unset`. The answer
    names keys that count from the next start or takeover on.
    """
    wanted = _values(values or [])
    if file is not None:
        wanted = _keys_of(file) | wanted
    answer = asked(lambda client: client.change_policy(wanted), directory, url, key, network)
    _changed(answer, set(wanted), as_json=as_json)


@_policy_app.command("unset")
def unset_policy(
    names: Annotated[list[str], typer.Argument(metavar="KEY...", help="Keys that are to be the file's again.")],
    directory: Folder = _DEFAULT,
    url: Url = None,
    key: As = None,
    network: NetworkFile = None,
    as_json: Json = False,
) -> None:
    """Give keys back to the policy file. Example: `fairgrid pool policy unset max_fee_gwei`."""
    answer = asked(lambda client: client.change_policy({}, names), directory, url, key, network)
    _changed(answer, set(names), as_json=as_json)


@_policy_app.command("check")
def check_policy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A policy file, or the pool.toml of a pool's folder.")],
    as_json: Json = False,
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


def _changed(answer: Any, names: set[str], *, as_json: bool) -> None:
    if as_json:
        show_json(answer)
        return
    _show_policy(answer.model_copy(update={"keys": [known for known in answer.keys if known.name in names]}))


def _show_policy(answer: Any) -> None:
    rows = [
        (
            known.name,
            known.value,
            f"{known.source} by {known.who} at {clock_time(known.at)}" if known.who else known.source,
            "from the next start or takeover" if known.name in answer.waiting else "now",
        )
        for known in answer.keys
    ]
    show_table(("key", "value", "source", "counts"), rows)


def _done(answer: BaseModel, text: str, *, as_json: bool) -> None:
    if as_json:
        show_json(answer)
    else:
        console().print(text, markup=False)
