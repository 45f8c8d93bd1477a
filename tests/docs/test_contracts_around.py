"""The example of docs/contracts-around.md does what it says."""

from __future__ import annotations

import re
from typing import Any

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.deploy import deploy
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.wallet.keys import dev_signer
from tests.docs.references import REPOSITORY

PAGE = (REPOSITORY / "docs" / "contracts-around.md").read_text()


async def test_example_makes_a_funded_account_in_a_group(anvil: AnvilProcess) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/contracts-around.md", "exec"), names)
    there = await deploy(anvil.rpc_url)
    owner, operator = dev_signer(0), dev_signer(1)
    account, group = await names["onboard"](anvil.rpc_url, there, owner, operator)
    async with JsonRpcChain(anvil.rpc_url, chain_id=there.chain_id, hub=there.hub, rlc=there.rlc) as chain:
        assert (await chain.view_account(account)).stake == 5 * 10**9
        assert await chain.read("role_account", account, "owner") == owner.address
        assert await chain.read("role_account", account, "operator") == operator.address
        assert await chain.read("group", group, "isMember", account) is True


def test_page_is_linked_from_the_architecture() -> None:
    assert "contracts-around.md" in (REPOSITORY / "docs" / "architecture.md").read_text()


def test_every_function_that_somebody_may_call_is_named_on_the_page() -> None:
    for name in ("withdraw", "execute", "setOperator", "reveal", "settleRun", "flush", "sweep", "sweepCoins"):
        assert f"`{name}" in PAGE
