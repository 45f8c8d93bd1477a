"""The user's config file: changed line by line, comments and all, or not at all."""

from __future__ import annotations

import threading
import tomllib
from pathlib import Path

import pytest

from fairgrid.errors import UsageError
from fairgrid.seams.config_file import (
    check_name,
    config_file,
    config_folder,
    edit_config,
    is_name,
    read_config,
    state_folder,
    with_key,
    with_table,
    without_key,
    without_table,
)

WRITTEN = """\
# mine

network = "one"  # of last week

# the first
[networks.one]
rpc = "http://a"   # slow
mirrors = [
  "x",
]

# the second
[networks.two]
rpc = "http://b"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIRGRID_HOME", str(tmp_path))
    return tmp_path


def test_a_file_that_is_not_there_says_nothing(home: Path) -> None:
    assert (config_folder(), config_file(), state_folder("a")) == (home, home / "config.toml", home / "networks" / "a")
    found = read_config()
    assert (found.network, found.wallet, found.networks, found.wallets) == (None, None, {}, {})


def test_a_new_table_goes_to_the_end_and_everything_else_stays() -> None:
    changed = with_table(WRITTEN, "networks", "three", {"chainId": 5, "hub": "0x1", "storageMirrors": ["m"]})
    assert changed == WRITTEN + '\n[networks.three]\nchainId = 5\nhub = "0x1"\nstorageMirrors = ["m"]\n'


def test_a_table_is_replaced_where_it_stands_with_the_comments_around_it() -> None:
    changed = with_table(WRITTEN, "networks", "one", {"rpc": "http://c"})
    assert changed == WRITTEN.replace('rpc = "http://a"   # slow\nmirrors = [\n  "x",\n]\n', 'rpc = "http://c"\n')


def test_a_table_is_removed_and_the_comment_of_the_next_one_stays() -> None:
    changed = without_table(WRITTEN, "networks", "one")
    assert "# the second\n[networks.two]" in changed and "# mine" in changed
    assert tomllib.loads(changed) == {"network": "one", "networks": {"two": {"rpc": "http://b"}}}
    assert without_table(changed, "networks", "one") == changed


def test_a_key_is_put_above_the_tables_replaced_and_removed() -> None:
    assert with_key(WRITTEN, "network", "two").splitlines()[2] == 'network = "two"'
    added = with_key(WRITTEN, "wallet", "ann")
    assert added.splitlines()[:2] == ["# mine", 'wallet = "ann"']
    assert without_key(added, "wallet") == WRITTEN
    assert "network =" not in without_key(WRITTEN, "network")


@pytest.mark.parametrize(
    "text",
    [
        'networks = { one = { rpc = "http://a" } }\n',
        'networks.one.rpc = "http://a"\n',
        '[networks]\none = { rpc = "http://a" }\n',
        '[networks.one]\nrpc = """\n[networks.two]\n"""\n',
    ],
)
def test_what_is_written_otherwise_is_not_changed_by_lines(text: str) -> None:
    with pytest.raises(UsageError, match=r"as in \[networks.NAME\]|is not TOML"):
        with_table(text, "networks", "one", {"rpc": "http://c"})


def test_a_change_is_on_disk_at_once_and_readable_by_all_later_ones(home: Path) -> None:
    edit_config(lambda text: with_table(text, "networks", "one", {"name": "n"}))
    edit_config(lambda text: with_key(text, "network", "one"))
    found = read_config()
    assert (found.network, found.networks) == ("one", {"one": {"name": "n"}})
    assert config_file().read_text().startswith("# ")
    assert [path.name for path in home.iterdir()] != [] and not list(home.glob(".config.*[!k]"))


def test_a_change_that_makes_no_config_file_leaves_the_old_one() -> None:
    edit_config(lambda text: with_key(text, "network", "one"))
    before = config_file().read_text()
    for wrong in ("x = ", "colour = 1\n", "network = 1\n", "networks = 1\n"):
        with pytest.raises(UsageError, match=r"config\.toml"):
            edit_config(lambda text, wrong=wrong: wrong)  # type: ignore[misc]
    assert config_file().read_text() == before


def test_a_damaged_file_is_named_and_not_replaced() -> None:
    config_file().write_text("network = ")
    with pytest.raises(UsageError, match=r"config\.toml is not TOML"):
        read_config()
    with pytest.raises(UsageError, match=r"config\.toml is not TOML"):
        edit_config(lambda text: with_key(text, "network", "one"))
    config_file().write_bytes(b"\xff")
    with pytest.raises(UsageError, match="cannot be read"):
        read_config()


def test_many_writers_lose_nothing() -> None:
    def write(number: int) -> None:
        edit_config(lambda text: with_table(text, "networks", f"n{number}", {"name": "n"}))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(read_config().networks) == {f"n{number}" for number in range(12)}


@pytest.mark.parametrize("text", ["test", "a1-b", "x" * 40])
def test_names(text: str) -> None:
    assert is_name(text) and check_name(text, "network", taken=("local",)) == text


@pytest.mark.parametrize("text", ["", "-a", "net.json", "./net", "a/b", "Test", "x" * 41, "ä", "a b", "local"])
def test_what_cannot_be_a_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot name a network"):
        check_name(text, "network", taken=("local",))
