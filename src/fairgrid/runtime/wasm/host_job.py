"""What passes between `WasmSandbox` and its child process: one JSON line in, one JSON object out."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fairgrid.runtime.interface import Limits, Outcome, Stop

__all__ = ["HostJob", "SnapshotRequest", "outcome_from_json", "outcome_to_json"]


@dataclass(frozen=True, slots=True)
class HostJob:
    """A job as the child process gets it; paths are the host's."""

    compiled: str
    script: str
    arguments: tuple[str, ...]
    input_folder: str
    output_folder: str
    scratch_folder: str
    environment: dict[str, str]
    seed: str
    """Hexadecimal."""
    limits: Limits
    checkpoint: bool = False
    checkpoint_folder: str = ""
    live_folder: str = ""

    def to_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> HostJob:
        """Read what `to_line` wrote."""
        fields = json.loads(line)
        fields["limits"] = Limits(**fields["limits"])
        fields["arguments"] = tuple(fields["arguments"])
        return cls(**fields)

    @property
    def script_path(self) -> Path:
        """The script on the host; its last part is the name that the guest sees."""
        return Path(self.script)


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """A later line: copy the job's output folder to ``destination``, which appears when the copy is whole."""

    destination: str
    max_bytes: int
    max_files: int

    def to_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> SnapshotRequest:
        """Read what `to_line` wrote."""
        return cls(**json.loads(line))


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
