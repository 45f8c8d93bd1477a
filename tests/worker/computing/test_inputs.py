"""Inputs come by CID from one storage, are verified each time, and the cache keeps within its limit."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure, ServiceUnavailable, UsageError, VerificationError
from fairgrid.protocol.cid import cid_of, tail_of
from fairgrid.storage.mirrors import DiskFull
from fairgrid.worker.computing.inputs import InputCache

CONTENTS = {cid_of(content): content for content in (b"one" * 100, b"two" * 100, b"three" * 100, b"")}
ONE, TWO, THREE, EMPTY = CONTENTS


class Source:
    """Storage in memory that counts, and may lie about sizes."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.down = False
        self.stated: dict[str, int] = {}

    async def fetch(self, cid: str, dest: Path, *, max_bytes: int) -> None:
        self.fetched.append(cid)
        await asyncio.sleep(0.01)
        if len(CONTENTS[cid]) > max_bytes:
            raise VerificationError("more than was stated")
        dest.write_bytes(CONTENTS[cid])

    async def stat(self, cid: str) -> int | None:
        if self.down:
            raise ServiceUnavailable("storage", "http://storage", "down")
        return self.stated.get(cid, len(CONTENTS[cid])) if cid in CONTENTS else None


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(tmp_path: Path, source: Source) -> InputCache:
    return InputCache(tmp_path / "cache", source, max_bytes=lambda: 700)


async def test_each_input_is_fetched_once_and_is_read_only(cache: InputCache, source: Source) -> None:
    async with cache.holding([ONE, TWO, ONE, EMPTY], max_bytes=1000) as paths:
        assert {cid: path.read_bytes() for cid, path in paths.items()} == {
            cid: CONTENTS[cid] for cid in (ONE, TWO, EMPTY)
        }
        assert all(path.stat().st_mode & 0o222 == 0 for path in paths.values())
    async with cache.holding([ONE], max_bytes=1000):
        assert source.fetched == [ONE, TWO, EMPTY]


async def test_a_cached_file_that_was_changed_is_fetched_anew(cache: InputCache, source: Source) -> None:
    async with cache.holding([ONE], max_bytes=1000) as paths:
        paths[ONE].chmod(0o644)
        paths[ONE].write_bytes(b"changed")
    async with cache.holding([ONE], max_bytes=1000) as paths:
        assert paths[ONE].read_bytes() == CONTENTS[ONE]
    assert source.fetched == [ONE, ONE]


async def test_inputs_beyond_the_limit_are_refused_before_they_are_fetched(cache: InputCache, source: Source) -> None:
    with pytest.raises(HostFailure, match="larger than the 599 bytes"):
        async with cache.holding([ONE, TWO], max_bytes=599):
            pytest.fail("nothing may run")
    assert source.fetched == [ONE]
    with pytest.raises(HostFailure, match="larger"):
        async with cache.holding([ONE, TWO], max_bytes=599):
            pytest.fail("the limit holds for cached inputs too")


async def test_a_storage_that_understates_a_size_gains_nothing(cache: InputCache, source: Source) -> None:
    source.stated[ONE] = 1
    with pytest.raises(VerificationError):
        async with cache.holding([ONE], max_bytes=200):
            pytest.fail("nothing may run")


async def test_a_missing_input_is_named_with_the_remedy(cache: InputCache) -> None:
    missing = cid_of(b"missing")
    with pytest.raises(HostFailure, match=f"{missing}. Upload it"):
        async with cache.holding([missing], max_bytes=1000):
            pytest.fail("nothing may run")


@pytest.mark.parametrize("name", ["../../etc/passwd", "http://127.0.0.1/x", "", "/etc/passwd"])
async def test_what_is_no_cid_is_refused_and_asked_of_nobody(cache: InputCache, source: Source, name: str) -> None:
    with pytest.raises(UsageError):
        async with cache.holding([name], max_bytes=1000):
            pytest.fail("nothing may run")
    assert source.fetched == []


async def test_cached_inputs_need_no_storage_and_others_say_that_it_is_down(cache: InputCache, source: Source) -> None:
    async with cache.holding([ONE], max_bytes=1000):
        pass
    source.down = True
    async with cache.holding([ONE], max_bytes=1000) as paths:
        assert paths[ONE].exists()
    with pytest.raises(ServiceUnavailable):
        async with cache.holding([TWO], max_bytes=1000):
            pytest.fail("nothing may run")


async def test_two_tasks_that_want_one_input_fetch_it_once(cache: InputCache, source: Source) -> None:
    async def use() -> bytes:
        async with cache.holding([ONE], max_bytes=1000) as paths:
            return paths[ONE].read_bytes()

    assert set(await asyncio.gather(*(use() for _ in range(5)))) == {CONTENTS[ONE]}
    assert source.fetched == [ONE]


async def test_the_least_recently_used_input_goes_when_the_cache_is_full(cache: InputCache, source: Source) -> None:
    for age, cid in enumerate((ONE, TWO)):
        async with cache.holding([cid], max_bytes=1000) as paths:
            path = paths[cid]
        os.utime(path, (1000 + age, 1000 + age))
    async with cache.holding([THREE], max_bytes=1000):
        pass
    left = {path.name for path in path.parent.iterdir()}
    assert left == {THREE} or left == {TWO, THREE}
    assert ONE not in left and sum(len(CONTENTS[cid]) for cid in left) <= 700


async def test_an_input_in_use_is_not_evicted(tmp_path: Path, source: Source) -> None:
    cache = InputCache(tmp_path / "cache", source, max_bytes=lambda: 10)
    async with cache.holding([ONE], max_bytes=1000) as paths:
        async with cache.holding([TWO], max_bytes=1000):
            pass
        assert paths[ONE].exists()
    assert list((tmp_path / "cache").iterdir()) == []


async def test_input_that_a_task_holds_by_a_second_name_is_not_evicted(tmp_path: Path, source: Source) -> None:
    cache = InputCache(tmp_path / "cache", source, max_bytes=lambda: 10)
    async with cache.holding([ONE, TWO], max_bytes=1000) as paths:
        os.link(paths[ONE], tmp_path / "of-a-task")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [ONE]
    # A process that comes after a crash sees the same.
    after = InputCache(tmp_path / "cache", source, max_bytes=lambda: 10)
    async with after.holding([TWO], max_bytes=1000):
        pass
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [ONE]
    (tmp_path / "of-a-task").unlink()
    async with after.holding([EMPTY], max_bytes=1000):
        pass
    assert ONE not in {path.name for path in (tmp_path / "cache").iterdir()}


async def test_full_disk_costs_what_nobody_uses_and_then_the_task(tmp_path: Path, source: Source) -> None:
    room = 700

    class SmallDisk(Source):
        async def fetch(self, cid: str, dest: Path, *, max_bytes: int) -> None:
            used = sum(path.stat().st_size for path in dest.parent.iterdir())
            if used + len(CONTENTS[cid]) > room:
                raise DiskFull(cid, dest.parent)
            await super().fetch(cid, dest, max_bytes=max_bytes)

    cache = InputCache(tmp_path / "cache", SmallDisk(), max_bytes=lambda: 10_000)
    async with cache.holding([ONE, TWO], max_bytes=1000):
        with pytest.raises(DiskFull, match="Make room"):
            async with cache.holding([THREE], max_bytes=1000):
                pytest.fail("both files are in use")
    async with cache.holding([THREE], max_bytes=1000) as paths:
        assert paths[THREE].read_bytes() == CONTENTS[THREE]


async def test_unfinished_downloads_count_and_go_first(tmp_path: Path, source: Source) -> None:
    partials = tmp_path / "partial"
    partials.mkdir()
    (partials / TWO).write_bytes(bytes(500))
    cache = InputCache(tmp_path / "cache", source, max_bytes=lambda: 700, partials=partials)
    async with cache.holding([ONE], max_bytes=1000):
        pass
    assert list(partials.iterdir()) == []
    assert cache.cached() == (ONE,)


async def test_limit_of_the_owner_holds_from_the_next_use_on(tmp_path: Path, source: Source) -> None:
    limit = 10_000
    cache = InputCache(tmp_path / "cache", source, max_bytes=lambda: limit)
    async with cache.holding([ONE, TWO], max_bytes=1000):
        pass
    limit = 0
    async with cache.holding([ONE], max_bytes=1000):
        assert set(cache.cached()) == {ONE, TWO}
    assert cache.cached() == ()


async def test_what_is_told_of_the_cache_is_short_and_the_newest_first(tmp_path: Path, source: Source) -> None:
    cache = InputCache(tmp_path / "cache", source, max_bytes=lambda: 10_000)
    assert cache.cached() == ()
    async with cache.holding([ONE, TWO, THREE], max_bytes=10_000) as paths:
        for age, cid in enumerate((TWO, THREE, ONE)):
            os.utime(paths[cid], (1000 + age, 1000 + age))
        (tmp_path / "cache" / "foreign").write_text("no CID")
    assert cache.cached() == (ONE, THREE, TWO)
    assert cache.cached(limit=1) == (ONE,)
    assert ONE.endswith(tail_of(ONE)) and len(tail_of(ONE)) == 10
