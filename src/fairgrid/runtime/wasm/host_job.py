"""What passes from `WasmSandbox` to its child process: JSON lines. The outcome comes back as one JSON object."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fairgrid.runtime.interface import Limits
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.launch import Launch

__all__ = ["HostJob", "SnapshotRequest"]


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
    launch: Launch = Launch.PYTHON
    engine_class: EngineClass = EngineClass.DETERMINISTIC
    library: str = ""
    library_name: str = ""

    def to_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> HostJob:
        """Read what `to_line` wrote."""
        fields = json.loads(line)
        fields["limits"] = Limits(**fields["limits"])
        fields["arguments"] = tuple(fields["arguments"])
        fields["launch"] = Launch(fields["launch"])
        fields["engine_class"] = EngineClass(fields["engine_class"])
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
