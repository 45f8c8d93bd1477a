"""How an outcome travels from one process to another: one JSON object, logs in base64."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict

from fairgrid.runtime.interface import Outcome, Stop

__all__ = ["outcome_from_json", "outcome_to_json"]


def outcome_to_json(outcome: Outcome) -> bytes:
    """The outcome as JSON; logs in base64."""
    fields = asdict(outcome)
    fields["stdout"] = base64.b64encode(outcome.stdout).decode()
    fields["stderr"] = base64.b64encode(outcome.stderr).decode()
    return json.dumps(fields).encode()


def outcome_from_json(text: bytes) -> Outcome:
    """Read what `outcome_to_json` wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        fields = json.loads(text)
        fields["stop"] = Stop(fields["stop"])
        fields["stdout"] = base64.b64decode(fields["stdout"])
        fields["stderr"] = base64.b64decode(fields["stderr"])
        return Outcome(**fields)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an outcome: {error}") from error
