"""Every system call that a program may import is answered by one of the two classes, and by one only."""

from __future__ import annotations

from fairgrid.runtime.wasm.wasi_calls import WasiCalls
from fairgrid.runtime.wasm.wasi_file_calls import WasiFileCalls
from fairgrid.runtime.wasm.wasi_signatures import WASI_SIGNATURES


def test_each_call_is_answered_in_one_place() -> None:
    answered = [{name for name in vars(kind) if not name.startswith("_")} for kind in (WasiCalls, WasiFileCalls)]
    assert answered[0] | answered[1] == set(WASI_SIGNATURES)
    assert not answered[0] & answered[1]
