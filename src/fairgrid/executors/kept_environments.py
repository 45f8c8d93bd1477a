"""Environments of earlier runs: their wheels lie in the runs' folders, and their locks in the deals' manifests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from fairgrid.errors import UsageError
from fairgrid.executors.environment import Environment, wheel_of
from fairgrid.protocol.cid import cid_of_leaves
from fairgrid.protocol.manifest import Manifest

__all__ = ["environment_facts", "find_environment", "is_lock_hash", "kept_environment", "lock_hash_of"]

_LOCK_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_LOCK_NAME: Final = re.compile(r"environment-([0-9a-f]{64})\.lock", re.ASCII)


def is_lock_hash(text: object) -> bool:
    """Whether this is `Environment.lock_hash` of some environment, and not the name of a file."""
    return isinstance(text, str) and _LOCK_HASH.fullmatch(text) is not None


def environment_facts(environment: Environment) -> dict[str, Any] | None:
    """What a run's record keeps of it, beside its wheels; None without wheels."""
    if not environment.wheels:
        return None
    wheels = [[wheel.distribution, wheel.version, wheel.name] for wheel in environment.wheels]
    return {"hash": environment.lock_hash, "lock": environment.lock_name, "wheels": wheels}


def kept_environment(facts: dict[str, Any] | None, inputs: Path) -> Environment:
    """The environment of a run by what its record keeps; ``inputs`` is where its wheels lie.

    Raises:
        UsageError: a wheel is missing, or is another one.
    """
    if facts is None:
        return Environment()
    try:
        found = Environment(
            tuple(wheel_of(name, version, (inputs / file).read_bytes()) for name, version, file in facts["wheels"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"The wheels in {inputs} cannot be read ({error}). Declare the environment anew.") from error
    if found.lock_hash != facts["hash"]:
        raise UsageError(f"The wheels in {inputs} are not those of {facts['hash']}. Declare the environment anew.")
    return found


def find_environment(runs: Path, lock_hash: str) -> Environment:
    """The environment with this hash, out of the newest run in ``runs`` that had it.

    Raises:
        UsageError: no run had it, or its wheels are gone.
    """
    for file in sorted(runs.glob("run-*/run.json"), key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            facts = json.loads(file.read_text())["environment"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(facts, dict) and facts.get("hash") == lock_hash:
            return kept_environment(facts, file.parent / "inputs")
    raise UsageError(
        f"No run in {runs} had the environment {lock_hash}. Bring it from where it is: executor.environment.save("
        f"'wheels') there, and Executor(environment='wheels/environment.lock', wheelhouse='wheels') here."
    )


def lock_hash_of(manifest: Manifest) -> str:
    """The hash of the environment's lock that a job's manifest commits to; empty if it lists none.

    Version 1 of the manifest has no value for ``environment`` but null, so the lock is an input, named by its hash.
    """
    for reference in manifest.inputs:
        found = _LOCK_NAME.fullmatch(reference.name)
        if found is not None and cid_of_leaves([bytes.fromhex(found[1])], reference.size) == reference.cid:
            return f"sha256:{found[1]}"
    return ""
