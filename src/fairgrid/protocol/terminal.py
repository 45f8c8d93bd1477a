"""Text of strangers on a terminal."""

from __future__ import annotations

import re

__all__ = ["sanitise_terminal"]

_SEQUENCES = re.compile(
    # Strings (OSC, DCS, SOS, PM, APC) up to BEL, ST or the next escape; CSI; other escapes; the same as C1 controls.
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def sanitise_terminal(text: str) -> str:
    """``text`` without what commands a terminal: escape sequences, control characters, overrides of text direction.

    Newlines, tabs and all other Unicode stay; a carriage return becomes a newline.
    """
    plain = _SEQUENCES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _CONTROLS.sub("", plain)
