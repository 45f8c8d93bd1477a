"""`--network NAME`: which network is meant, and where its deals are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.chain.network import Network, load_network, save_network
from fairgrid.chain.network_names import add_network, default_network, find_network, remove_network, use_network
from fairgrid.errors import UsageError
from fairgrid.executors.places import find_place
from fairgrid.seams.config_file import config_file, read_config

ADDRESS = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
NETWORK = Network(
    name="far",
    chain_id=134,
    rpc="http://node:8545",
    hub=ADDRESS,
    hub_code_hash="0x" + "ab" * 32,
    rlc=ADDRESS,
    market="http://market",
    storage="http://storage",
    pool="http://pool",
    pool_address=ADDRESS,
    storage_mirrors=("http://mirror",),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIRGRID_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FAIRGRID_DIR", raising=False)
    monkeypatch.delenv("FAIRGRID_NETWORK", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_added_network_is_found_by_its_name_wherever_a_file_is_taken(home: Path) -> None:
    add_network("test", NETWORK)
    found = find_network("test")
    assert (found.name, found.network, found.folder) == ("test", NETWORK, home / "home" / "networks" / "test")
    assert load_network(Path("test")) == NETWORK
    with pytest.raises(UsageError, match="There is a network test already"):
        add_network("test", NETWORK)
    add_network("test", replace(NETWORK, rpc="http://other"), replace=True)
    assert load_network(Path("test")).rpc == "http://other"


def test_an_executor_finds_a_network_by_the_same_name(home: Path) -> None:
    add_network("test", NETWORK)
    assert find_place("test", key_folder=home / "key").runs.is_relative_to(home / "home" / "networks" / "test")
    with pytest.raises(UsageError, match=r"There is no network 'tset'.*fairgrid network list"):
        find_place("tset")


def test_a_file_and_a_folder_are_found_by_their_paths_and_a_known_name_counts_before_them(home: Path) -> None:
    (home / "test").mkdir()
    save_network(replace(NETWORK, name="near"), home / "test" / "network.json")
    for wanted in ("test", home / "test", home / "test" / "network.json"):
        assert (find_network(wanted).name, find_network(wanted).folder.resolve()) == ("near", home / "test")
    add_network("test", NETWORK)
    assert find_network("test").network.name == "far"
    assert find_network("test/network.json").network.name == "near"


def test_who_names_no_network_gets_the_one_in_use_then_local(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_network() == "local"
    with pytest.raises(UsageError, match="fairgrid up"):
        find_network()
    add_network("test", NETWORK)
    use_network("test")
    assert (default_network(), find_network().network) == ("test", NETWORK)
    monkeypatch.setenv("FAIRGRID_DIR", str(home / "elsewhere"))
    assert default_network() == "local"
    monkeypatch.setenv("FAIRGRID_NETWORK", "other")
    assert default_network() == "other"
    monkeypatch.delenv("FAIRGRID_DIR")
    monkeypatch.delenv("FAIRGRID_NETWORK")
    use_network("local")
    assert default_network() == "local"


def test_local_is_what_was_started_here(home: Path) -> None:
    folder = home / ".fairgrid" / "local"
    folder.mkdir(parents=True)
    save_network(NETWORK, folder / "network.json")
    assert (find_network("local").folder, load_network(Path("local"))) == (folder, NETWORK)


def test_a_forgotten_network_is_no_longer_in_use(home: Path) -> None:
    add_network("test", NETWORK)
    add_network("more", NETWORK)
    use_network("test")
    assert not remove_network("more") and remove_network("test")
    assert (default_network(), read_config().networks) == ("local", {})
    for act in (use_network, remove_network):
        with pytest.raises(UsageError, match=r"There is no network 'test'\. Known: local"):
            act("test")


@pytest.mark.parametrize("name", ["local", "here", "threads", "processes"])
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="means something else"):
        add_network(name, NETWORK)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('hub = "0x12"', "cannot be"),
        ("chainId = 0", "chain id"),
        ('rpc = "ftp://x"', "no http address"),
        ("name = 5", "name is no text"),
        ("", "lacks 'chainId'"),
    ],
)
def test_a_network_that_was_written_wrong_is_named_with_what_is_wrong(line: str, says: str) -> None:
    add_network("test", NETWORK)
    key = line.partition(" ")[0] or "chainId"
    lines = config_file().read_text().splitlines()
    config_file().write_text("\n".join(line if entry.startswith(f"{key} =") else entry for entry in lines))
    with pytest.raises(UsageError, match=rf"network test of the config file.*{says}"):
        find_network("test")
