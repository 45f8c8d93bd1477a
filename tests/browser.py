"""A real browser without a window, driven over its own debugging protocol: what a page shows, says and asks for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.needs import need

__all__ = ["Page", "browser_path", "opened_page"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Containers' root has no other way; the pages are ours.
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    "--window-size=1280,900",
)
_START_S = 60.0


def browser_path() -> str:
    """The browser to use; skips the test, with the remedy, where there is none."""
    named = os.environ.get("FAIRGRID_TEST_BROWSER", "")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, _NAMES)), None)
    need(
        found,
        f"no browser: {named or ', '.join(_NAMES)} is not installed. `make system-deps` installs one on Debian; "
        f"FAIRGRID_TEST_BROWSER names another one of the Chromium family.",
    )
    return str(found)


@dataclass(slots=True)
class Page:
    """One tab. `problems` and `requests` grow while it is open."""

    connection: ClientConnection
    requests: list[str] = field(default_factory=list)
    """Every URL that the page asked for."""
    problems: list[str] = field(default_factory=list)
    """Errors on the console, exceptions, and what the page's own policy forbade."""
    _answers: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _number: int = 0

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the debugging protocol; gives its result."""
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self.connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        result: dict[str, Any] = await answer
        return result

    async def goto(self, url: str) -> None:
        """Begin to load a page."""
        answer = await self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer

    async def evaluate(self, script: str) -> Any:
        """The JSON value of an expression in the page."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def text(self, name: str) -> str:
        """What the element with this id shows; empty if there is none."""
        return str(await self.evaluate(f"document.getElementById({name!r})?.textContent ?? ''"))

    async def until(self, script: str, *, within_s: float = 45) -> None:
        """Wait until an expression in the page is true."""
        deadline = time.monotonic() + within_s
        while not await self.evaluate(f"Boolean({script})"):
            assert time.monotonic() < deadline, f"the page never came to: {script}; its problems: {self.problems}"
            await asyncio.sleep(0.05)

    async def until_text(self, name: str, part: str, *, whole: bool = True) -> None:
        """Wait until the element with this id shows ``part``, as all that it shows or within it."""
        shown = f"(document.getElementById({name!r})?.textContent ?? '')"
        await self.until(f"{shown} === {part!r}" if whole else f"{shown}.includes({part!r})")

    def origins(self) -> set[str]:
        """Hosts and ports that were asked."""
        return {urlsplit(url).netloc for url in self.requests if urlsplit(url).netloc}

    async def listen(self) -> None:
        """Take what the browser says, until the connection ends."""
        async for frame in self.connection:
            message = json.loads(frame)
            if (answer := self._answers.pop(message.get("id", 0), None)) is not None:
                if "error" in message:
                    answer.set_exception(AssertionError(message["error"]))
                else:
                    answer.set_result(message["result"])
                continue
            self._take(message.get("method", ""), message.get("params", {}))

    def _take(self, method: str, told: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(told["exceptionDetails"].get("exception", told["exceptionDetails"])))
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.problems.append(" ".join(str(argument.get("value")) for argument in told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.problems.append(f"{told['entry']['text']} {told['entry'].get('url', '')}".strip())


@contextlib.asynccontextmanager
async def opened_page(folder: Path) -> AsyncIterator[Page]:
    """A tab of a fresh browser, whose profile lies in ``folder``; the browser has ended when the block does."""
    profile = folder / "browser"
    process = await asyncio.create_subprocess_exec(
        browser_path(),
        *_FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with connect(await _address(profile, process), max_size=None, proxy=None) as connection:
            page = Page(connection)
            listening = asyncio.create_task(page.listen())
            try:
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await page.call(f"{domain}.enable")
                yield page
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _address(profile: Path, process: asyncio.subprocess.Process) -> str:
    """Where the first tab is talked to."""
    deadline = time.monotonic() + _START_S
    file = profile / "DevToolsActivePort"
    async with httpx.AsyncClient(trust_env=False) as http:
        while True:
            assert process.returncode is None, f"the browser ended with {process.returncode}"
            assert time.monotonic() < deadline, f"the browser did not start within {_START_S:.0f} s"
            with contextlib.suppress(OSError, ValueError, IndexError, httpx.TransportError):
                port = int(file.read_text().split()[0])
                tabs = (await http.get(f"http://127.0.0.1:{port}/json/list")).json()
                pages = [tab for tab in tabs if tab["type"] == "page"]
                if pages:
                    return str(pages[0]["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)
