"""The vocabulary that messages of workers and of pools share: what may stand in a field, and that nothing else may."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

__all__ = [
    "STRICT",
    "Address",
    "CidTail",
    "Hex32",
    "Phase",
    "RunName",
    "ShortText",
    "Signature",
]

STRICT = ConfigDict(extra="forbid", strict=True)
"""The rule of every message: an unknown key or another type is an error."""

Address = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
Hex32 = Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
Signature = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{128,132}$")]
ShortText = Annotated[str, Field(max_length=500)]
Phase = Literal["accepted", "downloading", "computing", "sealed", "contributing", "revealing", "uploading"]
"""Coarse phases: all that is shown of a replica before consensus (decision 3)."""
CidTail = Annotated[str, Field(pattern=r"^[a-z2-7]{10}$")]
"""The end of a CID (`protocol.cid.tail_of`): tells files apart, and fetches none."""
RunName = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""Names one execution of a job on one worker."""
