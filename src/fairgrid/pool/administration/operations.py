"""What operators decide, on disk: each decision in one transaction with who made it, when and why.

Every method blocks: call it from a thread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from fairgrid.errors import UsageError
from fairgrid.pool.core.worker_state import Ban
from fairgrid.pool.records import schema

__all__ = ["WHOLE_POOL", "Act", "Drain", "Operations", "Replayed", "Setting", "acts", "drains", "labels", "settings"]

WHOLE_POOL: Final = "pool"
"""The subject of a drain that is not of one worker."""

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")

acts = sa.Table(
    "pool_act",
    schema.metadata,
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("who", sa.String(42), nullable=False),
    sa.Column("act", sa.String(32), nullable=False),
    sa.Column("subject", sa.String(200), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("nonce", sa.String(66), nullable=False, unique=True),
)
"""Every administrative act. ``nonce`` is that of the signed request: the same request never acts twice."""

labels = sa.Table(
    "pool_label",
    schema.metadata,
    sa.Column("worker", sa.String(42), primary_key=True),
    sa.Column("label", sa.String(64), primary_key=True),
)
"""Words that the operator gave to a worker, beside those that its owner claims."""

drains = sa.Table(
    "pool_drain",
    schema.metadata,
    sa.Column("subject", sa.String(42), primary_key=True),
    sa.Column("who", sa.String(42), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
"""Who takes nothing new: a worker, or `WHOLE_POOL`."""

settings = sa.Table(
    "pool_setting",
    schema.metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("who", sa.String(42), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
"""Keys of the policy that were set while the pool ran, as JSON; they count before those of the file."""


class Replayed(UsageError):
    """A signed request came a second time; nothing was done."""

    def __init__(self) -> None:
        super().__init__("This request was carried out before. Sign a new one; each nonce counts once.")


@dataclass(frozen=True, slots=True)
class Act:
    """One administrative act: ``at`` in seconds since 1970, ``who`` the address that signed for it."""

    at: float
    who: str
    act: str
    subject: str = ""
    detail: str = ""
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Drain:
    """Somebody takes nothing new, on whose word, since when, and why."""

    subject: str
    who: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of the policy that was set while the pool ran."""

    name: str
    value: Any
    who: str
    at: float


class Operations:
    """The operator's tables of one pool. Every act raises `Replayed` for a nonce that acted before."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def note(self, act: Act) -> None:
        """Remember an act that changes nothing here."""
        with self._acting(act):
            pass

    def ban(self, ban: Ban, act: Act) -> None:
        with self._acting(act) as connection:
            connection.execute(sa.delete(schema.bans).where(schema.bans.c.worker == ban.worker))
            connection.execute(
                sa.insert(schema.bans).values(
                    worker=ban.worker,
                    owner=ban.owner,
                    task_id=ban.task_id,
                    reason=ban.reason,
                    evidence=ban.evidence,
                    at=ban.at,
                )
            )

    def unban(self, address: str, act: Act) -> None:
        """Lift every ban of a worker, or of an owner.

        Raises:
            UsageError: there is none; nothing was written.
        """
        with self._acting(act) as connection:
            lifted = connection.execute(
                sa.delete(schema.bans).where(sa.or_(schema.bans.c.worker == address, schema.bans.c.owner == address))
            )
            if not lifted.rowcount:
                raise UsageError(f"{address} is not banned here. `fairgrid pool bans` lists who is.")

    def drain(self, drain: Drain, act: Act) -> None:
        with self._acting(act) as connection:
            connection.execute(sa.delete(drains).where(drains.c.subject == drain.subject))
            connection.execute(
                sa.insert(drains).values(subject=drain.subject, who=drain.who, reason=drain.reason, at=drain.at)
            )

    def undrain(self, subject: str, act: Act) -> None:
        """Let a worker, or the pool, take new work again; one that does is left as it is."""
        with self._acting(act) as connection:
            connection.execute(sa.delete(drains).where(drains.c.subject == subject))

    def set_labels(self, worker: str, words: tuple[str, ...], act: Act) -> None:
        """Give a worker exactly these labels."""
        with self._acting(act) as connection:
            connection.execute(sa.delete(labels).where(labels.c.worker == worker))
            for word in dict.fromkeys(words):
                connection.execute(sa.insert(labels).values(worker=worker, label=word))

    def set_policy(self, values: dict[str, Any], unset: tuple[str, ...], act: Act) -> None:
        """Keep keys of the policy beside the file (``values``), and drop others (``unset``)."""
        with self._acting(act) as connection:
            connection.execute(sa.delete(settings).where(settings.c.name.in_([*values, *unset])))
            for name, value in values.items():
                connection.execute(
                    sa.insert(settings).values(name=name, value=json.dumps(value), who=act.who, at=act.at)
                )

    # --- asking ---------------------------------------------------------------------------------------------------

    def drains(self) -> dict[str, Drain]:
        """Who takes nothing new, by subject."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(drains)).all()
        return {row.subject: Drain(row.subject, row.who, row.reason, row.at) for row in rows}

    def labels(self) -> dict[str, tuple[str, ...]]:
        """The labels of every worker that has some."""
        found: dict[str, tuple[str, ...]] = {}
        with self._reading() as connection:
            for row in connection.execute(sa.select(labels).order_by(labels.c.worker, labels.c.label)):
                found[row.worker] = (*found.get(row.worker, ()), row.label)
        return found

    def settings(self) -> dict[str, Setting]:
        """Keys of the policy that were set while the pool ran."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(settings)).all()
        return {row.name: Setting(row.name, json.loads(row.value), row.who, row.at) for row in rows}

    def acts(self, *, subject: str = "", limit: int = 100, offset: int = 0) -> list[Act]:
        """The newest acts first, of one subject or of all."""
        query = sa.select(acts).order_by(acts.c.number.desc()).limit(limit).offset(offset)
        if subject:
            query = query.where(acts.c.subject == subject)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return [Act(row.at, row.who, row.act, row.subject, row.detail, row.nonce) for row in rows]

    # --- inside ---------------------------------------------------------------------------------------------------

    def _acting(self, act: Act) -> _Acting:
        return _Acting(self._engine, act)

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(read_only=True)


class _Acting:
    """A transaction that begins with the act's own row."""

    def __init__(self, engine: Engine, act: Act) -> None:
        self._transaction = engine.begin()
        self._act = act

    def __enter__(self) -> Connection:
        connection = self._transaction.__enter__()
        act = self._act
        try:
            connection.execute(
                sa.insert(acts).values(
                    at=act.at,
                    who=act.who,
                    act=act.act,
                    subject=act.subject[:200],
                    detail=act.detail[:2_000],
                    nonce=act.nonce,
                )
            )
        except BaseException as error:
            self._transaction.__exit__(type(error), error, error.__traceback__)
            if isinstance(error, IntegrityError):
                raise Replayed from error
            raise
        return connection

    def __exit__(self, *raised: Any) -> None:
        self._transaction.__exit__(*raised)
