"""The client without an event loop: the same core and journal, and all that the asynchronous one can do."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fairgrid.client.blocking import BlockingClient
from fairgrid.client.client import Client
from fairgrid.client.journal import Journal
from fairgrid.client.progress import Progress
from fairgrid.errors import UsageError
from tests.client.test_client import Counting, Mining, chain, client_of, signed

__all__ = ["chain"]


def blocking(chain: Counting, journal: Journal, closed: list[str]) -> BlockingClient:
    @asynccontextmanager
    async def connecting() -> AsyncIterator[Client]:
        yield client_of(chain, journal, Mining(3, chain.mine))
        closed.append(threading.current_thread().name)

    return BlockingClient(connecting())


def test_every_public_method_of_the_client_is_here_with_its_arguments() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if name.startswith("_"):
            continue
        twin = getattr(BlockingClient, name)
        assert not inspect.iscoroutinefunction(twin), name
        assert twin.__doc__
        if inspect.iscoroutinefunction(method):
            assert twin.__annotations__ == method.__annotations__, name


def test_a_deal_is_matched_and_read_without_an_event_loop(chain: Counting, tmp_path: Path) -> None:
    journal, closed, told = Journal(tmp_path), list[str](), list[Progress]()
    with blocking(chain, journal, closed) as client:
        record = client.wait(signed(chain, journal))
        mined = client.match(record, told.append)
        assert mined.mined and client.journal.find("last") == mined and len(told) == 1
        assert client.account().stake == 0
        assert client.address == client.core.address
        with pytest.raises(UsageError, match="does not know deal"):
            client.claim(record)
        with pytest.raises(UsageError, match="does not know deal"), client.bag(record):
            pass
    assert closed == ["fairgrid-client"]
    assert not any(thread.name == "fairgrid-client" for thread in threading.enumerate())


def test_what_comes_piece_by_piece_comes_so_here(chain: Counting, tmp_path: Path) -> None:
    pieces: list[Any] = ["one", "two"]

    async def live(task: str) -> AsyncIterator[Any]:
        for piece in pieces:
            yield piece

    with blocking(chain, Journal(tmp_path), []) as client:
        client.core.live = live  # type: ignore[method-assign,assignment]
        assert list(client.live("0x1")) == pieces


def test_a_network_that_cannot_be_reached_leaves_no_thread(tmp_path: Path) -> None:
    @asynccontextmanager
    async def connecting() -> AsyncIterator[Client]:
        raise UsageError("no such network")
        yield

    with pytest.raises(UsageError, match="no such network"):
        BlockingClient(connecting())
    assert not any(thread.name == "fairgrid-client" for thread in threading.enumerate())
