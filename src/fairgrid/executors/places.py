"""Which network an executor works on, by one argument."""

from __future__ import annotations

import os
from collections.abc import Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from fairgrid.chain.network import LOCAL
from fairgrid.chain.network_names import find_network
from fairgrid.client.client import TrustWish
from fairgrid.errors import UsageError
from fairgrid.executors.backend import Backend
from fairgrid.executors.grid import GridBackend
from fairgrid.executors.here import HereBackend
from fairgrid.executors.runtimes import check_reach, packages_of, runtime_of
from fairgrid.executors.verification import Verification, VerificationKind, parse_verification
from fairgrid.localnet.paths import own_key_folder
from fairgrid.seams.config_file import is_name, read_config
from fairgrid.wallet.accounts import open_account

__all__ = ["Place", "Trust", "find_place", "verification_of"]

Trust = float | str | Decimal
"""How sure a result must be, at least 0 and below 1: ``0.99``."""


@dataclass(frozen=True, slots=True)
class Place:
    """A backend, and the folder in which its runs are kept."""

    backend: Backend
    runs: Path
    packages: Set[str] = frozenset()
    """Top names of those that calls find there besides the standard library."""


def verification_of(trust: Trust | None, verify: str | None, *, workers_at_least: int = 1) -> Verification:
    """What ``trust`` or ``verify`` asks for, of which at most one is given; else trust 0.9.

    Raises:
        UsageError: both are given, or one is none.
    """
    if verify is None:
        confidence = "0.9" if trust is None else str(trust)
        return Verification(VerificationKind.TRUST, confidence, workers_at_least)
    if trust is not None or workers_at_least != 1:
        raise UsageError(
            "`verify=` says how results are verified, and so do `trust=` and `workers_at_least=`: give one of the two."
        )
    return parse_verification(verify)


def find_place(
    network: str | Path | Place,
    *,
    verification: Verification | None = None,
    key_folder: Path | None = None,
    patience_s: float = 600.0,
    runtime: str = "python",
    reach: Sequence[str] = (),
    private: bool = False,
    secrets: Sequence[str] = (),
    keep_days: int | None = None,
) -> Place:
    """The place that ``network`` names: ``"here"``, or as `fairgrid.chain.network_names.find_network` reads it.

    Raises:
        UsageError: there is no such network or runtime, the runtime cannot reach the hosts, or the trust is none.
    """
    if isinstance(network, Place):
        return network
    runtime_id = runtime_of(runtime)
    asked = verification or verification_of(None, None)
    hosts = check_reach(runtime_id, reach)
    if network == "here":
        if secrets:
            raise UsageError("Calls on this machine alone get no secrets: set the variables in this process instead.")
        base = Path(os.environ.get("FAIRGRID_DIR") or Path.home() / ".fairgrid") / "here"
        here = HereBackend(base / "deals", runtime_id=runtime_id, reach=hosts)
        return Place(here, base / "runs", packages_of(runtime_id))
    if network != LOCAL and isinstance(network, str) and not _is_there(network):
        raise UsageError(
            f"There is no network {network!r}. Name one: 'local' (start it with `fairgrid up --detach`), 'here' (this "
            f"machine alone, without money), one of `fairgrid network list`, or the folder of a network."
        )
    found = find_network(network)
    folder = found.folder
    signer = open_account(key_folder, own=own_key_folder(found), ask=_nobody_to_ask)
    backend = GridBackend(
        found.network,
        signer,
        journal_folder=folder / "deals" / signer.address,
        wish=TrustWish(asked.confidence, asked.replicas),
        patience_s=patience_s,
        runtime_id=runtime_id,
        verification=asked,
        reach=hosts,
        private=private,
        secrets=tuple(secrets),
        keep_days=keep_days,
    )
    return Place(backend, folder / "runs" / signer.address, packages_of(runtime_id))


def _nobody_to_ask(whose: str) -> str:
    raise UsageError(
        f"A program cannot be asked for the password of {whose}. Keep it in a file or in the system's keyring "
        f"(`fairgrid wallet create --password-file`, `--keyring`), or give key_folder."
    )


def _is_there(network: str) -> bool:
    return (is_name(network) and network in read_config().networks) or Path(network).exists()
