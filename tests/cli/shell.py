"""Types commands in this very process, and reads what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairgrid.cli.main import main

__all__ = ["Shell"]


class Shell:
    """``shell("wallet", "list")`` gives the JSON document; ``tell`` what people read."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self.folder = folder
        self.secret = folder / "secret"
        self.secret.write_text("sesame")

    def __call__(self, *words: str | Path | int, code: int = 0) -> dict[str, Any]:
        answer = json.loads(self._typed([*words, "--json"], code)[0])
        assert isinstance(answer, dict)
        return answer

    def tell(self, *words: str | Path | int, code: int = 0) -> str:
        """What stderr says; stdout stays empty."""
        out, err = self._typed(list(words), code)
        assert out == ""
        return err

    def _typed(self, words: list[str | Path | int], code: int) -> tuple[str, str]:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = self._capsys.readouterr()
        assert ended.value.code == code, said.out + said.err
        return said.out, said.err
