"""Old transactions leave the database; what may still be asked for stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fairgrid.chain.interface import SignedTransaction
from fairgrid.pool.core.instructions import Claim
from fairgrid.pool.records import ledger as ledgers
from fairgrid.pool.records import schema
from fairgrid.pool.records.ledger import Ledger
from fairgrid.pool.records.ledger_entries import LedgerTransaction, TransactionStatus, transactions
from fairgrid.pool.records.rows import Commit
from fairgrid.pool.records.store import PoolStore
from tests.pool.fakes import address, digest_of

SENDER = address("scheduler")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PoolStore]:
    monkeypatch.setattr(ledgers, "_KEPT_NONCES", 2)
    opened = PoolStore.open(tmp_path / "pool.db")
    yield opened
    opened.close()


def _mined(ledger: Ledger, nonce: int, *, at: float, keys: tuple[str, ...] = (), settled: bool = True) -> None:
    signed = SignedTransaction(b"raw", digest_of(f"transaction {nonce}"), SENDER, nonce, "claim")
    ledger.record([LedgerTransaction(signed, keys)], at=at)
    if settled:
        ledger.settle([(LedgerTransaction(signed, keys, TransactionStatus.MINED), nonce)])


def _nonces(store: PoolStore) -> list[int]:
    with store.engine.connect() as connection:
        return sorted(connection.execute(sa.select(transactions.c.nonce)).scalars())


def test_old_transactions_go_in_steps_and_the_newest_stay_however_old(store: PoolStore) -> None:
    ledger = Ledger(store.engine)
    ledger.begin(SENDER)
    for nonce in range(6):
        _mined(ledger, nonce, at=float(nonce))
    assert [ledger.purge(100.0, limit=3) for _ in range(3)] == [3, 1, 0]
    assert _nonces(store) == [4, 5]
    assert ledger.next_nonce(SENDER) == 6


def test_young_and_unsettled_ones_and_what_carries_out_a_stored_effect_stay(store: PoolStore) -> None:
    ledger = Ledger(store.engine)
    ledger.begin(SENDER)
    claim = Claim(digest_of("task"))
    store.commit(Commit(at=0.0, instructions=[claim]))
    _mined(ledger, 0, at=1.0, keys=(claim.key,))
    _mined(ledger, 1, at=1.0, settled=False)
    _mined(ledger, 2, at=50.0)
    for nonce in range(3, 6):
        _mined(ledger, nonce, at=60.0)
    assert ledger.purge(10.0, limit=100) == 0
    with store.engine.begin() as connection:
        connection.execute(sa.delete(schema.effects))
    assert ledger.purge(10.0, limit=100) == 1
    assert _nonces(store) == [1, 2, 3, 4, 5]
