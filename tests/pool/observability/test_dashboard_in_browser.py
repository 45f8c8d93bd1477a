"""The dashboard as people see it: a real browser draws it, follows a task, and asks nobody but the pool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from fairgrid.protocol.views import TaskStatus
from fairgrid.seams.service import serving
from tests.browser import Page, opened_page
from tests.pool.grid import Grid
from tests.pool.scripted import Scripted, all_connected

pytestmark = pytest.mark.browser

INKED = """
[...document.querySelectorAll('canvas')].map(canvas => {
  const inked = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(part => part);
  return [canvas.id, canvas.width > 100 && canvas.height > 50 && inked];
})
"""
NOT_YET = "\N{EN DASH}"
"""What the page shows where it knows nothing yet."""
PLOTS = {"plot-tasksPerS", "plot-queue", "plot-workers", "plot-money"}


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with opened_page(tmp_path) as opened:
        yield opened


async def test_the_page_draws_and_its_numbers_move_when_a_task_completes(tmp_path: Path, page: Page) -> None:
    grid = Grid(tmp_path)
    async with grid.pool(), all_connected([Scripted(grid, "one"), Scripted(grid, "two")]):
        await page.goto(f"{grid.url}/dashboard")
        await page.until_text("state", "Live")
        await page.until_text("workers", "2")
        assert await page.text("completed") == "0" and await page.text("paid") == "0"

        task = await grid.task(4)
        await grid.until_status(task, TaskStatus.COMPLETED)
        await page.until_text("completed", "1")

        assert await page.text("paid") == "0.000001" and await page.text("owners") == "2"
        assert dict(await page.evaluate(INKED)) == dict.fromkeys(PLOTS, True)
        names = (
            "['tasksPerS', 'queue', 'oldest', 'computing', 'workers', 'owners', 'completed', 'paid', 'earned', 'cpu']"
        )
        shown = await page.evaluate(f"{names}.map(name => document.getElementById(name).textContent)")
        assert not [text for text in shown if text in ("", NOT_YET, "NaN", "undefined")], shown
        assert page.origins() == {urlsplit(grid.url).netloc}
        assert page.problems == []


async def test_a_telephones_screen_holds_the_page_without_scrolling_sideways(tmp_path: Path, page: Page) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        await page.call("Emulation.setDeviceMetricsOverride", width=360, height=640, deviceScaleFactor=2, mobile=True)
        await page.goto(f"{grid.url}/dashboard")
        await page.until_text("state", "Live")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        assert dict(await page.evaluate(INKED)) == dict.fromkeys(PLOTS, True)


async def test_a_pool_that_is_gone_is_said_and_the_page_goes_on_when_it_is_back(tmp_path: Path, page: Page) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        port = urlsplit(grid.url).port
        await page.goto(f"{grid.url}/dashboard")
        await page.until_text("state", "Live")
    await page.until_text("state", "does not answer", whole=False)
    async with grid.pool(port=port):
        await page.until_text("state", "Live")
    assert {urlsplit(url).port for url in page.requests} == {port}


async def test_one_spectator_too_many_still_sees_numbers(tmp_path: Path, page: Page) -> None:
    grid = Grid(tmp_path)
    async with grid.pool(), all_connected([Scripted(grid, "one")]):
        grid.service.dashboard.spectators = 200
        await page.goto(f"{grid.url}/dashboard")
        await page.until_text("workers", "1")
        assert [url for url in page.requests if url.endswith("/dashboard/numbers")]


async def test_a_page_that_asks_another_origin_and_fails_is_noticed(page: Page) -> None:
    """What the other tests look for can be seen at all."""

    async def bad(request: Request) -> HTMLResponse:
        return HTMLResponse("<img src='http://127.0.0.1:9/pixel'><script>console.error('one'); two()</script>")

    async with serving(Starlette(routes=[Route("/", bad)])) as url:
        await page.goto(url)
        await page.until("document.readyState === 'complete'")
        assert page.origins() == {urlsplit(url).netloc, "127.0.0.1:9"}
        assert any("one" in problem for problem in page.problems)
        assert any("two is not defined" in problem for problem in page.problems)
