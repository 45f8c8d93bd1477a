"""What `--network NAME` means: `local`, a network of the config file, a network file, or a folder with one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.chain.network import LOCAL, Network, document_of, load_network
from fairgrid.errors import UsageError
from fairgrid.seams.config_file import (
    check_name,
    edit_config,
    is_name,
    local_directory,
    read_config,
    state_folder,
    with_key,
    with_table,
    without_key,
    without_table,
)

__all__ = [
    "RESERVED_NAMES",
    "NetworkPlace",
    "add_network",
    "default_network",
    "find_network",
    "remove_network",
    "use_network",
]

RESERVED_NAMES: Final = (LOCAL, "here", "threads", "processes")
"""What an executor's ``network`` means without the config file."""
_KIND: Final = "networks"


@dataclass(frozen=True, slots=True)
class NetworkPlace:
    """A network, what it is called here, and the folder with what is kept of it: deals, runs, of `local` also keys."""

    name: str
    folder: Path
    network: Network
    named: bool = False
    """Whether it is of the config file: then it has no requester's key of its own, and a wallet pays."""


def default_network() -> str:
    """The network of who names none: ``$FAIRGRID_NETWORK``; `local` if ``$FAIRGRID_DIR`` says where it is; what
    `use_network` said; `local`.

    Raises:
        UsageError: the config file cannot be read.
    """
    named = os.environ.get("FAIRGRID_NETWORK")
    if named:
        return named
    return LOCAL if os.environ.get("FAIRGRID_DIR") else read_config().network or LOCAL


def find_network(wanted: str | Path | None = None) -> NetworkPlace:
    """The network that is meant; a name that is known counts before a file or folder of that name.

    Raises:
        UsageError: there is no such network, or what describes it is damaged.
    """
    text = str(wanted) if wanted is not None else default_network()
    if text == LOCAL:
        folder = local_directory()
        return NetworkPlace(LOCAL, folder, load_network(folder))
    network = load_network(Path(text))
    if is_name(text) and text in read_config().networks:
        return NetworkPlace(text, state_folder(text), network, named=True)
    path = Path(text)
    return NetworkPlace(network.name, path if path.is_dir() else path.parent, network)


def add_network(name: str, network: Network, *, replace: bool = False) -> None:
    """Keep a network under a name. Whoever gave it is believed: check it first.

    Raises:
        UsageError: the name cannot be one, or is another network's and ``replace`` is not set.
    """
    check_name(name, "network", taken=RESERVED_NAMES)
    if not replace and name in read_config().networks:
        raise UsageError(
            f"There is a network {name} already; nothing was changed. `fairgrid network show {name}` shows it, "
            f"--replace puts this one in its place."
        )
    table = {**document_of(network), "storageMirrors": list(network.storage_mirrors)}
    edit_config(lambda text: with_table(text, _KIND, name, table))


def use_network(name: str) -> None:
    """Make a network the one of commands that name none.

    Raises:
        UsageError: there is no network of that name.
    """
    if name == LOCAL:
        edit_config(lambda text: without_key(text, "network"))
        return
    _known(name)
    edit_config(lambda text: with_key(text, "network", name))


def remove_network(name: str) -> bool:
    """Forget a network; the deals on it stay in its folder. True if it was the one in use, which is `local` then.

    Raises:
        UsageError: there is no network of that name.
    """
    _known(name)
    used = read_config().network == name

    def edit(text: str) -> str:
        text = without_table(text, _KIND, name)
        return without_key(text, "network") if used else text

    edit_config(edit)
    return used


def _known(name: str) -> None:
    names = read_config().networks
    if name not in names:
        raise UsageError(
            f"There is no network {name!r}. Known: {', '.join([LOCAL, *names])}. `fairgrid network add` adds one."
        )
