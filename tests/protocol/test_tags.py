from __future__ import annotations

import pytest

from fairgrid.errors import OrderError
from fairgrid.protocol.tags import LANE_BIT, covers, has_lane, join_tags, requires_tee, union_tag


def tag(bits: int) -> str:
    return f"0x{bits:064x}"


def test_a_deals_tag_is_the_union_of_app_dataset_and_request() -> None:
    assert union_tag(tag(0b1), tag(0x100), tag(1 << 255)) == tag(1 << 255 | 0x101)


@pytest.mark.parametrize("framework", [0b10, 0b100, 0b1000, 0b1110])
def test_framework_bits_of_the_dataset_are_ignored_and_of_the_others_not(framework: int) -> None:
    assert union_tag(tag(0), tag(framework | 1), tag(0)) == tag(1)
    assert union_tag(tag(framework), tag(0), tag(0)) == tag(framework)
    assert union_tag(tag(0), tag(0), tag(framework)) == tag(framework)


def test_a_tag_covers_what_it_has_every_bit_of() -> None:
    assert covers(tag(0b111), tag(0b101))
    assert covers(tag(0), tag(0))
    assert not covers(tag(0b101), tag(0b111))
    assert not covers(tag(0), tag(1 << 200))


def test_only_bit_zero_asks_for_an_enclave() -> None:
    assert requires_tee(tag(0b11))
    assert not requires_tee(tag(0b1110))


def test_the_lane_bit_is_bit_sixteen() -> None:
    assert LANE_BIT == 16
    assert has_lane(tag(0x10000))
    assert not has_lane(tag(0x0FFFF))


def test_a_tag_is_32_bytes_of_hex() -> None:
    with pytest.raises(OrderError, match="bytes32"):
        requires_tee("0x1")


def test_joined_tags_have_every_bit_of_each() -> None:
    tags = [f"0x{bits:064x}" for bits in (1, 0x0E, 1 << 255)]
    assert join_tags(*tags) == f"0x{1 << 255 | 0x0F:064x}"
    assert join_tags() == f"0x{0:064x}"
