from __future__ import annotations

import asyncio
import socket
import stat
import threading
import tomllib
from pathlib import Path

import pytest

from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.localnet.folder import NetworkFolder, ProcessBook, free_port, url_answers
from fairgrid.localnet.processes import ProcessRecord

ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def test_a_new_directory_is_for_this_user_only(tmp_path: Path) -> None:
    folder = NetworkFolder(tmp_path / "a" / "net")
    folder.create()
    folder.create()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net").write_text("")
    with pytest.raises(UsageError, match="Name another folder with --dir"):
        NetworkFolder(tmp_path / "net").create()


def test_a_second_starter_of_one_directory_is_refused_and_may_come_back_later(tmp_path: Path) -> None:
    folder = NetworkFolder(tmp_path)
    with folder.exclusive():
        with pytest.raises(UsageError, match=r"Another `fairgrid up` is starting"), folder.exclusive():
            raise AssertionError("got in")
    with folder.exclusive():
        pass


def test_the_pool_policy_is_toml_and_names_become_addresses(tmp_path: Path) -> None:
    folder = NetworkFolder(tmp_path)
    folder.create()
    policy = {"first_round_replicas": 6, "fill_wait_s": 1.5, "authorisation_order": ["liar", ADDRESS]}
    folder.write_pool_policy(policy, {"liar": ADDRESS})
    assert tomllib.loads(folder.pool_policy.read_text()) == {**policy, "authorisation_order": [ADDRESS, ADDRESS]}


def test_forgetting_services_removes_databases_and_keeps_keys(tmp_path: Path) -> None:
    folder = NetworkFolder(tmp_path)
    folder.create()
    kept = [folder.service("pool") / "keystore.json", folder.worker("w") / "keystore.json", tmp_path / "keys" / "a.db"]
    gone = [folder.service("pool") / "pool.sqlite", folder.worker("w") / "worker.sqlite-wal"]
    for file in (*kept, *gone):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    folder.forget_services()
    assert all(file.exists() for file in kept)
    assert not any(file.exists() for file in gone)


def test_deleting_takes_a_network_and_nothing_else(tmp_path: Path) -> None:
    precious = tmp_path / "documents"
    precious.mkdir()
    with pytest.raises(UsageError, match="not the directory of a local network"):
        NetworkFolder(precious).delete()
    assert precious.exists()
    NetworkFolder(tmp_path / "net").create()
    NetworkFolder(tmp_path / "net").delete()
    assert not (tmp_path / "net").exists()
    NetworkFolder(tmp_path / "net").delete()


def test_the_book_of_processes_keeps_the_newest_of_a_name(tmp_path: Path) -> None:
    book = ProcessBook(tmp_path / "processes.json")
    assert book.records() == []
    old, new, other = (
        ProcessRecord("pool", 2**22 + 1, 1.5),
        ProcessRecord("pool", 2**22 + 2, 2.5),
        ProcessRecord("x", 1, 0.0),
    )
    for record in (old, other, new):
        book.add(record)
    assert ProcessBook(tmp_path / "processes.json").records() == [other, new]
    assert not book.runs("pool")
    book.remove(new)
    assert book.names() == ["x"]


def test_a_book_that_is_damaged_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "processes.json").write_text('[{"name": 1}]')
    with pytest.raises(UsageError, match="cannot be read"):
        ProcessBook(tmp_path / "processes.json").records()


def test_the_port_from_before_is_taken_again_only_while_it_is_free() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    assert free_port(url) == port
    assert free_port(url, taken=[url]) == 0
    assert free_port(None) == 0
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", port))
        busy.listen()
        assert free_port(url) == 0
        assert free_port(url, pick=True) not in (0, port)


async def test_waiting_for_a_url_ends_when_somebody_listens_or_the_time_is_up() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServiceUnavailable):
            await url_answers(url, within_s=0.2)
        threading.Timer(0.2, listener.listen).start()
        await asyncio.wait_for(url_answers(url, within_s=10), 15)


def test_levels_are_written_into_a_workers_policy_and_its_other_rules_stay(tmp_path: Path) -> None:
    folder = NetworkFolder(tmp_path)
    policy = folder.worker("worker-1") / "policy.toml"
    folder.write_levels("worker-1", ("wasm",))
    assert policy.read_text() == 'levels = ["wasm"]\n'
    policy.write_text('slots = 3\nlevels = ["wasm"]\n')
    folder.write_levels("worker-1", ("wasm", "process"))
    assert policy.read_text() == 'levels = ["wasm", "process"]\nslots = 3\n'


def test_levels_that_are_written_over_several_lines_are_left_to_their_owner(tmp_path: Path) -> None:
    folder = NetworkFolder(tmp_path)
    policy = folder.worker("worker-1") / "policy.toml"
    policy.parent.mkdir(parents=True)
    policy.write_text('levels = [\n  "wasm",\n]\n')
    with pytest.raises(UsageError, match="by hand"):
        folder.write_levels("worker-1", ("vm",))
    assert policy.read_text() == 'levels = [\n  "wasm",\n]\n'
