"""Runs the job's script inside the guest: ``python prelude.py SCRIPT [ARGUMENT ...]``.

Not part of the package's import graph: the host shows this file to the guest under a path that nothing imports from.
The script sees what it would see if CPython had started it: it is ``__main__``, its folder is first on ``sys.path``,
tracebacks begin with its own frames. Added to that: the working folder is the output folder, the folder of inputs is
last on ``sys.path``, and a MemoryError that nobody caught ends the job as "memory" (see ``MEMORY_EXIT``).
"""

from __future__ import annotations

import os
import sys

MEMORY_EXIT = 0x46474D45
"""No exit code that a program can mean (those have 8 bits): tells the host that the guest ran out of memory."""


def _run(path: str) -> None:
    module = type(sys)("__main__")
    module.__file__ = path
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    with open(path, "rb") as file:
        source = file.read()
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)


def _main() -> str | int | None:
    del sys.argv[0]
    sys.orig_argv[:] = ["python", *sys.argv]
    script = sys.argv[0]
    sys.path.insert(0, os.path.dirname(script))
    sys.path.append(os.environ.get("IEXEC_IN", "/iexec_in"))
    os.chdir(os.environ.get("IEXEC_OUT", "/iexec_out"))
    try:
        _run(script)
    except SystemExit as stop:
        code: str | int | None = stop.code
        return code
    except MemoryError:
        os._exit(MEMORY_EXIT)
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return 1
    return 0


sys.exit(_main())
