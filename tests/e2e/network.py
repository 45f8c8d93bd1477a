"""Driving a real local network from ordinary (not asynchronous) tests, through the public command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fairgrid.localnet.network import LocalNetwork
from fairgrid.localnet.options import LocalNetworkOptions, WorkerSpec

__all__ = ["Answer", "Network", "running_network"]

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command answered."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON object of ``--json``."""
        answer = json.loads(self.stdout)
        assert isinstance(answer, dict)
        return answer


class Network:
    """A local network that runs on a loop of its own."""

    def __init__(self, local: LocalNetwork, loop: asyncio.AbstractEventLoop, scratch: Path) -> None:
        self.local = local
        self.scratch = scratch
        self._loop = loop

    def wait(self, work: Coroutine[Any, Any, _Value], timeout_s: float = 120) -> _Value:
        """Run a coroutine on the network's loop."""
        future: Future[_Value] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout_s)

    def script(self, name: str, text: str) -> Path:
        """Write a job's script."""
        path = self.scratch / name
        path.write_text(text)
        return path

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line of ``fairgrid`` with ``arguments``."""
        return [sys.executable, "-m", "fairgrid", *(str(argument) for argument in arguments)]

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a command that finds this network."""
        return os.environ | {"FAIRGRID_DIR": str(self.local.folder.path), "COLUMNS": "200"}

    def fairgrid(self, *arguments: str | Path, timeout_s: float = 120) -> Answer:
        """Run ``fairgrid`` to its end."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=self.scratch,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def interrupted(self, *arguments: str | Path, when: str, timeout_s: float = 120) -> Answer:
        """Run ``fairgrid`` and press Ctrl-C as soon as its progress says ``when``."""
        process = subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            cwd=self.scratch,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        watchdog = threading.Timer(timeout_s, process.kill)
        watchdog.start()
        seen: list[str] = []
        try:
            assert process.stderr is not None
            for line in process.stderr:
                seen.append(line)
                if when in line:
                    process.send_signal(signal.SIGINT)
                    break
            stdout, rest = process.communicate()
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()
        return Answer(process.returncode, stdout, "".join(seen) + rest)

    def eventually(self, *arguments: str | Path, code: int = 0, within_s: float = 60) -> Answer:
        """Repeat a command until it ends with ``code``."""
        end = time.monotonic() + within_s
        while True:
            answer = self.fairgrid(*arguments)
            if answer.code == code or time.monotonic() > end:
                return answer
            time.sleep(1)


@contextmanager
def running_network(
    folder: Path,
    scratch: Path,
    *,
    workers: Sequence[WorkerSpec] | None = None,
    policy: dict[str, Any] | None = None,
    options: LocalNetworkOptions | None = None,
) -> Iterator[Network]:
    """A local network of real processes for the time of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="local-network")
    thread.start()
    options = options or LocalNetworkOptions(pool_policy=policy or {})
    local = LocalNetwork(folder, workers=workers, options=options)
    network = Network(local, loop, scratch)
    try:
        try:
            network.wait(local.start(), 180)
            yield network
        finally:
            network.wait(local.stop(), 60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
