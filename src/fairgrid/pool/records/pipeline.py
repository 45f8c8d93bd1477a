"""A transaction's statements sent to PostgreSQL in one piece, its commit with them, and one answer waited for.

The driver's own pipeline needs the interpreter for each statement, and for what the socket does not take at once. Who
hands over hundreds of kilobytes while another thread computes would wait for its turn dozens of times.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

__all__ = ["Statement", "commit_statements"]

Statement = tuple[str, Sequence[Any]]
"""SQL with ``$1``, ``$2``, … and their values: str, int, float, bool or None."""

_PREPARED = "fairgrid_prepared"
_SEND_BUFFER_BYTES = 1_024 * 1_024
_Selector: Any = getattr(selectors, "PollSelector", selectors.SelectSelector)  # It has nothing to open and to close.


def commit_statements(connection: Connection, statements: Sequence[Statement], *, handed: Callable[[], None]) -> None:
    """Send statements and the commit of the transaction that ``connection`` is in, and wait until all is done.

    The server is given all of it before it is asked for anything, and keeps its answers until the end; so nothing may
    be a query with a long answer. ``handed`` is told when all is in the driver's memory or further. A statement is
    prepared when a connection sends it first. If one fails, the server passes over the rest and the commit.

    Raises:
        DBAPIError: a statement or the commit failed, or the connection is lost; it is of no use any more.
        ValueError: a text has a NUL character, which PostgreSQL cannot hold; nothing was sent.
        TypeError: a value is of another type; nothing was sent.
    """
    encoded = [(sql, _texts(values)) for sql, values in statements]
    driver: Any = connection.connection.driver_connection
    database: Any = connection.dialect.loaded_dbapi
    server = driver.pgconn
    try:
        prepared: dict[str, bytes] | None = connection.info.get(_PREPARED)
        if prepared is None:
            _widen(server.socket)
            prepared = connection.info[_PREPARED] = {}
        expected = 2
        begun = server.transaction_status != database.pq.TransactionStatus.IDLE
        server.enter_pipeline_mode()
        if not begun:
            server.send_query_params(b"BEGIN", None)
            expected += 1
        for sql, values in encoded:
            name = prepared.get(sql)
            if name is None:
                name = prepared[sql] = f"{_PREPARED}_{len(prepared)}".encode()
                server.send_prepare(name, sql.encode())
                expected += 1
            server.send_query_prepared(name, values)
            expected += 1
        server.send_query_params(b"COMMIT", None)
        server.pipeline_sync()
        handed()
        error = _answers(server, database, expected)
        server.exit_pipeline_mode()
        if error is not None:
            raise error
    except database.Error as error:
        connection.invalidate(error)
        raise sa.exc.DBAPIError("statements sent in one piece", None, error) from error
    except BaseException:
        # Whatever the server does with the half of it: this connection goes.
        connection.invalidate()
        raise
    # Nothing is sent by this: the driver sees that no transaction is open.
    connection.commit()


def _widen(descriptor: int) -> None:
    """Have a local socket take a whole commit at once, as far as the system lets it: what it does not take is sent
    later, when this thread has the interpreter again. TCP finds its own measure."""
    with socket.socket(fileno=os.dup(descriptor)) as line:
        if line.family == getattr(socket, "AF_UNIX", None):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)


def _answers(server: Any, database: Any, expected: int) -> Exception | None:
    """Send what the socket did not take yet, and read the answers up to the end of the pipeline; gives the first error.

    Raises:
        Exception: the connection is lost.
    """
    pq = database.pq
    error: Exception | None = None
    answered = 0
    with _Selector() as selector:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if server.flush() else 0)
        selector.register(server.socket, wanted)
        while True:
            for _, ready in selector.select():
                if ready & selectors.EVENT_READ:
                    server.consume_input()
            if wanted & selectors.EVENT_WRITE and not server.flush():
                wanted = selectors.EVENT_READ
                selector.modify(server.socket, wanted)
            while not server.is_busy():
                result = server.get_result()
                if result is None:
                    answered += 1  # The end of one statement's answer.
                    if answered > expected:
                        raise database.OperationalError("The server gave more answers than it was asked for.")
                    continue
                if result.status == pq.ExecStatus.PIPELINE_SYNC:
                    return error
                if result.status == pq.ExecStatus.FATAL_ERROR and error is None:
                    state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
                    error = _error(database, state.decode(), result.get_error_message())
    raise AssertionError


def _error(database: Any, state: str, message: str) -> Exception:
    try:
        kind = database.errors.lookup(state)
    except KeyError:
        kind = database.DatabaseError
    made: Exception = kind(message)
    return made


def _texts(values: Sequence[Any]) -> list[bytes | None]:
    """Values as PostgreSQL reads them."""
    return [value.encode() if type(value) is str and "\0" not in value else _text(value) for value in values]


def _text(value: Any) -> bytes | None:
    """A value as PostgreSQL reads it."""
    if value is None:
        return None
    if not isinstance(value, str | bool | int | float):
        raise TypeError(f"a value of a statement is {type(value).__name__}")
    text = str(value)
    if "\0" in text:
        raise ValueError("PostgreSQL takes no text with a NUL character.")
    return text.encode()
