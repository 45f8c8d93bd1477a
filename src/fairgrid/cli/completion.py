"""What a shell may complete besides commands and options: names of networks and wallets. Asks nobody, never fails."""

from __future__ import annotations

from fairgrid.errors import FairgridError

__all__ = ["network_names", "wallet_names"]


def network_names(incomplete: str) -> list[str]:
    """Networks of the config file, and ``local``."""
    from fairgrid.chain.network import LOCAL
    from fairgrid.seams.config_file import read_config

    try:
        names = [LOCAL, *read_config().networks]
    except FairgridError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def wallet_names(incomplete: str) -> list[str]:
    """Wallets of `fairgrid wallet list`."""
    from fairgrid.wallet.wallets import list_wallets

    try:
        names = [wallet.name for wallet in list_wallets()]
    except FairgridError:
        return []
    return [name for name in names if name.startswith(incomplete)]
