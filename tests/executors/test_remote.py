"""`@remote`: what it refuses where the function is defined, and what a marked function still is."""

from __future__ import annotations

import pytest

from fairgrid.errors import CannotTravel, UsageError
from fairgrid.executors.calls import CallWriter
from fairgrid.executors.executor import Executor
from fairgrid.executors.remote import RemoteFunction, remote
from tests.executors.stuck_functions import (
    asynchronous,
    sets_global,
    uses_nothing,
)
from tests.executors.travellers import (
    Node,
    fact,
)


def test_the_mark_checks_where_the_function_is_defined() -> None:
    with pytest.raises(CannotTravel, match="asynchronous"):
        remote(asynchronous)
    with pytest.raises(CannotTravel, match="sets 'counter'"):
        remote(sets_global)
    with pytest.raises(CannotTravel, match="Put @remote on a"):
        remote(len)
    with pytest.raises(CannotTravel, match="Put @remote on a function"):
        remote(Node)
    with pytest.raises(UsageError, match="Give 0 or more"):
        remote(seconds=-1)


def test_the_mark_does_not_need_what_stands_below() -> None:
    assert isinstance(remote(uses_nothing), RemoteFunction)


def test_a_marked_function_is_still_a_function(lasting: Executor) -> None:
    timed = remote(seconds=2.5)(fact)
    assert (timed(5), timed.local(5), timed.local) == (120, 120, fact)
    assert (timed.__name__, timed.__doc__, repr(timed)) == ("fact", None, "<remote fact>")
    assert timed.submit(lasting, 5).result(50) == 120
    assert list(timed.map(lasting, [1, 2, 3], chunksize=3)) == [1, 2, 6]
    calls = CallWriter(lambda name, content: None)
    assert calls.write(timed, (1,), {}, seconds=timed.__fairgrid_seconds__).seconds == 2.5
