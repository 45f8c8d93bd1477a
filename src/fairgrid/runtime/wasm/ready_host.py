"""A host process that makes itself ready first: ``python -I -m fairgrid.runtime.wasm.ready_host CLASS LAUNCH [FILE]``.

It loads the engine and the compiled interpreter ``FILE`` at low priority, writes one line feed to standard output, and
goes on as `fairgrid.runtime.wasm.host` does. When standard input closes first, nobody needs it, and it ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fairgrid.runtime.wasm.lockdown import die_with_parent

if TYPE_CHECKING:
    from fairgrid.runtime.wasm.loaded import LoadedProgram

__all__ = ["main"]

_LOW_PRIORITY: Final = 15


def main() -> None:
    """Get ready, and run the job that standard input names."""
    die_with_parent()
    answer = os.dup(1)
    os.dup2(2, 1)
    loaded: list[LoadedProgram] = []
    # A thread of its own: on Linux each has its own priority, and nobody may raise one that was lowered.
    getting_ready = threading.Thread(target=_get_ready, args=(loaded,))
    getting_ready.start()
    getting_ready.join()
    if not loaded:
        os._exit(1)
    from fairgrid.runtime.wasm.host import serve

    os.write(answer, b"\n")
    serve(answer, loaded[0])


def _get_ready(loaded: list[LoadedProgram]) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOW_PRIORITY)
    # The costly imports.
    import fairgrid.runtime.wasm.host  # noqa: F401
    from fairgrid.runtime.wasm.engine import EngineClass
    from fairgrid.runtime.wasm.guest_run import guest_class
    from fairgrid.runtime.wasm.launch import Launch
    from fairgrid.runtime.wasm.loaded import LoadedProgram

    compiled = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    if os.name == "posix":
        import resource  # noqa: F401 - what the locks will need
    guest_class(Launch(sys.argv[2]))
    loaded.append(LoadedProgram.load(EngineClass(sys.argv[1]), Launch(sys.argv[2]), compiled))


if __name__ == "__main__":
    main()
