"""From a template to strangers who compute and pay: `fairgrid app init`, `publish`, `run --app`, on a real network."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain.client import JsonRpcChain
from fairgrid.client.apps.project import read_project
from fairgrid.client.apps.publishing import Publication, Shop, plan_publication, publish
from fairgrid.client.apps.templates import APP_TEMPLATES, make_project
from fairgrid.localnet.accounts import APP_OWNER
from fairgrid.localnet.paths import key_folder
from fairgrid.market.client import MarketClient
from fairgrid.storage.client import StorageClient
from tests.docs.blocks import block
from tests.e2e.network import Network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PRICE = 1_000_000
"""Of the template: 0.001 RLC."""


def developer(network: Network) -> tuple[str, Path]:
    """The option that signs as an app's developer."""
    return "--key-folder", key_folder(network.local.folder.path, APP_OWNER)


def published(network: Network, folder: Path, *more: str) -> dict[str, Any]:
    answer = network.fairgrid("app", "publish", folder, *developer(network), "--json", *more)
    assert answer.code == 0, answer.stderr
    return answer.document | {"said": answer.stderr}


def test_app_from_a_template_is_published_once_and_strangers_run_it_and_its_owner_is_paid(network: Network) -> None:
    folder = network.scratch / "word-count"
    make_project(APP_TEMPLATES["python"], folder, name="word-count")
    planned = published(network, folder, "--dry-run")
    assert planned["status"] == "dry-run" and planned["gas"] > 100_000
    assert "registers 'word-count' on chain 31337" in planned["said"] and "cannot be undone" in planned["said"]
    assert planned["wasThere"] == {"files": False, "registered": False, "listed": False}

    first = published(network, folder, "--yes")
    assert (first["app"], first["price"], first["volume"]) == (planned["app"], PRICE, 1000)
    again = published(network, folder, "--yes")
    assert again["app"] == first["app"] and again["wasThere"] == {"files": True, "registered": True, "listed": True}

    (network.scratch / "text.txt").write_text("one two two\n")
    answer = network.fairgrid(
        "run", "--app", first["app"], "--input", "text.txt", "--trust", "0.7", "--out", "out", "--json"
    )
    assert answer.code == 0, answer.stderr
    assert (network.scratch / "out" / "words.csv").read_text() == "word,count\ntwo,2\none,1\n"
    owner = network.local.accounts[APP_OWNER].address
    assert {line["account"]: line["net"] for line in answer.document["payments"]}[owner] == PRICE

    for number in (1, 2):
        (network.scratch / str(number)).mkdir()
        (network.scratch / str(number) / "text.txt").write_text("word " * number)
    code = re.sub("0x[0-9a-fA-F]{40}", first["app"], block("executor.md", "import fairgrid\n\nwords").text)
    said = subprocess.run(
        [sys.executable, network.script("words.py", code)],
        env=network.environment,
        cwd=network.scratch,
        stdout=subprocess.PIPE,
        text=True,
        timeout=150,
        check=True,
    ).stdout
    assert "2 in 2 tasks of 1 deals" in said and "word,count\nword,1\n\nword,count\nword,2\n" in said
    assert "2 calls in 2 tasks of 1 deals; 0.202 RLC spent" in said

    dearer = published(network, folder, "--yes", "--price", "0.002 RLC")
    assert (dearer["app"], dearer["price"], dearer["closed"]) == (first["app"], 2 * PRICE, 1)
    assert "closes your listing at 0.001 RLC" in dearer["said"]
    offers = network.wait(_prices(network, first["app"]))
    assert offers == [2 * PRICE]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("0x" + "11" * 20, "There is no app at"),
        ("runtime", "which brings no program"),
    ],
)
def test_address_without_a_published_app_is_refused_before_anything_is_signed(
    network: Network, address: str, said: str
) -> None:
    wanted = network.local.apps[0] if address == "runtime" else address
    answer = network.fairgrid("run", "--app", wanted, "--json")
    assert answer.code == 2 and said in answer.document["message"]


class Killed(Exception):
    """The process ended here."""


@asynccontextmanager
async def shop_of(network: Network) -> AsyncIterator[Shop]:
    place = network.local.network
    async with (
        await JsonRpcChain.connect(place) as chain,
        MarketClient(place.market, place.chain_id, hub=place.hub) as market,
        StorageClient(place.storage) as storage,
    ):
        yield Shop(chain, market, storage, network.local.accounts[APP_OWNER])


async def _prices(network: Network, app: str) -> list[int]:
    async with shop_of(network) as shop:
        return [entry.order.appprice for entry in await shop.market.app_orders(app)]


def test_publication_that_is_killed_after_any_step_goes_on_and_makes_one_app_with_one_listing(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed_after(shop: Shop, plan: Publication, part: str, method: str) -> None:
        """Publish; the process ends when ``method`` of a part of the shop has done its work."""
        owner = type(getattr(shop, part))
        original = getattr(owner, method)

        async def die(*arguments: Any, **more: Any) -> None:
            await original(*arguments, **more)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(owner, method, die)
            with pytest.raises(Killed):
                await publish(shop, plan, lambda text: None)

    async def check() -> None:
        steps = [("storage", "add_file"), ("storage", "add_bytes"), ("chain", "transact"), ("market", "publish")]
        async with shop_of(network) as shop:
            for number, (part, method) in enumerate(steps):
                folder = network.scratch / f"tool-{number}"
                folder.mkdir()
                (folder / "app.toml").write_text(f'name = "tool-{number}"\nprogram = "tool.py"\n')
                (folder / "tool.py").write_text(f"print({number})")
                project = read_project(folder)
                plan = await plan_publication(shop, project, price=5, volume=3)
                await killed_after(shop, plan, part, method)
                rest = await plan_publication(shop, project, price=5, volume=3)
                assert rest.address == plan.address
                assert rest.is_registered is (number >= 2) and rest.is_listed is rest.is_done is (number == 3)
                await publish(shop, rest, lambda text: None)
                # The plan of before the kill is harmless, too: what it wants is there.
                late = await plan_publication(shop, project, price=5, volume=3)
                assert late.is_done and [5] == [
                    entry.order.appprice for entry in await shop.market.app_orders(plan.address)
                ]

    network.wait(check())
