"""What a job left, as a result that may be contributed: the rules of results, and errors on which all agree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairgrid.errors import HostFailure, VerificationError
from fairgrid.protocol.bounded_json import load_json
from fairgrid.protocol.canonical import MAX_CANONICAL_BYTES, CanonicalRule, NotCanonical, canonical_bytes, rules_for
from fairgrid.protocol.digest import Entry, entries_of_folder, tree_digest
from fairgrid.protocol.hexes import keccak, to_hex32
from fairgrid.protocol.paths import path_fault
from fairgrid.protocol.results import (
    ERROR_FILE,
    MAX_CALLBACK_BYTES,
    error_to_bytes,
    exit_error,
    limit_error,
    rule_error,
)
from fairgrid.runtime.interface import Limits, Outcome, Stop
from fairgrid.runtime.job_folders import GUEST_OUT

__all__ = ["COMPUTED_FILE", "LOG_FILES", "JobResult", "Usage", "error_result", "result_of"]

COMPUTED_FILE = "computed.json"
LOG_FILES = ("stdout.txt", "stderr.txt")

_MAX_COMPUTED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Usage:
    """What the run cost; never part of a result."""

    fuel: int
    wall_s: float
    peak_memory_bytes: int
    cpu_s: float = 0.0
    network_bytes: int = 0


@dataclass(frozen=True, slots=True)
class JobResult:
    """A result that may be contributed."""

    digest: str
    result_folder: Path
    """Exactly what goes into the archive."""
    covered: tuple[str, ...]
    """Paths in the result folder whose content ``digest`` commits to, in tree order; none in a task with a callback."""
    exit_code: int | None
    """None if a limit ended the job."""
    error: dict[str, Any] | None
    """The error document, if the job failed."""
    callback_data: bytes | None
    """What `finalize` passes to the callback; None without one."""
    usage: Usage


@dataclass(frozen=True, slots=True)
class _Collected:
    """What a job that ended well left: paths of the output folder, and the callback's bytes."""

    paths: tuple[str, ...]
    callback_data: bytes | None


class _RuleBroken(Exception):
    """The output breaks a rule: every machine says so with the same words."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        super().__init__(document["kind"])


def result_of(
    outcome: Outcome,
    limits: Limits,
    callback: str,
    workdir: Path,
    canonicaliser: tuple[CanonicalRule, ...] = (),
) -> JobResult:
    """What a job that ended so left in ``workdir / "out"``, moved into ``workdir / "result"`` as what is archived.

    ``callback`` is the deal's, `ZERO_ADDRESS` for none. A job that failed, or broke a rule of results, has an error
    for its result.

    Raises:
        HostFailure: it ended for a reason of this machine alone: contribute nothing.
    """
    has_callback = int(callback, 16) != 0
    usage = Usage(outcome.fuel_used, outcome.wall_s, outcome.peak_memory_bytes, outcome.cpu_s, outcome.network_bytes)
    result, logs = workdir / "result", dict(zip(LOG_FILES, (outcome.stdout, outcome.stderr), strict=True))
    try:
        document = _error_of(outcome, limits, with_logs=not has_callback)
        if document is None:
            collected = _collect(workdir / "out", limits, has_callback=has_callback)
            if not has_callback:
                _canonicalise(collected.paths, workdir / "out", canonicaliser, limits)
            return _success(collected, workdir / "out", result, logs, usage)
    except _RuleBroken as broken:
        document = broken.document
    exit_code = outcome.exit_code if outcome.stop is Stop.EXITED else None
    return error_result(document, callback, workdir, logs, usage, exit_code)


def error_result(
    document: dict[str, Any],
    callback: str,
    workdir: Path,
    logs: Mapping[str, bytes],
    usage: Usage,
    exit_code: int | None,
) -> JobResult:
    """The result that is the error ``document`` and nothing else; where a contract asked, logs may lie beside it."""
    result, data = workdir / "result", error_to_bytes(document)
    (result / ERROR_FILE).write_bytes(data)
    if int(callback, 16) != 0:
        if document["kind"] == "exit":
            _write_logs(result, logs)
        return JobResult(to_hex32(keccak(data)), result, (), exit_code, document, data, usage)
    digest = tree_digest(entries_of_folder(result))
    return JobResult(digest, result, (ERROR_FILE,), exit_code, document, None, usage)


def _error_of(outcome: Outcome, limits: Limits, *, with_logs: bool) -> dict[str, Any] | None:
    """The error document of how the job ended; None if it ended well."""
    match outcome.stop:
        case Stop.FUEL:
            return limit_error("fuel", limits.fuel)
        case Stop.MEMORY:
            return limit_error("memory", limits.memory_bytes)
        case Stop.OUTPUT if outcome.detail == "files":
            return limit_error("outputFiles", limits.output_files)
        case Stop.OUTPUT:
            return limit_error("outputBytes", limits.output_bytes)
        case Stop.EXITED if outcome.exit_code == 0:
            return None
        case Stop.EXITED:
            logs = (outcome.stdout, outcome.stderr) if with_logs else (None, None)
            return exit_error(outcome.exit_code, *logs)
        case Stop.CPU:
            raise HostFailure(
                f"The job used more processor time than this machine gives it ({outcome.cpu_s:.0f} s). Nothing is "
                f"contributed; a faster machine may finish it."
            )
        case Stop.WALL_CLOCK:
            raise HostFailure(
                f"The job ran longer than this machine's limit of {limits.wall_s:.0f} s. Nothing is contributed; "
                f"a faster machine may finish it."
            )
        case Stop.HOST:
            raise HostFailure(f"This machine could not run the job: {outcome.detail}. Nothing is contributed.")


def _collect(out: Path, limits: Limits, *, has_callback: bool) -> _Collected:
    """Apply the rules of results to the output folder.

    Raises:
        _RuleBroken: it breaks one.
    """
    try:
        entries = entries_of_folder(out)
    except VerificationError:
        message = "The output holds a symbolic link, a special file or a name that a result cannot hold."
        raise _RuleBroken(rule_error("files", message)) from None
    if sum(entry.size for entry in entries) > limits.output_bytes:
        raise _RuleBroken(limit_error("outputBytes", limits.output_bytes))
    if len(entries) > limits.output_files:
        raise _RuleBroken(limit_error("outputFiles", limits.output_files))
    for name in LOG_FILES:
        if (out / name).exists():
            message = f"The job wrote a file {name} of its own; that name belongs to the job's log. Use another."
            raise _RuleBroken(rule_error("logName", message))
    computed = _read_computed(out)
    paths = tuple(entry.path for entry in entries if entry.path != COMPUTED_FILE)
    if has_callback:
        return _Collected(paths, _callback_data(computed))
    named = computed.get("deterministic-output-path")
    return _Collected(paths if named is None else _below(named, out, paths), None)


def _canonicalise(paths: tuple[str, ...], out: Path, rules: tuple[CanonicalRule, ...], limits: Limits) -> None:
    """Write the files of the result as the manifest declares, before they are hashed (decision 7).

    Raises:
        _RuleBroken: a file has no canonical form, or is too large in it.
    """
    if not rules:
        return
    for path in paths:
        place = out / path
        for rule in rules_for(path, rules):
            try:
                if place.stat().st_size > MAX_CANONICAL_BYTES:
                    raise NotCanonical(f"it is larger than {MAX_CANONICAL_BYTES} bytes")
                content = canonical_bytes(place.read_bytes(), rule)
            except NotCanonical as error:
                message = f"The manifest wants {path} in the canonical form {rule.kind!r}, but {error}."
                raise _RuleBroken(rule_error("canonical", message)) from None
            place.chmod(0o644)
            place.write_bytes(content)
    if sum((out / path).stat().st_size for path in paths) > limits.output_bytes:
        raise _RuleBroken(limit_error("outputBytes", limits.output_bytes))


def _read_computed(out: Path) -> dict[str, Any]:
    place = out / COMPUTED_FILE
    if not place.exists():
        return {}
    try:
        if not place.is_file() or place.stat().st_size > _MAX_COMPUTED_BYTES:
            raise ValueError
        document = load_json(place.read_bytes())
        if not isinstance(document, dict):
            raise ValueError
    except ValueError:
        message = f"{COMPUTED_FILE} is not a JSON object of at most {_MAX_COMPUTED_BYTES} bytes."
        raise _RuleBroken(rule_error("computed", message)) from None
    return document


def _below(named: object, out: Path, paths: tuple[str, ...]) -> tuple[str, ...]:
    """The paths at or below what ``deterministic-output-path`` names."""
    if not isinstance(named, str):
        raise _RuleBroken(rule_error("computed", f"{COMPUTED_FILE}: deterministic-output-path is not text."))
    relative = named.rstrip("/")
    if relative == GUEST_OUT:
        return paths
    relative = relative.removeprefix(GUEST_OUT + "/")
    if path_fault(relative) is not None or relative == COMPUTED_FILE or not (out / relative).exists():
        message = f"{COMPUTED_FILE}: deterministic-output-path names nothing that a result can hold in {GUEST_OUT}."
        raise _RuleBroken(rule_error("computed", message))
    return tuple(path for path in paths if path == relative or path.startswith(relative + "/"))


def _callback_data(computed: Mapping[str, Any]) -> bytes:
    data = computed.get("callback-data")
    if not isinstance(data, str) or not re.fullmatch(r"0x([0-9a-fA-F]{2})*", data, re.ASCII):
        message = f"The deal has a callback, and {COMPUTED_FILE} has no callback-data in 0x-hexadecimal."
        raise _RuleBroken(rule_error("callback", message))
    if len(data) > 2 + 2 * MAX_CALLBACK_BYTES:
        raise _RuleBroken(rule_error("callback", f"callback-data is longer than {MAX_CALLBACK_BYTES} bytes."))
    return bytes.fromhex(data[2:])


def _success(collected: _Collected, out: Path, result: Path, logs: Mapping[str, bytes], usage: Usage) -> JobResult:
    for path in collected.paths:
        (result / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).rename(result / path)
    _write_logs(result, logs)
    if collected.callback_data is not None:
        digest = to_hex32(keccak(collected.callback_data))
        return JobResult(digest, result, (), 0, None, collected.callback_data, usage)
    entries: tuple[Entry, ...] = entries_of_folder(result)
    covered = tuple(entry.path for entry in entries)
    return JobResult(tree_digest(entries), result, covered, 0, None, None, usage)


def _write_logs(result: Path, logs: Mapping[str, bytes]) -> None:
    for name, content in logs.items():
        if content:
            (result / name).write_bytes(content)
