"""The contracts that `fairgrid consumer init` writes, compiled by the projects' own build.py."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fairgrid.client.apps.templates import CONSUMER_TEMPLATES, make_project
from fairgrid.localnet.download import cache_folder
from tests.needs import hope

__all__ = ["LANGUAGES", "compiled"]

LANGUAGES = tuple(CONSUMER_TEMPLATES)
_SOLC = """#!/bin/sh
exec node -e "
const solc = require('$SOLJSON');
const input = require('fs').readFileSync(0, 'utf8');
process.stdout.write(solc.cwrap('solidity_compile', 'string', ['string', 'number', 'number'])(input, 0, 0));
"
"""


def compiled(language: str) -> dict[str, Any]:
    """ABI and creation code; skips where there is no Solidity compiler at hand."""
    soljson = cache_folder() / "solc" / "0.8.30" / "soljson.js"
    if language == "solidity":
        hope(shutil.which("node") and soljson.exists(), "no solc at hand: scripts/compile_consumers.py fetches it")
    return _compiled(language, soljson)


@cache
def _compiled(language: str, soljson: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        folder = Path(temporary) / "consumer"
        make_project(CONSUMER_TEMPLATES[language], folder, name="consumer")
        solc = Path(temporary) / "solc"
        solc.write_text(_SOLC.replace("$SOLJSON", str(soljson)))
        solc.chmod(0o755)
        patch.setenv("PATH", f"{temporary}:/usr/local/bin:/usr/bin:/bin")
        spec = importlib.util.spec_from_file_location(f"build_{language}", folder / "build.py")
        assert spec is not None and spec.loader is not None
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        made: dict[str, Any] = build.contract()
        return made
