"""The demonstration, as a newcomer sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_demo_catches_the_liar_pays_the_honest_and_every_check_holds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fairgrid", "demo", "--json", "--out", str(tmp_path / "out")],
        cwd=tmp_path,
        env=os.environ | {"FAIRGRID_DIR": str(tmp_path / "unused")},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["status"], document["exitCode"]) == ("ok", 0)
    assert len(document["checks"]) == 5
    assert all(check["holds"] for check in document["checks"]), document["checks"]
    assert sum(line["net"] for line in document["payments"]) == 0
    assert document["trust"] == 10
    contributions = {line["name"]: line for line in document["contributions"]}
    payments = {line["name"]: line for line in document["payments"]}
    assert next(iter(contributions)) == "liar", "the liar contributes before there is a consensus"
    assert [name for name, line in contributions.items() if not line["agreed"]] == ["liar"]
    assert payments["liar"]["net"] == -payments["liar"]["seized"] < 0
    honest = {name for name, line in contributions.items() if line["agreed"]}
    assert len(honest) == 5
    assert all(payments[name]["net"] > 0 for name in honest)
    assert len({line["digest"] for name, line in contributions.items() if name != "liar"}) == 1
    assert contributions["liar"]["digest"] not in (None, document["resultDigest"])
    assert document["stdout"]
    assert all((tmp_path / "out" / name).is_file() for name in document["files"])
    assert not (tmp_path / "unused").exists()
