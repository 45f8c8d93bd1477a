"""Who may use a pool and who may work for it: accounts and ERC-734 groups, in the pool's database.

A pool is open until somebody is put on its list; from then on it is closed to strangers in that role, also when the
list becomes empty again. The list is asked anew every second, the groups by the chain, so that no restart is needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import sqlalchemy as sa
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from fairgrid.chain.interface import Chain
from fairgrid.pool.records.schema import metadata
from fairgrid.protocol.hexes import checksum

__all__ = ["AccessEntry", "AccessGate", "AccessList", "AccessStore", "Door", "Role", "entries_table"]

_log = structlog.get_logger(__name__)

_MEMBERSHIP_S = 15.0
"""What a group said of an account is believed for so long."""
_MAX_REMEMBERED = 10_000

entries_table = sa.Table(
    "pool_access",
    metadata,
    sa.Column("address", sa.String(42), primary_key=True),
    sa.Column("role", sa.String(16), primary_key=True),
    sa.Column("is_group", sa.Boolean, nullable=False),
    sa.Column("note", sa.String(200), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
_doors = sa.Table(
    "pool_access_door",
    metadata,
    sa.Column("role", sa.String(16), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
)


class Role(StrEnum):
    """In which an account comes."""

    WORKER = "worker"
    REQUESTER = "requester"


class Door(StrEnum):
    """What strangers meet."""

    OPEN = "open"
    """Everybody may come."""
    CLOSED = "closed"
    """Only who is listed. A stranger's deal is not served: he is refunded, and the pool loses its stake in it."""
    LENIENT = "lenient"
    """Strangers are told to go elsewhere, but a deal that the chain made all the same is served, and paid."""


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """One line of the list; ``address`` is an account, or a group of accounts if ``is_group``."""

    address: str
    role: Role
    is_group: bool = False
    note: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class AccessList:
    """Everything that decides, at one moment."""

    entries: tuple[AccessEntry, ...] = ()
    doors: Mapping[Role, Door] = field(default_factory=dict)

    def door(self, role: Role) -> Door:
        """What strangers meet in this role."""
        return self.doors.get(role, Door.OPEN)

    def lists(self, role: Role, accounts: Collection[str]) -> bool:
        """True if one of the accounts is on the list itself."""
        return any(entry.role is role and not entry.is_group and entry.address in accounts for entry in self.entries)

    def groups(self, role: Role) -> list[str]:
        """The groups whose members are admitted."""
        return [entry.address for entry in self.entries if entry.role is role and entry.is_group]


class AccessStore:
    """The list in the pool's database; any process may write it. Every method blocks: call it from a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self) -> AccessList:
        with self._engine.connect().execution_options(read_only=True) as connection:
            entries = connection.execute(sa.select(entries_table).order_by(entries_table.c.at, entries_table.c.address))
            listed = tuple(AccessEntry(row.address, Role(row.role), row.is_group, row.note, row.at) for row in entries)
            doors = {Role(row.role): Door(row.state) for row in connection.execute(sa.select(_doors))}
        return AccessList(listed, doors)

    def add(
        self, addresses: Collection[str], roles: Collection[Role], *, is_group: bool = False, note: str = ""
    ) -> None:
        """Put accounts or groups on the list, and close an open pool to strangers in these roles.

        Raises:
            OrderError: something is no address.
        """
        wanted = [checksum(address) for address in addresses]
        now = time.time()
        with self._engine.begin() as connection:
            for role in roles:
                for address in wanted:
                    where = (entries_table.c.address == address) & (entries_table.c.role == role)
                    connection.execute(sa.delete(entries_table).where(where))
                    values = {"address": address, "role": role, "is_group": is_group, "note": note[:200], "at": now}
                    connection.execute(sa.insert(entries_table).values(**values))
                known = connection.execute(sa.select(_doors.c.state).where(_doors.c.role == role)).scalar_one_or_none()
                if known in (None, Door.OPEN):
                    _set_door(connection, role, Door.CLOSED)

    def remove(self, addresses: Collection[str], roles: Collection[Role]) -> int:
        """Take accounts or groups off; gives how many lines went. The pool stays closed.

        Raises:
            OrderError: something is no address.
        """
        wanted = [checksum(address) for address in addresses]
        with self._engine.begin() as connection:
            return connection.execute(
                sa.delete(entries_table)
                .where(entries_table.c.address.in_(wanted))
                .where(entries_table.c.role.in_(list(roles)))
            ).rowcount

    def set_door(self, roles: Collection[Role], door: Door) -> None:
        """Open or close the pool to strangers; the list stays."""
        with self._engine.begin() as connection:
            for role in roles:
                _set_door(connection, role, door)


def _set_door(connection: sa.Connection, role: Role, door: Door) -> None:
    connection.execute(sa.delete(_doors).where(_doors.c.role == role))
    connection.execute(sa.insert(_doors).values(role=role, state=door))


class AccessGate:
    """Says who may come in, by the list as it is now and by what the chain says of groups."""

    def __init__(self, store: AccessStore, chain: Chain) -> None:
        self._store = store
        self._chain = chain
        self._members: dict[tuple[str, str], tuple[bool, float]] = {}
        self.current = AccessList()

    async def read(self) -> bool:
        """Look at the list again; gives whether it changed. While the database does not answer the old one holds."""
        try:
            found = await asyncio.to_thread(self._store.read)
        except DBAPIError as error:
            _log.warning("the access list cannot be read; the old one holds", reason=str(error.orig))
            return False
        changed = found != self.current
        self.current = found
        return changed

    async def refusal(self, role: Role, *accounts: str) -> str:
        """Why none of these accounts may come in this role; empty if one may.

        Raises:
            ServiceUnavailable: a group must be asked, and the chain does not answer.
        """
        current = self.current
        if current.door(role) is Door.OPEN or current.lists(role, accounts):
            return ""
        for group in current.groups(role):
            for account in dict.fromkeys(accounts):
                if await self._is_member(group, account):
                    return ""
        return (
            f"This pool is private: {' and '.join(dict.fromkeys(accounts))} may not come as {role.value}. Ask its "
            f"operator to be put on its list or into its group, or go to another pool."
        )

    async def deal_refusal(self, requester: str) -> str:
        """Why a deal that the chain has made is not served; empty if it is.

        Raises:
            ServiceUnavailable: a group must be asked, and the chain does not answer.
        """
        if self.current.door(Role.REQUESTER) is Door.LENIENT:
            return ""
        return await self.refusal(Role.REQUESTER, requester)

    async def _is_member(self, group: str, account: str) -> bool:
        known, until = self._members.get((group, account), (False, 0.0))
        if time.monotonic() < until:
            return known
        found = await self._chain.is_member(group, account)
        if len(self._members) >= _MAX_REMEMBERED:
            self._members.clear()
        self._members[group, account] = (found, time.monotonic() + _MEMBERSHIP_S)
        return found
