"""No call of the hub costs more because other people have deals, orders and accounts there."""

from __future__ import annotations

import pytest

from fairgrid.localnet.anvil import AnvilProcess
from tests.contracts.anvil_world import deploy_on_anvil
from tests.contracts.constant_cost import CROWD, cost_beside


def test_costs_are_the_same_beside_one_and_beside_a_thousand_open_deals(module_anvil: AnvilProcess) -> None:
    """Half a percent is for zero bytes in hashes and signatures."""
    world = deploy_on_anvil(module_anvil)
    beside_one = cost_beside(world, 1)
    beside_many = cost_beside(world, CROWD)
    assert beside_many == pytest.approx(beside_one, rel=0.005)
