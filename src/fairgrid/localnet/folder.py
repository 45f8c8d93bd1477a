"""The directory of a local network: what lies where, which processes were started in it, which ports are free."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.localnet.processes import ProcessRecord

__all__ = ["NetworkFolder", "ProcessBook", "free_port", "url_answers"]

_DATABASES = ("*.sqlite", "*.sqlite-wal", "*.sqlite-shm", "*.db", "*.db-wal", "*.db-shm")


@dataclass(frozen=True, slots=True)
class NetworkFolder:
    """``network.json``, ``processes.json``, ``chain/``, ``logs/``, ``keys/``, a folder for each service and worker."""

    path: Path

    @property
    def network(self) -> Path:
        """The network file (decision 54)."""
        return self.path / "network.json"

    @property
    def processes(self) -> Path:
        """Which processes were started."""
        return self.path / "processes.json"

    @property
    def chain_state(self) -> Path:
        """The chain, saved."""
        return self.path / "chain" / "state.json"

    @property
    def pool_policy(self) -> Path:
        """The pool's policy file."""
        return self.path / "pool" / "policy.toml"

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.path / "logs" / f"{name}.log"

    def service(self, name: str) -> Path:
        """The folder of storage, market or pool."""
        return self.path / name

    def worker(self, name: str) -> Path:
        """The folder of a worker."""
        return self.path / "workers" / name

    def create(self) -> None:
        """Make it; only this user may look into it, for keys lie there.

        Raises:
            UsageError: there is something else, or it cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.chain_state.parent, self.path / "logs", self.path / "pool"):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"A network cannot keep its state in {self.path} ({error.strerror}). Name another folder with --dir."
            ) from error

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the directory while something is started in it.

        Raises:
            UsageError: somebody else holds it.
        """
        import fcntl

        with (self.path / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(
                    f"Another `fairgrid up` is starting the network in {self.path}. Wait for it, or name another --dir."
                ) from None
            yield

    def write_pool_policy(self, policy: Mapping[str, Any], addresses: Mapping[str, str]) -> None:
        """Write the pool's policy; in lists, what is a name in ``addresses`` becomes the address."""
        lines = []
        for key, value in policy.items():
            if isinstance(value, str) or not isinstance(value, Sequence):
                lines.append(f"{key} = {json.dumps(value)}")
            else:
                lines.append(f"{key} = {json.dumps([addresses.get(str(item), item) for item in value])}")
        self.pool_policy.write_text("".join(f"{line}\n" for line in lines))

    def write_levels(self, worker: str, levels: Sequence[str]) -> None:
        """Let a worker offer these isolation levels; other rules of its policy stay.

        Raises:
            UsageError: its policy is not one, or says it in a way that cannot be changed here.
        """
        path = self.worker(worker) / "policy.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        old = path.read_text() if path.exists() else ""
        kept = [line for line in old.splitlines() if not re.match(r"levels\s*=", line)]
        text = "".join(f"{line}\n" for line in (f"levels = {json.dumps(list(levels))}", *kept))
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"The policy {path} cannot be changed ({error}). Set its levels by hand.") from error
        path.write_text(text)

    def forget_services(self) -> None:
        """Remove the databases of market, pool and workers. Keys, files and logs stay."""
        workers = self.path / "workers"
        folders = [self.service("market"), self.service("pool"), *(workers.iterdir() if workers.is_dir() else ())]
        for folder in folders:
            for pattern in _DATABASES:
                for file in folder.glob(pattern):
                    file.unlink(missing_ok=True)

    def delete(self) -> None:
        """Remove the whole directory, keys included.

        Raises:
            UsageError: it does not look like the directory of a local network, or cannot be removed.
        """
        try:
            if not self.path.exists():
                return
            if not self.processes.exists() and not self.network.exists() and not (self.path / "chain").is_dir():
                raise UsageError(f"{self.path} is not the directory of a local network; nothing was removed.")
            shutil.rmtree(self.path)
        except OSError as error:
            raise UsageError(
                f"The network's folder {self.path} cannot be removed whole ({error}). Remove the rest by hand."
            ) from error


class ProcessBook:
    """``processes.json``: every process that was started in the directory and not ended in order."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def records(self) -> list[ProcessRecord]:
        """All of them, running or not."""
        try:
            return [ProcessRecord(**entry) for entry in json.loads(self._file.read_text())]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(
                f"{self._file} cannot be read ({error}). Look for processes of this network, end them, remove the file."
            ) from error

    def names(self) -> list[str]:
        """Their names."""
        return [record.name for record in self.records()]

    def runs(self, name: str) -> bool:
        """True if the process of that name runs."""
        return any(record.name == name and record.running() for record in self.records())

    def add(self, record: ProcessRecord) -> None:
        """Note a process, in place of an earlier one of its name."""
        self._write([*(other for other in self.records() if other.name != record.name), record])

    def remove(self, record: ProcessRecord) -> None:
        """Forget a process."""
        self._write([other for other in self.records() if other != record])

    def _write(self, records: Sequence[ProcessRecord]) -> None:
        if not self._file.parent.exists():
            return
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps([asdict(record) for record in records], indent=2) + "\n")
        os.replace(partial, self._file)


def free_port(before: str | None, *, pick: bool = False, taken: Sequence[str] = ()) -> int:
    """The port of the URL ``before`` if nobody uses it, else 0; with ``pick``, else a free one's number.

    ``taken`` are URLs whose ports are spoken for.
    """
    spoken_for = {urlsplit(url).port for url in taken}
    wanted = urlsplit(before).port if before else None
    if wanted and wanted not in spoken_for and _can_bind(wanted):
        return wanted
    while pick:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            found = int(probe.getsockname()[1])
        if found not in spoken_for:
            return found
    return 0


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


async def url_answers(url: str, *, within_s: float) -> None:
    """Wait until somebody accepts connections at ``url``.

    Raises:
        ServiceUnavailable: nobody does in time.
    """
    parts = urlsplit(url)
    deadline = time.monotonic() + within_s
    while True:
        try:
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError as error:
            if time.monotonic() > deadline:
                raise ServiceUnavailable("service", url, str(error)) from error
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return
