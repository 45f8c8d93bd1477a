"""The family of a processor, as Linux tells it: what machines of one class have in common."""

from __future__ import annotations

import pytest

from fairgrid.worker.connection.claims import cpu_family_of

INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: whatever

processor\t: 1
vendor_id\t: GenuineIntel
"""
ARM = """processor\t: 0
BogoMIPS\t: 243.75
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd40
"""


@pytest.mark.parametrize(
    ("text", "family"), [(INTEL, "GenuineIntel-6-143"), (ARM, "0x41-8-0xd40"), ("", ""), ("vendor_id: x\n", "")]
)
def test_maker_family_and_model_name_the_class(text: str, family: str) -> None:
    assert cpu_family_of(text) == family
