"""`fairgrid storage start` as the process that users run."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairgrid.storage.client import StorageClient
from tests.storage.helpers import content


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fairgrid", "storage", "start", "--dir", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def ready_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    word, url = line.split()
    assert word == "ready"
    return str(url)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_service_says_ready_serves_and_ends_cleanly_with_all_its_files(
    tmp_path: Path, number: signal.Signals
) -> None:
    first = start(tmp_path, "--port", "0")
    async with StorageClient(await ready_url(first)) as client:
        cid = await client.add_bytes(content(500_000))
    first.send_signal(number)
    began = time.monotonic()
    out, _ = await asyncio.to_thread(first.communicate, None, 60)
    assert time.monotonic() - began < 30
    assert (first.returncode, out) == (0, "")

    second = start(tmp_path)
    async with StorageClient(await ready_url(second)) as client:
        assert await client.fetch_bytes(cid, max_bytes=500_000) == content(500_000)
    second.terminate()
    await asyncio.to_thread(second.communicate, None, 10)
    assert second.returncode == 0


async def test_a_taken_port_or_folder_is_a_clear_error_with_exit_code_2(tmp_path: Path) -> None:
    first = start(tmp_path / "one")
    url = await ready_url(first)
    port = url.rsplit(":", 1)[1]
    for options in ((tmp_path / "two", "--port", port), (tmp_path / "one",)):
        other = start(options[0], *[str(option) for option in options[1:]])
        _, said = await asyncio.to_thread(other.communicate, None, 20)
        assert other.returncode == 2
        assert "--port" in said or "--dir" in said
        assert "Traceback" not in said
    first.terminate()
    await asyncio.to_thread(first.communicate, None, 60)


async def test_the_limits_are_taken_from_the_command_line(tmp_path: Path) -> None:
    process = start(tmp_path, "--max-blob", "1000", "--quota", "8192")
    async with StorageClient(await ready_url(process)) as client:
        await client.add_bytes(content(1000))
        for size, status in ((1001, "413"), (999, None), (998, "507")):
            if status is None:
                await client.add_bytes(content(size))
            else:
                with pytest.raises(Exception, match=status):
                    await client.add_bytes(content(size))
    process.terminate()
    await asyncio.to_thread(process.communicate, None, 10)
