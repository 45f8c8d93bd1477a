"""Inputs come by CID from one storage, are verified each time, and the cache keeps within its limit."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure, ServiceUnavailable, UsageError, VerificationError
from fairgrid.protocol.cid import cid_of
from fairgrid.worker.inputs import InputCache

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
    return InputCache(tmp_path / "cache", source, max_bytes=700)


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
    cache = InputCache(tmp_path / "cache", source, max_bytes=10)
    async with cache.holding([ONE], max_bytes=1000) as paths:
        async with cache.holding([TWO], max_bytes=1000):
            pass
        assert paths[ONE].exists()
    assert list((tmp_path / "cache").iterdir()) == []
