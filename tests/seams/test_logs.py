"""Log lines: one event each, in text or JSON, without secrets."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fairgrid.seams.logs import without_secrets

PROGRAM = """
import logging, sys
import structlog
from fairgrid.seams.logs import configure_logging
configure_logging("pool", level=sys.argv[1], style=sys.argv[2])
log = structlog.get_logger("fairgrid.pool.service")
log.debug("a detail", task="0x01")
log.info("a lease\\nin two lines", task="0x01", deal="0x02", worker="0x03")
log.warning("no database", url="postgresql://pool:hunter2@db/pool", password="hunter2")
logging.getLogger("foreign").error("words of %s", "another library")
try:
    raise ValueError("first\\nsecond")
except ValueError:
    log.exception("it failed", task="0x01")
"""


def lines(level: str, style: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, level, style], capture_output=True, text=True, timeout=50, check=True
    )
    assert done.stdout == "", "stdout is for what was asked"
    return done.stderr.splitlines()


def test_json_lines_have_their_fields_and_are_one_event_each() -> None:
    detail, lease, database, foreign, failed = map(json.loads, lines("debug", "json"))
    assert (detail["level"], detail["event"], detail["service"]) == ("debug", "a detail", "pool")
    assert lease["event"] == "a lease\nin two lines"
    assert (lease["task"], lease["deal"], lease["worker"]) == ("0x01", "0x02", "0x03")
    assert lease["timestamp"].endswith("Z") and lease["logger"] == "fairgrid.pool.service"
    assert (database["url"], database["password"]) == ("postgresql://pool:***@db/pool", "***")
    assert (foreign["event"], foreign["level"]) == ("words of another library", "error")
    assert failed["exception"].endswith("ValueError: first\nsecond")


def test_text_lines_are_one_event_each_without_secrets() -> None:
    said = lines("info", "text")
    assert len(said) == 4
    assert "task='0x01'" in said[0] and "service='pool'" in said[0]
    assert not any("hunter2" in line for line in said)
    assert "ValueError: first" in said[-1]


def test_level_leaves_out_what_is_less_grave() -> None:
    assert [json.loads(line)["level"] for line in lines("error", "json")] == ["error", "error"]


@pytest.mark.parametrize("name", ["key", "token", "password", "private_key", "secret", "passphrase", "authorization"])
def test_fields_that_are_secret_by_name_are_never_written(name: str) -> None:
    assert without_secrets(None, "info", {"event": "x", name: "value"}) == {"event": "x", name: "***"}


def test_what_a_command_logs_without_a_configuration_leaves_stdout_to_its_answer() -> None:
    program = (
        "import structlog\n"
        "from fairgrid.seams.logs import log_to_stderr\n"
        "log = structlog.get_logger('fairgrid.chain.follower')\n"
        "log_to_stderr()\n"
        "log.warning('chain does not answer', reason='refused')\n"
        "print('{}')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "{}\n"
    assert "chain does not answer" in done.stderr


def test_a_command_logs_though_a_service_configured_the_logs_of_this_process_before() -> None:
    program = (
        "import structlog\n"
        "from fairgrid.seams.logs import configure_logging, log_to_stderr\n"
        "configure_logging('pool')\n"
        "log_to_stderr()\n"
        "structlog.get_logger('fairgrid.worker.errands').warning('a service does not answer')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == ""
    assert "a service does not answer" in done.stderr
