from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fairgrid.chain.deploy import Deployment
from fairgrid.chain.network import Network
from fairgrid.errors import UsageError
from fairgrid.localnet.folder import NetworkFolder
from fairgrid.localnet.options import LocalNetworkOptions, WorkerSpec, check_names, honest_workers
from fairgrid.localnet.plan import moved_network, planned_network, service_command, worker_command

RPC = "http://127.0.0.1:8545"
DEPLOYMENT = Deployment(
    chain_id=31337,
    owner="0x1",
    flavour="token",
    hub="0x2",
    rlc="0x3",
    app_registry="0x4",
    dataset_registry="0x5",
    workerpool_registry="0x6",
    facets={},
    role_accounts="0x9",
    deposit_addresses="0xa",
    groups="0xb",
    already_deployed=False,
    hub_code_hash="0x7",
)


def plan(old: Network | None = None, *, running: tuple[str, ...] = (), pool_processes: int = 1) -> Network:
    return planned_network(RPC, DEPLOYMENT, "0x8", old=old, runs=running.__contains__, pool_processes=pool_processes)


def ports(network: Network) -> list[int | None]:
    return [urlsplit(url).port for url in (network.storage, network.market, *network.pool.split(","))]


def test_every_service_has_a_port_of_its_own() -> None:
    network = plan(pool_processes=3)
    assert len(set(ports(network))) == 5
    assert (network.rpc, network.hub, network.hub_code_hash) == (RPC, "0x2", "0x7")
    assert (network.rlc, network.pool_address) == ("0x3", "0x8")


def test_a_service_keeps_its_address_while_its_port_is_free_or_it_runs_there_itself() -> None:
    old = plan()
    assert plan(old) == old
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports(old)[1]))
        taken.listen()
        moved = plan(old)
        assert (moved.storage, moved.pool) == (old.storage, old.pool)
        assert moved.market not in (old.market, moved.storage, moved.pool)
        assert plan(old, running=("market",)) == old


def test_a_service_whose_port_was_taken_moves_alone() -> None:
    old = plan(pool_processes=2)
    moved = moved_network(old, "market")
    assert moved.market != old.market
    assert replace(moved, market=old.market) == old
    moved = moved_network(old, "pool")
    (first, second), (first_before, second_before) = moved.pool.split(","), old.pool.split(",")
    assert (first != first_before, second) == (True, second_before)


def test_commands_name_folder_port_network_and_what_the_options_say(tmp_path: Path) -> None:
    folder = NetworkFolder(tmp_path)
    network = replace(plan(), storage="http://127.0.0.1:1", market="http://127.0.0.1:2", pool="http://a:3,http://a:4")
    options = LocalNetworkOptions(pool_processes=2, pool_database="postgresql://x")
    file = str(folder.network)
    policy = ["--policy", str(folder.pool_policy), "--database", "postgresql://x"]
    assert options.standing_by == ("pool-2",)
    assert [service_command(name, network, folder, options) for name in ("storage", "market", "pool", "pool-2")] == [
        ["storage", "start", "--dir", str(tmp_path / "storage"), "--port", "1"],
        ["market", "start", "--dir", str(tmp_path / "market"), "--port", "2", "--network", file],
        ["pool", "start", "--dir", str(tmp_path / "pool"), "--port", "3", "--network", file, *policy],
        ["pool", "start", "--dir", str(tmp_path / "pool"), "--port", "4", "--network", file, *policy],
    ]
    liar = WorkerSpec("liar", misbehave="lie", slots=2, arguments=("--once",))
    assert worker_command(liar, folder) == [
        *("worker", "start", "--network", file, "--slots", "2", "--dir", str(folder.worker("liar"))),
        *("--once", "--misbehave", "lie"),
    ]


@pytest.mark.parametrize("names", [("a", "a"), ("",), ("a/b",), ("anvil",), ("pool-2",), ("market",)])
def test_names_that_are_no_file_names_or_belong_to_others_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="different names of letters, digits and -"):
        check_names([WorkerSpec(name) for name in names])
    check_names(honest_workers(3))
