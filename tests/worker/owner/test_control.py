"""The owner's line to a running worker: answered while it runs, closed to everybody else, gone afterwards."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.worker.owner.control import CONTROL_NAME, ask, listening


async def echo(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if command == "fail":
        raise UsageError("It cannot be done.")
    return {"command": command, **arguments}


async def test_a_question_is_answered_and_a_refusal_is_said(tmp_path: Path) -> None:
    async with listening(tmp_path, echo):
        assert await ask(tmp_path, "status", x=1) == {"command": "status", "x": 1}
        with pytest.raises(UsageError, match="It cannot be done"):
            await ask(tmp_path, "fail")


async def test_without_a_worker_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="no worker runs there"):
        await ask(tmp_path, "status")
    async with listening(tmp_path, echo):
        pass
    with pytest.raises(ServiceUnavailable, match="no worker runs there"):
        await ask(tmp_path, "status")


async def test_a_worker_that_was_killed_is_told_from_one_that_answers(tmp_path: Path) -> None:
    async with listening(tmp_path, echo):
        left = (tmp_path / CONTROL_NAME).read_text()
    (tmp_path / CONTROL_NAME).write_text(left)
    with pytest.raises(ServiceUnavailable):
        await ask(tmp_path, "status")
    async with listening(tmp_path, echo):
        assert await ask(tmp_path, "status") == {"command": "status"}


async def test_a_deep_folder_gets_a_socket_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    async with listening(deep, echo):
        place = Path(json.loads((deep / CONTROL_NAME).read_text())["socket"])
        assert deep not in place.parents and stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        assert await ask(deep, "status") == {"command": "status"}
    assert not place.parent.exists()


async def test_where_there_are_no_unix_sockets_a_port_and_a_secret_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(asyncio, "start_unix_server")
    async with listening(tmp_path, echo):
        file = tmp_path / CONTROL_NAME
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert await ask(tmp_path, "status") == {"command": "status"}
        where = json.loads(file.read_text())
        file.write_text(json.dumps({**where, "token": "0" * 32}))
        with pytest.raises(UsageError, match="secret"):
            await ask(tmp_path, "status")


@pytest.mark.parametrize("line", [b"", b"no json\n", b"[]\n", b'{"token": 1}\n', b'{"token": "%s"}\n'])
async def test_a_line_that_is_no_request_is_refused(tmp_path: Path, line: bytes) -> None:
    async with listening(tmp_path, echo):
        where = json.loads((tmp_path / CONTROL_NAME).read_text())
        reader, writer = await asyncio.open_unix_connection(where["socket"])
        writer.write(line or b"\n")
        await writer.drain()
        assert "one line of JSON" in json.loads(await reader.readline())["error"]
        writer.close()
