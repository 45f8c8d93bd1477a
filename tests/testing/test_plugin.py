"""The plugin of `pytest`, in sessions of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ("pytester",)

PLAIN = """
    def test_nothing():
        import sys
        assert "fairgrid.testing.local_network" not in sys.modules
"""
WANTS = """
    def test_wants(fairgrid_network):
        raise AssertionError("there is a network")
"""


def test_session_that_wants_no_network_loads_and_starts_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(PLAIN)
    pytester.runpytest_subprocess("-q", "-W", "error", "-p", "no:asyncio").assert_outcomes(passed=1)


def test_fixtures_and_the_option_are_listed_with_what_they_are_for(pytester: pytest.Pytester) -> None:
    pytester.runpytest_subprocess("--fixtures").stdout.fnmatch_lines(
        ["fairgrid_network*", "*A local network for the whole session*", "fairgrid_executor*"]
    )
    pytester.runpytest_subprocess("--help").stdout.fnmatch_lines(["*--fairgrid-network=DIR*", "*fairgrid_budget*"])


def test_plugin_can_be_left_out(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(WANTS)
    result = pytester.runpytest_subprocess("-q", "-p", "no:fairgrid")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'fairgrid_network' not found*"])


@pytest.mark.parametrize(
    ("options", "ini", "why"),
    [
        (["--fairgrid-network", "nowhere"], "", "*UsageError*nowhere*"),
        ([], "fairgrid_workers = many", "*fairgrid_workers is a number, not 'many'*"),
    ],
)
def test_network_that_cannot_be_had_is_told(pytester: pytest.Pytester, options: list[str], ini: str, why: str) -> None:
    pytester.makepyfile(WANTS)
    pytester.makeini(f"[pytest]\n{ini}\n")
    result = pytester.runpytest_subprocess("-q", *options)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([why])
