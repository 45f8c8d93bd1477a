"""A local chain: the anvil binary as a child process (decision 52)."""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from fairgrid.errors import UsageError
from fairgrid.localnet.download import ANVIL_VERSION, ensure_anvil
from fairgrid.localnet.processes import Guardian, ProcessSpec, RunningProcess, start_process, wait_until

__all__ = ["ANVIL_VERSION", "AnvilOptions", "AnvilProcess", "ensure_anvil", "start_anvil"]

LOCAL_CHAIN_ID = 31337


@dataclass(frozen=True, slots=True, kw_only=True)
class AnvilOptions:
    """How the local chain behaves."""

    port: int = 0
    """0 takes a free one."""
    chain_id: int = LOCAL_CHAIN_ID
    block_time: int | None = 1
    """Seconds between blocks; None mines a block a transaction, and chain time stands still between them."""
    mixed_mining: bool = True
    """With a block time: a transaction is mined at once, beside the regular blocks."""
    state: Path | None = None
    """The chain is loaded from this file if it exists, saved to it at the end and every ``state_interval`` seconds."""
    state_interval: int = 30
    log: Path
    extra: tuple[str, ...] = ()
    """More arguments of anvil."""


class AnvilProcess:
    """A running local chain. ``rpc_url`` answers JSON-RPC over HTTP and websocket."""

    def __init__(self, process: RunningProcess, port: int) -> None:
        self.process = process
        self.port = port

    @property
    def rpc_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """End it; its state file is saved first."""
        await self.process.stop(grace_s=20.0)

    def stop_now(self) -> None:
        """`stop` for those who have no event loop."""
        self.process.stop_now(grace_s=20.0)

    def kill(self) -> None:
        """End it as a crash would: nothing is saved."""
        self.process.record.signal(kill=True)
        self.process.stop_now()

    def request(self, method: str, *parameters: Any, timeout_s: float = 10.0) -> Any:
        """One JSON-RPC call, blocking: for tests and tools.

        Raises:
            UsageError: the chain answers with an error.
            OSError: it does not answer.
        """
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        request = urllib.request.Request(
            self.rpc_url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with _opener.open(request, timeout=timeout_s) as response:
            answer = json.loads(response.read())
        if "error" in answer:
            raise UsageError(f"The chain refuses {method}: {answer['error'].get('message')}.")
        return answer["result"]


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The chain is on this machine: a proxy of the environment must not be asked for it."""


async def start_anvil(
    options: AnvilOptions,
    *,
    binary: Path | None = None,
    guardian: Guardian | None = None,
    started: Callable[[RunningProcess], None] | None = None,
) -> AnvilProcess:
    """Start a local chain and wait until it answers. Hardfork prague, ten funded accounts, loopback only.

    Raises:
        ProcessFailed: it ended (port in use, unreadable state file) or did not answer; the message has its log.
    """
    program = binary or await asyncio.to_thread(ensure_anvil)
    command = [
        str(program),
        "--host", "127.0.0.1",
        "--port", str(options.port),
        "--chain-id", str(options.chain_id),
        "--hardfork", "prague",
        "--quiet",
    ]  # fmt: skip
    if options.block_time is not None:
        command += ["--block-time", str(options.block_time)]
        command += ["--mixed-mining"] if options.mixed_mining else []
    if options.state is not None:
        command += ["--state", str(options.state), "--state-interval", str(options.state_interval)]
    spec = ProcessSpec("anvil", (*command, *options.extra), options.log, timeout_s=30.0)
    process = await start_process(spec, guardian=guardian, started=started)
    anvil = AnvilProcess(process, options.port)

    def answers() -> bool:
        if anvil.port == 0:
            anvil.port = _listening_port(process.record.pid)
        if anvil.port == 0:
            return False
        try:
            return int(anvil.request("eth_chainId", timeout_s=1.0), 16) == options.chain_id
        except (OSError, ValueError, http.client.HTTPException, UsageError):
            return False

    await wait_until(process, answers)
    if process.exit_code() is not None:  # a stranger on that port answered for it
        await wait_until(process, lambda: False)
    return anvil


def _listening_port(pid: int) -> int:
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return 0
    return next((c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN), 0)
